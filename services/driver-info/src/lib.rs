//! Parses a node's driver, interfaces and `driver_info`. Pure.

use domain::{
    driver::{Driver, Interface},
    kernel_arguments::KernelArgumentsError,
    net::BmcAddr,
    power::BootPersistence,
};
use keyspace::value::{ExtraFields, Ipmi, IronicRamdisk, NodeSpec, Redfish};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error, text};

use super::{ipmi, records::interface_field, redfish};

pub(super) mod keys;

/// Parses a node's driver.
pub(super) fn driver(attributes: &Map<String, Value>) -> Result<Driver, Error> {
    let word = attributes.get("driver").and_then(Value::as_str).unwrap_or_default();
    let group = attributes.get("conductor_group").and_then(Value::as_str).unwrap_or_default();
    let driver = word.parse().ok().filter(|driver| Driver::SERVED.contains(driver));
    driver.ok_or_else(|| text::no_valid_host(word, group))
}

/// Checks that the driver has each selected interface implementation.
pub(super) fn check_interfaces(driver: Driver, attributes: &Map<String, Value>) -> Result<(), Error> {
    for interface in Interface::ALL.iter().copied() {
        let Some(name) = attributes.get(&interface_field(interface)).and_then(Value::as_str) else { continue };
        if driver.supports(interface, name) {
            continue;
        }
        let existing = interface.implementations();
        return Err(Class::Invalid.error(if existing.contains(&name) {
            format!("{interface} interface implementation '{name}' is not supported by hardware type {driver}.")
        } else {
            let valid: Vec<String> = existing.iter().map(|name| format!("'{name}'")).collect();
            format!(
                "Could not find the following interface in the 'ironic.hardware.interfaces.{interface}' entrypoint: \
                 {name}. Valid interfaces are [{}].",
                valid.join(", ")
            )
        }));
    }
    Ok(())
}

/// The ramdisk that a node with an agent names, if it names both of its files. Kernel arguments of the instance have
/// precedence.
///
/// # Errors
/// `Invalid` if kernel arguments cannot be put into a boot script, also where no ramdisk is named yet.
pub(super) fn ironic_ramdisk(driver: Driver, spec: &NodeSpec) -> Result<Option<IronicRamdisk>, Error> {
    let (info, instance) = (spec.driver_info.as_ref(), spec.instance_info.as_ref());
    let of = |fields: Option<&'_ ExtraFields>, name: &str| {
        fields.and_then(|fields| fields.text(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let arguments = |fields: Option<&ExtraFields>, dictionary: &str| {
        let parsed = of(fields, "kernel_append_params").map(|text| text.parse()).transpose();
        parsed.map_err(|error: KernelArgumentsError| {
            Class::Invalid.error(format!("{dictionary}/kernel_append_params is invalid: {error}."))
        })
    };
    let (of_node, of_instance) = (arguments(info, "driver_info")?, arguments(instance, "instance_info")?);
    let named = of(info, "deploy_kernel").zip(of(info, "deploy_ramdisk"));
    let named = named.filter(|_| driver != Driver::FakeHardware);
    Ok(named.map(|(kernel, ramdisk)| IronicRamdisk { kernel, ramdisk, arguments: of_instance.or(of_node) }))
}

/// Which boot orders of a node last longer than one boot.
pub(super) fn boot_persistence(spec: &NodeSpec) -> BootPersistence {
    let named = spec.driver_info.as_ref().and_then(|info| info.as_map().get("force_persistent_boot_device"));
    named.and_then(keys::boot_persistence).unwrap_or_default()
}

/// Address of a BMC, and the keys of its user name and password in `driver_info`.
pub(super) struct BmcAccess {
    pub(super) address: BmcAddr,
    /// Settings of an IPMI BMC, without the key K_G.
    pub(super) ipmi: Ipmi,
    pub(super) redfish: Option<Redfish>,
    pub(super) user: &'static str,
    pub(super) password: &'static str,
}

/// Parses how to reach a BMC. `None` if `driver_info` is incomplete or invalid.
pub(super) fn bmc_access(driver: Driver, info: &Map<String, Value>) -> Option<BmcAccess> {
    match driver {
        Driver::Ipmi => {
            let (address, ipmi) = (ipmi::address(info)?, ipmi::parse(info).ok()?);
            Some(BmcAccess { address, ipmi, redfish: None, user: "ipmi_username", password: "ipmi_password" })
        }
        Driver::Redfish => {
            let (address, redfish) = redfish::parse(info).ok().flatten()?;
            let (ipmi, redfish) = (Ipmi::default(), Some(redfish));
            Some(BmcAccess { address, ipmi, redfish, user: "redfish_username", password: "redfish_password" })
        }
        Driver::FakeHardware | Driver::ManualManagement => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn an_interface_of_another_driver_and_an_unknown_one_are_rejected() {
        let refused = |value| check_interfaces(Driver::Ipmi, &attributes(value)).unwrap_err().text;
        assert!(refused(json!({"deploy_interface": "nope"})).contains("entrypoint: nope"));
        assert!(refused(json!({"deploy_interface": "fake"})).contains("not supported by hardware type ipmi"));
        assert!(check_interfaces(Driver::Ipmi, &attributes(json!({"deploy_interface": "direct"}))).is_ok());
    }

    #[test]
    fn a_ramdisk_needs_both_kernel_and_ramdisk() {
        let node = |info: &Value| -> NodeSpec { serde_json::from_value(json!({ "driver_info": info })).unwrap() };
        let whole =
            json!({"deploy_kernel": "http://h/k", "deploy_ramdisk": "ipa", "kernel_append_params": "%default% x"});
        let of = |driver, info: &Value| ironic_ramdisk(driver, &node(info)).unwrap();
        let named = of(Driver::Ipmi, &whole).unwrap();
        assert_eq!((named.kernel.as_str(), named.ramdisk.as_str()), ("http://h/k", "ipa"));
        assert_eq!(named.arguments.unwrap().as_str(), "%default% x");
        let partial = json!({"deploy_kernel": "http://h/k", "deploy_ramdisk": ""});
        assert_eq!(of(Driver::Ipmi, &partial), None);
        assert_eq!(of(Driver::FakeHardware, &whole), None);
    }

    #[test]
    fn kernel_arguments_that_would_become_commands_of_a_boot_script_are_rejected_with_their_place() {
        let refused = |node: Value| {
            let spec: NodeSpec = serde_json::from_value(node).unwrap();
            ironic_ramdisk(Driver::FakeHardware, &spec).unwrap_err().text
        };
        let text = refused(json!({"driver_info": {"kernel_append_params": "quiet\nchain http://evil/"}}));
        assert!(
            text.starts_with("driver_info/kernel_append_params is invalid: ") && text.contains("one line"),
            "{text}"
        );
        let text = refused(json!({"instance_info": {"kernel_append_params": "quiet ${net0/mac}"}}));
        assert!(text.starts_with("instance_info/kernel_append_params is invalid: "), "{text}");
    }
}
