//! Hardware types and conductors.

use domain::{
    driver::{Driver, Interface},
    service::Service,
    time::Timestamp,
};
use keyspace::{key, key::Scope};
use serde_json::{Map, Value, json};
use wire_ironic::{
    error::{Class, Error, text},
    fields::{CONDUCTOR, Columns, DRIVER},
    links,
    query::{self, Operand, Shape},
};

use super::{ApiRequest, RestApi, authz::Visibility, list, records::time, response::ApiResponse};

impl RestApi {
    pub(super) fn show_driver(&self, request: &ApiRequest, name: &str) -> Result<ApiResponse, Error> {
        let driver = driver(name)?;
        let columns = request.columns(&DRIVER)?;
        request.only(&["fields"])?;
        Ok(ApiResponse::ok(Value::Object(self.driver(request, driver, &columns))))
    }

    pub(super) fn list_drivers(&self, request: &ApiRequest) -> Result<ApiResponse, Error> {
        let list = query::list(&DRIVER, request.version, Shape::Plain, &request.pairs)?;
        let classic = list.filters.iter().any(|(_, operand)| *operand == Operand::Text("classic".to_owned()));
        let all = Driver::SERVED.iter().filter(|_| !classic);
        let shown: Vec<Value> = all.map(|one| Value::Object(self.driver(request, *one, &list.columns))).collect();
        Ok(ApiResponse::ok(json!({"drivers": shown})))
    }

    fn driver(&self, request: &ApiRequest, driver: Driver, columns: &Columns) -> Map<String, Value> {
        let hosts: Vec<Value> = self.all_conductors().iter().filter_map(|one| one.get("hostname").cloned()).collect();
        let mut whole = Map::from_iter([
            ("name".to_owned(), json!(driver.to_string())),
            ("hosts".to_owned(), Value::Array(hosts)),
            ("type".to_owned(), json!("dynamic")),
        ]);
        for interface in Interface::ALL.iter().copied() {
            let enabled = driver.implementations(interface);
            whole.insert(format!("default_{interface}_interface"), json!(driver.default_implementation(interface)));
            whole.insert(format!("enabled_{interface}_interfaces"), json!(enabled));
        }
        links::shown(&DRIVER, request.version, &request.base, columns, &whole)
    }

    pub(super) fn conductors(&self, request: &ApiRequest, rest: &[&str]) -> Result<ApiResponse, Error> {
        let all = self.all_conductors();
        let [hostname] = rest else {
            let list = query::list(&CONDUCTOR, request.version, Shape::Plain, &request.pairs)?;
            let all = all.iter().collect();
            return list::page(&CONDUCTOR, request, &list, all, Visibility::Unrestricted).map(ApiResponse::ok);
        };
        request.only(&["fields"])?;
        let columns = request.columns(&CONDUCTOR)?;
        let one = all.iter().find(|one| one.get("hostname") == Some(&json!(hostname)));
        let one = one.ok_or_else(|| text::not_found("Conductor", hostname))?;
        Ok(ApiResponse::ok(Value::Object(links::shown(&CONDUCTOR, request.version, &request.base, &columns, one))))
    }

    /// Lists the power-services of all racks as conductors, named by their endpoints.
    fn all_conductors(&self) -> Vec<Map<String, Value>> {
        let view = self.app.registry.view();
        let mut all = Vec::new();
        for (_, rack) in view.list(&key::racks()) {
            let members = view.list(&key::members(Scope::Rack(rack.value.id), Service::Power));
            all.extend(members.into_iter().map(|(_, member)| {
                let member = member.value;
                conductor(&member.endpoint, &rack.value.name, member.since, !member.stopping)
            }));
        }
        all.sort_by_key(|one| one.get("hostname").map(ToString::to_string));
        all
    }
}

fn conductor(endpoint: &str, rack: &str, since: Timestamp, alive: bool) -> Map<String, Value> {
    let drivers: Vec<String> = Driver::SERVED.iter().map(ToString::to_string).collect();
    Map::from_iter([
        ("hostname".to_owned(), json!(endpoint)),
        ("conductor_group".to_owned(), json!(rack)),
        ("alive".to_owned(), json!(alive)),
        ("drivers".to_owned(), json!(drivers)),
        ("created_at".to_owned(), time(Some(since))),
        ("updated_at".to_owned(), time(Some(since))),
    ])
}

/// Shows the properties of `driver_info` that a driver reads.
pub(super) fn show_properties(name: &str) -> Result<ApiResponse, Error> {
    Ok(ApiResponse::ok(properties(driver(name)?)))
}

