use std::fmt::Write as _;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::*;
use crate::value::Stamped;

/// A stored value of each resource with all of its fields, and one with none.
fn samples() -> Vec<(&'static str, String)> {
    let id = "00000000-0000-4000-8000-000000000001";
    let sealed = json!({"sealed": {"key": "k", "sealed": "s"}});
    let steps = json!([{"interface": "deploy", "step": "s", "args": {"a": 1}, "priority": 5},
        {"interface": "bios", "step": "t", "args": {}, "order": 1, "execute_on_child_nodes": true,
            "limit_child_node_execution": [id]}]);
    let rule = json!([{"op": "fail", "args": ["why"]}]);
    vec![
        (
            "node",
            round::<NodeSpec>(merged(
                json!({
                "allocation_uuid": id, "automated_clean": false, "bios_interface": "no-bios", "boot_interface": "ipxe",
                "boot_mode": "uefi", "chassis_uuid": id, "console_enabled": true, "console_interface": "no-console",
                "deploy_interface": "direct", "description": "d", "disable_power_off": true,
                "driver_info": {"ipmi_address": "h", "ipmi_password": sealed}, "extra": {"a": [1]}, "fault": "power failure",
                "firmware_interface": "no-firmware", "inspect_interface": "agent", "instance_info": {"traits": ["CUSTOM_A"]},
                "instance_name": "i", "instance_uuid": id, "lessee": "l", "maintenance": true, "maintenance_reason": "m",}),
                json!({"management_interface": "ipmitool", "network_data": {"links": []}, "network_interface": "noop", "owner": "o",
                    "parent_node": id, "power_interface": "ipmitool", "properties": {"cpu_arch": "x86_64"}, "protected": true,
                    "protected_reason": "p", "raid_config": {"logical_disks": []}, "raid_interface": "no-raid",
                    "rescue_interface": "agent", "resource_class": "big", "retired": true, "retired_reason": "r",
                    "secure_boot": false, "shard": "s", "storage_interface": "noop", "target_raid_config": {"logical_disks": []},
                    "traits": ["CUSTOM_A", "CUSTOM_B"], "vendor_interface": "no-vendor",
                }),
            )),
        ),
        (
            "port",
            round::<PortSpec>(json!({
                "available_for_dynamic_portgroup": false, "category": "c", "description": "d", "extra": {"a": 1},
                "internal_info": {"b": 2}, "is_smartnic": true, "local_link_connection": {"port_id": "1"}, "name": "n",
                "physical_network": "p", "portgroup_uuid": id, "pxe_enabled": false, "vendor": "v",
            })),
        ),
        (
            "portgroup",
            round::<PortgroupSpec>(json!({
                "address": "52:54:00:00:00:01", "category": "c", "dynamic_portgroup": true, "extra": {"a": 1},
                "internal_info": {"b": 2}, "mode": "802.3ad", "name": "n", "node_uuid": id, "physical_network": "p",
                "properties": {"miimon": "100"}, "standalone_ports_supported": false,
            })),
        ),
        ("chassis", round::<ChassisSpec>(json!({"description": "d", "extra": {"a": 1}}))),
        (
            "deploy-template",
            round::<DeployTemplateSpec>(json!({
                "description": "d", "extra": {"a": 1}, "name": "CUSTOM_A", "steps": steps,
            })),
        ),
        (
            "runbook",
            round::<RunbookSpec>(json!({
                "description": "d", "disable_ramdisk": true, "extra": {"a": 1}, "name": "CUSTOM_A", "owner": "o",
                "public": true, "steps": steps, "traits": ["CUSTOM_A"],
            })),
        ),
        (
            "inspection-rule",
            round::<InspectionRuleSpec>(json!({
                "actions": rule, "conditions": rule, "description": "d", "phase": "early", "priority": 7, "sensitive": true,
            })),
        ),
        (
            "volume-connector",
            round::<VolumeConnectorSpec>(json!({
                "connector_id": "iqn.x", "extra": {"a": 1}, "node_uuid": id, "type": "iqn",
            })),
        ),
        (
            "volume-target",
            round::<VolumeTargetSpec>(json!({
                "boot_index": 1, "extra": {"a": 1}, "node_uuid": id, "properties": {"auth_password": sealed},
                "volume_id": "v", "volume_type": "iscsi",
            })),
        ),
        (
            "allocation",
            round::<AllocationSpec>(json!({
                "candidate_nodes": [id], "extra": {"a": 1}, "last_error": "e", "name": "n", "node_uuid": id, "owner": "o",
                "resource_class": "big", "state": "error", "traits": ["CUSTOM_A"],
                "placement": {"capabilities": {"raid": "1"}, "group": "g", "order": "spread",
                    "anti_affinity": "power-domain", "queue_until": "2026-01-01T00:00:00.000Z"},
            })),
        ),
        (
            "webhook",
            round::<WebhookSpec>(json!({
                "delivery_info": {"secret": sealed, "ca": "-----BEGIN"}, "description": "d", "enabled": false,
                "extra": {"a": 1}, "name": "n", "query": "maintenance=true", "url": "https://h/",
            })),
        ),
    ]
}

/// Both objects' members. One literal of all is too long for the macro.
fn merged(mut one: Value, other: Value) -> Value {
    one.as_object_mut().unwrap().extend(other.as_object().cloned().unwrap());
    one
}

/// The stored form of a resource with these fields, which loses none of them, and of one with none.
fn round<T: Serialize + DeserializeOwned + Default + PartialEq + std::fmt::Debug>(fields: Value) -> String {
    let spec: T = serde_json::from_value(fields.clone()).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), fields, "a field is lost");
    let at = domain::time::Timestamp::from_millis(1);
    let full = Stamped { spec, created_at: at, updated_at: Some(at) };
    let text = serde_json::to_string(&full).unwrap();
    assert_eq!(serde_json::from_str::<Stamped<T>>(&text).unwrap(), full);
    let empty = Stamped::created(T::default(), at);
    let least = serde_json::to_string(&empty).unwrap();
    assert_eq!(serde_json::from_str::<Stamped<T>>(&least).unwrap(), empty);
    assert_eq!(serde_json::from_value::<T>(json!({})).unwrap(), T::default(), "what is absent has its default");
    format!("{text}\n{least}")
}

#[test]
fn stored_resources_are_those_of_the_last_release() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/value/golden/resources.txt");
    let mut text = String::new();
    for (name, sample) in samples() {
        writeln!(text, "{name}\n{sample}").unwrap();
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "{}; UPDATE=1 rewrites it", file.display());
}

#[test]
fn secrets_are_looked_for_in_the_dictionaries_that_may_hold_them() {
    let step = StepSpec { interface: "deploy".to_owned(), ..StepSpec::default() };
    let mut node = NodeSpec { driver_info: Some(ExtraFields::new()), ..NodeSpec::default() };
    let mut runbook = RunbookSpec { steps: vec![step.clone(), step], ..RunbookSpec::default() };
    let paths = |record: &mut dyn Secrets| -> Vec<String> {
        record.secret_fields().into_iter().map(|(path, _)| path).collect()
    };
    assert_eq!(paths(&mut node), ["driver_info", "extra", "properties"]);
    assert_eq!(paths(&mut runbook), ["steps/0/args", "steps/1/args"]);
    assert_eq!(paths(&mut VolumeTargetSpec::default()), ["extra", "properties"]);
    assert_eq!(paths(&mut WebhookSpec::default()), ["delivery_info"]);
    assert_eq!(paths(&mut PortgroupSpec::default()), ["extra", "properties"]);
}
