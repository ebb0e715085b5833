//! What clients said of a node's hardware, as our services understand it. Pure.

use domain::{
    driver::{Driver, Interface},
    net::BmcAddr,
    power::BootMode,
};
use keyspace::value::{IronicRamdisk, Redfish};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error, text};

use super::redfish;
use scheduler_core::document::interface_field;

/// The driver that a node names.
pub(super) fn driver(attributes: &Map<String, Value>) -> Result<Driver, Error> {
    let word = attributes.get("driver").and_then(Value::as_str).unwrap_or_default();
    let group = attributes.get("conductor_group").and_then(Value::as_str).unwrap_or_default();
    let driver = word.parse().ok().filter(|driver| Driver::SERVED.contains(driver));
    driver.ok_or_else(|| text::no_valid_host(word, group))
}

/// Every interface that is named must be one that the driver has.
pub(super) fn check_interfaces(driver: Driver, attributes: &Map<String, Value>) -> Result<(), Error> {
    for interface in Interface::ALL.iter().copied() {
        let Some(name) = attributes.get(&interface_field(interface)).and_then(Value::as_str) else { continue };
        if driver.supports(interface, name) {
            continue;
        }
        let known = Driver::SERVED.iter().any(|driver| driver.supports(interface, name));
        return Err(Class::Invalid.says(if known {
            format!("{interface} interface implementation '{name}' is not supported by hardware type {driver}.")
        } else {
            let valid: Vec<String> = implementations(interface).into_iter().map(|name| format!("'{name}'")).collect();
            format!(
                "Could not find the following interface in the 'ironic.hardware.interfaces.{interface}' entrypoint: \
                 {name}. Valid interfaces are [{}].",
                valid.join(", ")
            )
        }));
    }
    Ok(())
}

/// Every implementation of an interface that any driver has.
fn implementations(interface: Interface) -> Vec<&'static str> {
    let mut all: Vec<_> =
        Driver::SERVED.iter().flat_map(|driver| driver.implementations(interface).iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The firmware that a node's properties ask for.
pub(super) fn boot_mode(attributes: &Map<String, Value>) -> Option<BootMode> {
    let capabilities = attributes.get("properties")?.get("capabilities")?.as_str()?;
    let words = capabilities.split(',').filter_map(|pair| pair.trim().split_once(':'));
    words.filter(|(key, _)| *key == "boot_mode").find_map(|(_, mode)| match mode {
        "uefi" => Some(BootMode::Uefi),
        "bios" => Some(BootMode::Bios),
        _ => None,
    })
}

/// The ramdisk that a node of a driver with agents names, where it names all of it. Its arguments may stand at the
/// instance too, and count there first.
pub(super) fn ironic_ramdisk(driver: Driver, attributes: &Map<String, Value>) -> Option<IronicRamdisk> {
    let of = |field: &str, name: &str| attributes.get(field)?.get(name)?.as_str().filter(|text| !text.is_empty());
    let (kernel, ramdisk) = (of("driver_info", "deploy_kernel")?, of("driver_info", "deploy_ramdisk")?);
    let arguments = ["instance_info", "driver_info"].into_iter().find_map(|field| of(field, "kernel_append_params"));
    (driver != Driver::FakeHardware).then(|| IronicRamdisk {
        kernel: kernel.to_owned(),
        ramdisk: ramdisk.to_owned(),
        arguments: arguments.map(str::to_owned),
    })
}

/// How a BMC is reached, and under which words its user and its password stand.
pub(super) struct Reached {
    pub(super) address: BmcAddr,
    pub(super) redfish: Option<Redfish>,
    pub(super) user: &'static str,
    pub(super) password: &'static str,
}

/// How a BMC is reached, by its driver's words; nothing where they do not say it.
pub(super) fn reached(driver: Driver, info: &Map<String, Value>) -> Option<Reached> {
    match driver {
        Driver::Ipmi => {
            Some(Reached { address: address(info)?, redfish: None, user: "ipmi_username", password: "ipmi_password" })
        }
        Driver::Redfish => {
            let (address, redfish) = redfish::place(info).ok().flatten()?;
            Some(Reached { address, redfish: Some(redfish), user: "redfish_username", password: "redfish_password" })
        }
        Driver::FakeHardware | Driver::ManualManagement => None,
    }
}

/// Where a BMC that speaks IPMI is.
fn address(info: &Map<String, Value>) -> Option<BmcAddr> {
    let host = info.get("ipmi_address").and_then(Value::as_str).filter(|host| !host.is_empty())?;
    let port = match info.get("ipmi_port") {
        Some(Value::Number(port)) => port.to_string(),
        Some(Value::String(port)) => port.clone(),
        _ => domain::net::IPMI_PORT.to_string(),
    };
    format!("{host}:{port}").parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn an_interface_is_one_of_the_drivers_or_is_refused_as_unknown_or_as_anothers() {
        let refused = |value| check_interfaces(Driver::Ipmi, &attributes(value)).unwrap_err().text;
        assert!(refused(json!({"deploy_interface": "nope"})).contains("entrypoint: nope"));
        assert!(refused(json!({"deploy_interface": "fake"})).contains("not supported by hardware type ipmi"));
        assert!(check_interfaces(Driver::Ipmi, &attributes(json!({"deploy_interface": "direct"}))).is_ok());
    }

    #[test]
    fn a_bmc_is_where_its_drivers_words_say() {
        let at = |value| address(&attributes(value)).map(|address| address.to_string());
        assert_eq!(at(json!({"ipmi_address": "10.0.0.5"})).as_deref(), Some("10.0.0.5:623"));
        assert_eq!(at(json!({"ipmi_address": "bmc", "ipmi_port": "1623"})).as_deref(), Some("bmc:1623"));
        assert_eq!(at(json!({"ipmi_address": "bmc", "ipmi_port": 1623})).as_deref(), Some("bmc:1623"));
        assert_eq!(at(json!({"ipmi_address": "no host", "ipmi_port": 1})), None);
        assert_eq!(at(json!({})), None);
    }

    #[test]
    fn a_ramdisk_is_named_by_both_its_parts_or_not_at_all() {
        let of = |info: Value| ironic_ramdisk(Driver::Ipmi, &attributes(json!({"driver_info": info})));
        let whole =
            json!({"deploy_kernel": "http://h/k", "deploy_ramdisk": "ipa", "kernel_append_params": "%default% x"});
        let named = of(whole.clone()).unwrap();
        assert_eq!((named.kernel.as_str(), named.ramdisk.as_str()), ("http://h/k", "ipa"));
        assert_eq!(named.arguments.as_deref(), Some("%default% x"));
        assert_eq!(of(json!({"deploy_kernel": "http://h/k", "deploy_ramdisk": ""})), None);
        assert_eq!(ironic_ramdisk(Driver::FakeHardware, &attributes(json!({"driver_info": whole}))), None);
    }

    #[test]
    fn the_firmware_is_a_capability() {
        let of = |capabilities: &str| boot_mode(&attributes(json!({"properties": {"capabilities": capabilities}})));
        assert_eq!(of("boot_option:local,boot_mode:bios"), Some(BootMode::Bios));
        assert_eq!(of("boot_mode:uefi"), Some(BootMode::Uefi));
        assert_eq!(of("boot_mode:other"), None);
    }
}
