//! Determines the child processes of a rack and their configurations.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use serde::{Serialize, de::DeserializeOwned};
use service_kit::{
    config::{Common, Config as Configured, print},
    outbound_http::OutboundConfig,
};

use super::{Options, child::Child};
use crate::{certs::Certs, sealing};
use service_kit::ports::{AGENTS_PORT, BOOT_FILES_PORT, IMAGES_PORT, IRONIC_AGENTS_PORT};

/// Folder below the data folder with the certificates that nodes may name (`driver_info/redfish_verify_ca`).
pub(crate) const BMC_CA_FOLDER: &str = "bmc-ca";

/// Returns all children: the scheduler-services, and each rack service as often as requested.
pub(crate) fn children(options: &Options, certs: &Certs, etcd: &[String]) -> Result<Vec<Child>> {
    let mut children = Vec::new();
    for number in 1..=options.replicas {
        let address = options.address.get(usize::from(number) - 1).copied().filter(|_| options.network.is_some());
        for service in [Service::Power, Service::Pxe, Service::Storage, Service::Inventory] {
            children.push(child(options, certs, etcd, service, number, address)?);
        }
    }
    for number in 1..=options.schedulers {
        children.push(child(options, certs, etcd, Service::Scheduler, number, None)?);
    }
    Ok(children)
}

fn child(
    options: &Options,
    certs: &Certs,
    etcd: &[String],
    service: Service,
    number: u8,
    address: Option<Ipv4Addr>,
) -> Result<Child> {
    let name = format!("{service}-{number}");
    let data = options.data.join(&name);
    let common = common(options, certs, etcd, service, &data);
    // Without a provisioning network each listener uses a free port of loopback.
    let outside = address.unwrap_or(Ipv4Addr::LOCALHOST);
    let at = |port: u16| SocketAddr::from((outside, if address.is_some() { port } else { 0 }));
    let config = match service {
        Service::Power => {
            let power = power_service::Power {
                bind: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
                ca_folder: std::path::absolute(options.data.join(BMC_CA_FOLDER)).unwrap_or_default(),
                ..Default::default()
            };
            let outbound = outbound(options);
            format_config(&power_service::Config { service: common, power, outbound }, &options.set)?
        }
        Service::Pxe => {
            let pxe = pxe_service::Pxe {
                device: options.network.clone().unwrap_or_default(),
                address: outside,
                http_port: at(BOOT_FILES_PORT).port(),
                ..Default::default()
            };
            format_config(&pxe_service::Config { service: common, pxe }, &options.set)?
        }
        Service::Storage => {
            let files_from = options.files_from.clone();
            let storage = storage_service::Storage { http: at(IMAGES_PORT), files_from, ..Default::default() };
            let outbound = outbound(options);
            format_config(&storage_service::Config { service: common, storage, outbound }, &options.set)?
        }
        Service::Inventory => {
            let inventory = inventory_service::Inventory { agents: at(AGENTS_PORT), ironic: at(IRONIC_AGENTS_PORT) };
            format_config(&inventory_service::Config { service: common, inventory }, &options.set)?
        }
        Service::Scheduler => {
            // The address is for the first scheduler; the others use a free port.
            let rest = if number == 1 { options.rest } else { SocketAddr::new(options.rest.ip(), 0) };
            let scheduler = scheduler_service::Scheduler { rest, ..Default::default() };
            let outbound = outbound(options);
            format_config(&scheduler_service::Config { service: common, scheduler, outbound }, &options.set)?
        }
    };
    Ok(Child { name, service, data, config, runs: Arc::default() })
}

/// Users may not have the services request what is on the provisioning network.
fn outbound(options: &Options) -> OutboundConfig {
    let first = options.address.first().filter(|_| options.network.is_some());
    let network = first.and_then(|address| format!("{address}/{}", options.prefix).parse().ok());
    OutboundConfig { internal: network.into_iter().collect(), ..OutboundConfig::default() }
}

/// A key of a service's own table, set on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    table: String,
    key: String,
    value: serde_json::Value,
}

impl Setting {
    /// Returns whether it sets this key.
    pub(super) fn is(&self, table: &str, key: &str) -> bool {
        self.table == table && self.key == key
    }
}