/// Shows the properties of logical disks, for drivers that have a RAID interface.
pub(super) fn show_raid_properties(name: &str) -> Result<ApiResponse, Error> {
    let driver = driver(name)?;
    if !driver.supports(Interface::Raid, "fake") {
        return Err(text::unsupported(&driver.to_string(), "raid", Class::NotFound));
    }
    Ok(ApiResponse::ok(wire_ironic::raid::properties()))
}

/// Lists a driver's own methods: there are none.
pub(super) fn list_methods(name: &str) -> Result<ApiResponse, Error> {
    driver(name).map(|_| ApiResponse::ok(json!({})))
}

/// Refuses to call a driver's own method, because there are none.
pub(super) fn call_method(name: &str, method: &str) -> Result<ApiResponse, Error> {
    driver(name)?;
    Err(Class::Invalid.error(format!("No handler for method {method}")))
}

fn driver(name: &str) -> Result<Driver, Error> {
    let driver = name.parse().ok().filter(|driver| Driver::SERVED.contains(driver));
    let missing = || format!("Could not find the following driver(s) or hardware type(s): {name}.");
    driver.ok_or_else(|| Class::NotFound.error(missing()))
}

/// Keys of `driver_info` that a driver reads, with their descriptions.
pub(super) fn properties(driver: Driver) -> Value {
    let common = json!({
        "deploy_kernel": "Kernel of an agent that speaks Ironic's protocol: a registered image, or a URL. With it goes \
                          deploy_ramdisk; without both the rack's own agent is booted.",
        "deploy_ramdisk": "Ramdisk of that agent: a registered image, or a URL.",
        "kernel_append_params": "Its kernel's arguments, in which %default% stands for the rack's; the rack's where it \
                                 is not given.",
        "force_persistent_boot_device": "Which boot orders of an operation last longer than one boot: Default, the last \
                                         one; Always, all; Never, none. Default where it is not given.",
    });
    let own = match driver {
        Driver::Ipmi => json!({
            "ipmi_address": "IP address or host name of the BMC. Required.",
            "ipmi_port": "UDP port of the BMC's RMCP; 623 where it is not given.",
            "ipmi_username": "User at the BMC; none where it is not given.",
            "ipmi_password": "Password of that user.",
            "ipmi_priv_level": "Privilege of the session: ADMINISTRATOR, OPERATOR, USER or CALLBACK. OPERATOR suffices to \
                                switch power and to set the boot device. ADMINISTRATOR where it is not given.",
            "ipmi_hex_kg_key": "The BMC's key K_G, in hexadecimal, at most 40 digits; none where it is not given.",
            "ipmi_cipher_suite": "The only cipher suite that is used, 17 or 3. Where it is not given: 17, or 3 with a BMC \
                                  that refuses 17 or does not answer to it.",
            "ipmi_disable_boot_timeout": "Whether the BMC is told not to forget a boot device that was set more than a \
                                          minute before the boot. True where it is not given.",
        }),
        Driver::FakeHardware => {
            json!({"B1": "Anything. Nothing depends on it.", "B2": "Anything. Nothing depends on it."})
        }
        Driver::Redfish => json!({
            "redfish_address": "Where the BMC is: https://bmc.example, http:// for one in clear, with a port where it is \
                                not the usual one and with a path where its service's root is not /redfish/v1. https \
                                where no scheme is given. Required.",
            "redfish_system_id": "The system's path, such as /redfish/v1/Systems/1, or its id. Required where the service \
                                  has several.",
            "redfish_username": "User at the BMC; none where it is not given.",
            "redfish_password": "Password of that user.",
            "redfish_verify_ca": "Whose certificates are believed: true, those of the authorities that the power-service's \
                                  host knows; PEM text, those in it, the BMC's own too; a file name, those in that PEM \
                                  file of the folder power.ca_folder on that host; false, anybody's. true where it is \
                                  not given.",
            "redfish_auth_type": "session, basic, or auto: a session where the service has them, else basic. auto where \
                                  it is not given.",
        }),
        Driver::ManualManagement => json!({}),
    };
    let mut all = common.as_object().cloned().unwrap_or_default();
    all.extend(own.as_object().cloned().unwrap_or_default());
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use driver_info::keys::{Fate, KEYS};

    use super::*;

    #[test]
    fn every_key_that_acts_is_described_to_clients() {
        for driver in [Driver::Ipmi, Driver::Redfish] {
            let described = properties(driver);
            for key in KEYS.iter().filter(|key| key.driver.is_none_or(|own| own == driver)) {
                assert_eq!(described.get(key.name).is_some(), key.fate == Fate::Acts, "{driver} {}", key.name);
            }
        }
    }
}
