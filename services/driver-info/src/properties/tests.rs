use keyspace::value::{Intent, NodeSpec};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{apply, capabilities::KEPT, check_disks};

/// Every key of `properties` in Ironic 39, with the source that reads it, a value that must have an effect, and what becomes
/// of it: `acts`, `refused`, or `kept`.
fn ironic_39() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        ("drivers/utils.py", "capabilities", json!("boot_mode:bios"), "acts"),
        ("drivers/modules/deploy_utils.py", "root_device", json!({"serial": "S1"}), "acts"),
        ("ironic-python-agent hardware.py", "skip_block_devices", json!([{"serial": "S1"}]), "acts"),
        ("of this service", "power_domain", json!("a"), "acts"),
        ("objects/node.py", "local_gb", json!("many"), "acts"),
        ("objects/node.py", "memory_mb", json!(-1), "acts"),
        ("inspector/hooks/cpus.py", "cpus", json!(4), "kept"),
        ("inspector/hooks/accelerators.py", "accelerators", json!([]), "kept"),
        ("drivers/modules/deploy_utils.py", "cpu_arch", json!("aarch64"), "kept"),
        ("drivers/modules/ipmitool.py", "vendor", json!("supermicro"), "kept"),
        ("conductor/deployments.py", "boot_mode", json!("bios"), "kept"),
        ("ironic-python-agent inject_files.py", "inject_files", json!([{"path": "/x"}]), "refused"),
    ]
}

const NODE: NodeId = NodeId::new(Uuid::nil());

/// Everything that acts on a node with these `properties`.
fn effects(properties: &Value) -> String {
    let spec: NodeSpec = serde_json::from_value(json!({"properties": properties})).unwrap();
    let mut intent = Intent::new("n".to_owned(), Driver::Ipmi, domain::time::Timestamp::from_millis(1));
    apply(&mut intent, None, &spec).unwrap();
    let read = Properties::of(&spec.properties);
    let checked = check(Driver::Ipmi, NODE, Some(properties)).map_err(|error| error.text);
    let (root, skipped) = (spec.root_device(), read.skipped_disks());
    format!("{:?} {root:?} {skipped:?} {:?} {checked:?}", intent.boot_mode, read.power_domain())
}

#[test]
fn every_key_of_properties_acts_or_is_refused_by_name_or_is_kept_for_a_reason() {
    let listed = ironic_39();
    for (source, name, value, wanted) in &listed {
        let known = KEYS.iter().find(|key| key.name == *name).unwrap_or_else(|| panic!("{name} of {source}"));
        let properties = json!({*name: value});
        let acts = effects(&properties) != effects(&json!({}));
        match known.fate {
            Fate::Acts => assert!(acts && *wanted == "acts", "{name} of {source} acts"),
            Fate::Refused { .. } => {
                let error = check(Driver::Ipmi, NODE, Some(&properties)).unwrap_err();
                assert!(*wanted == "refused" && error.text.contains(&format!("properties/{name} =")), "{}", error.text);
            }
            Fate::Kept(reason) => assert!(!acts && *wanted == "kept", "{name} of {source} is kept: {reason}"),
        }
    }
    for key in KEYS {
        assert!(listed.iter().any(|(_, name, ..)| *name == key.name), "{} is no key of Ironic 39", key.name);
    }
}

#[test]
fn capabilities_act_or_are_refused_by_name_or_are_kept() {
    let of = |capability: &str| json!({"capabilities": capability});
    for (name, reason) in KEPT {
        let capability = of(&format!("{name}:x"));
        assert!(check(Driver::Ipmi, NODE, Some(&capability)).is_ok(), "{name}: {reason}");
        assert_eq!(effects(&capability), effects(&json!({})), "{name}: {reason}");
    }
    for (capability, source, right) in [
        ("boot_mode:uefi", "ironic admin guide", None),
        ("boot_mode:BIOS", "boot_mode_utils.py lowers it", None),
        ("boot_mode:efi", "deploy_utils.py SUPPORTED_CAPABILITIES", Some("properties/capabilities boot_mode must be")),
        ("secure_boot:false", "ironic admin guide", None),
        ("boot_mode:uefi,secure_boot:true", "ironic admin guide", Some("\"secure_boot:true\" is not supported")),
        ("trusted_boot:true", "removed from Ironic in 2023.2", Some("\"trusted_boot:true\" is not supported")),
        ("cpu_vt:true,cpu_aes:true", "inspector/hooks/cpu_capabilities.py", None),
        ("gpu", "a note without a value", None),
    ] {
        let checked = check(Driver::Ipmi, NODE, Some(&of(capability))).map_err(|error| error.text);
        match right {
            None => assert_eq!(checked, Ok(()), "{capability} ({source})"),
            Some(words) => assert!(checked.unwrap_err().contains(words), "{capability} ({source})"),
        }
    }
}

#[test]
fn sizes_must_be_whole_numbers_as_in_ironic() {
    for (value, source, right) in [
        (json!(4096), "a number", true),
        (json!("4096"), "the baremetal command", true),
        (json!(" 4096 "), "int() of Python", true),
        (json!(0), "zero", true),
        (json!(null), "null", true),
        (json!(-1), "negative", false),
        (json!("-1"), "negative text", false),
        (json!("4G"), "a unit", false),
        (json!("4.5"), "int() of Python takes no text with a point", false),
        (json!({}), "an object", false),
    ] {
        for driver in [Driver::Ipmi, Driver::FakeHardware] {
            let checked = check(driver, NODE, Some(&json!({"memory_mb": value})));
            assert_eq!(checked.is_ok(), right, "{source}: {value}");
        }
    }
    let text = check(Driver::Redfish, NODE, Some(&json!({"memory_mb": "x", "local_gb": -2}))).unwrap_err().text;
    assert_eq!(
        text,
        "The following properties for node 00000000-0000-0000-0000-000000000000 should be non-negative integers, but \
         provided values are: local_gb=-2, memory_mb=x"
    );
}

#[test]
fn hints_that_only_ironics_agent_evaluates_are_refused_where_another_runs() {
    let ipa = json!({"deploy_kernel": "http://h/k", "deploy_ramdisk": "http://h/r"});
    for (key, hints) in [
        ("root_device", json!({"wwn": "0x5000"})),
        ("root_device", json!({"hctl": "1:0:0:0"})),
        ("root_device", json!({"by_path": "/dev/disk/by-path/pci"})),
        ("root_device", json!({"vendor": "ATA"})),
        ("skip_block_devices", json!([{"wwn_with_extension": "0x5000"}])),
        ("skip_block_devices", json!([{"size": 1}, {"vendor": "ATA"}])),
    ] {
        let node = |driver_info: &Value| -> NodeSpec {
            serde_json::from_value(json!({"driver_info": driver_info, "properties": {key: hints}})).unwrap()
        };
        assert!(check(Driver::Ipmi, NODE, Some(&json!({key: hints}))).is_ok(), "it may be set: {hints}");
        let text = check_disks(Driver::Ipmi, &node(&json!({}))).unwrap_err().text;
        assert!(text.starts_with(key) || text.starts_with(&format!("properties/{key}")), "{text}");
        assert!(text.contains("ironic-python-agent"), "{text}");
        assert!(check_disks(Driver::Ipmi, &node(&ipa)).is_ok(), "{hints}");
        assert!(check_disks(Driver::FakeHardware, &node(&json!({}))).is_ok(), "{hints}");
    }
}