/// Parses `TABLE.KEY=VALUE`. A value of digits is a number, `true` and `false` are booleans, and
/// one in brackets is a list in JSON. Of the table that all
/// services have, only the limits of the listeners can be set: the rest is what `up` decides.
pub(crate) fn setting(text: &str) -> Result<Setting> {
    let parts = text.split_once('=').and_then(|(path, value)| Some((path.split_once('.')?, value)));
    let ((table, key), value) = parts.context("must be TABLE.KEY=VALUE, such as power.poll=30s")?;
    let tables = ["power", "pxe", "storage", "inventory", "scheduler", "outbound"];
    let is_limit = table == "service" && key.starts_with("http.");
    let all = tables.join(", ");
    ensure!(is_limit || tables.contains(&table), "unknown table [{table}]; the tables are {all}, and service.http");
    let value = if value.starts_with('[') {
        serde_json::from_str(value).with_context(|| format!("{value}: must be a list such as [\"127.0.0.1\"]"))?
    } else {
        match value {
            "true" | "false" => (value == "true").into(),
            _ => value.parse::<u32>().map_or_else(|_| value.into(), Into::into),
        }
    };
    Ok(Setting { table: table.to_owned(), key: key.to_owned(), value })
}

/// Formats a configuration with the settings of the command line. An unknown key is an error that names the valid keys.
pub(crate) fn format_config<C: Configured + Serialize + DeserializeOwned>(
    config: &C,
    settings: &[Setting],
) -> Result<String> {
    let mut whole = serde_json::to_value(config)?;
    for Setting { table, key, value } in settings {
        // A key of a nested table; if there is no such table the key is reported as unknown.
        let (above, last) = key.rsplit_once('.').unwrap_or(("", key));
        let place = format!("/{table}/{}", above.replace('.', "/"));
        let is_within = !above.is_empty() && whole.pointer(&place).is_some();
        let (place, last) = if is_within { (place, last) } else { (format!("/{table}"), key.as_str()) };
        if let Some(table) = whole.pointer_mut(&place).and_then(serde_json::Value::as_object_mut) {
            table.insert(last.to_owned(), value.clone());
        }
    }
    Ok(print(&serde_json::from_value::<C>(whole).context("--set")?))
}

fn common(options: &Options, certs: &Certs, etcd: &[String], service: Service, data: &Path) -> Common {
    let (files, for_etcd) = (certs.of(service), certs.for_etcd(service));
    Common {
        rack: if service == Service::Scheduler { String::new() } else { options.rack.clone() },
        etcd: etcd.to_vec(),
        data: data.to_owned(),
        ca: files.ca,
        certificate: files.certificate,
        key: files.key,
        etcd_ca: for_etcd.ca,
        etcd_certificate: for_etcd.certificate,
        etcd_key: for_etcd.key,
        sealing_keys: sealing::file(&options.data, service, &options.rack),
        log: options.log.clone(),
        otlp: options.otlp.clone(),
        ..Common::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_service_can_be_set_and_a_wrong_one_is_named() {
        let format = |texts: &[&str]| {
            let settings: Vec<_> = texts.iter().map(|text| setting(text).unwrap()).collect();
            format_config(&scheduler_service::Config::default(), &settings)
        };
        let text = format(&["scheduler.boot=4s", "scheduler.boots=1", "power.poll=1s"]).unwrap();
        assert!(text.contains("boot = \"4s\"") && text.contains("boots = 1") && !text.contains("poll"), "{text}");
        let text = format(&["scheduler.rest_jwt.grpc=true", "scheduler.rest_jwt.role_names.ops-admins=admin"]).unwrap();
        assert!(text.contains("grpc = true") && text.contains("ops-admins = \"admin\""), "{text}");
        let text = format(&["scheduler.rest_jwt.project=tenant"]).unwrap();
        assert!(text.contains("project = \"tenant\""), "{text}");
        let text = format(&["service.http.connections=99"]).unwrap();
        assert!(text.contains("connections = 99"), "{text}");
        let text = format(&["outbound.allow=[\"127.0.0.0/8\", \"::1\"]"]).unwrap();
        assert!(text.contains("\"127.0.0.0/8\"") && text.contains("\"::1/128\""), "{text}");
        format(&["outbound.allow=[\"localhost\"]"]).unwrap_err();
        let wrong = format(&["scheduler.boost=4s"]).unwrap_err();
        assert!(format!("{wrong:#}").contains("`boost`"), "{wrong:#}");
        format(&["scheduler.rest_jet.project=tenant"]).unwrap_err();
        for text in ["outbound.allow=[127", "boot=4s", "power.poll", "sheduler.boot=4s", "service.rack=r"] {
            setting(text).unwrap_err();
        }
    }
}
