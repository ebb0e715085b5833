use domain::{
    failure::{Cause, Failure},
    policy::{Caller, Roles, Scope},
    power::BootMode,
    provision::{Stage, State},
};
use keyspace::value::NodeSpec;
use wire_ironic::{
    query::{self, Shape},
    version::Version,
};

use super::*;
use crate::{list, nodes::matches, records::to_fields, test_node};

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn node(spec: Value) -> NodeView {
    test_node::node(7, "n1", from_json(spec))
}

/// A specification in which no field has its default.
fn full() -> Value {
    let golden = include_str!("../../../keyspace/src/value/golden/resources.txt");
    let record = golden.lines().skip_while(|line| *line != "node").nth(1).unwrap();
    serde_json::from_str::<Value>(record).unwrap()["spec"].take()
}

#[test]
fn a_document_has_every_field_of_the_specification_as_it_is_stored() {
    for spec in [json!({}), full()] {
        let node = node(spec);
        let document = render(&node);
        for (name, value) in to_fields(node.spec()) {
            assert_eq!(document.get(&name), Some(&value), "{name}");
        }
    }
    assert_eq!(to_fields(node(full()).spec()).len(), full().as_object().unwrap().len());
}

#[test]
fn a_secret_is_masked_in_what_a_client_sees_and_sealed_in_what_is_stored() {
    let node = node(full());
    assert!(render(&node)["driver_info"]["ipmi_password"]["sealed"].is_object());
    let seen = NodeDocument::unrestricted(&node).field("driver_info").unwrap().into_json();
    assert_eq!(seen["ipmi_password"], MASK);
}

/// The value of a field, as an unrestricted caller sees it.
fn shown(node: &NodeView, name: &str) -> Value {
    NodeDocument::unrestricted(node).field(name).map_or(Value::Null, FieldValue::into_json)
}

fn power(settled: Value, trouble: Value) -> Value {
    let (at, instance) = ("1970-01-01T00:00:00.002Z", "00000000-0000-4000-8000-000000000001");
    json!({"power": "off", "seen_at": at, "seen_by": instance, "settled": settled, "trouble": trouble})
}

fn failure(text: &str) -> Failure {
    Failure { cause: Cause::BmcSilent, text: text.to_owned(), at: domain::time::Timestamp::from_millis(2) }
}

#[test]
fn firmware_that_was_observed_is_shown_instead_of_what_was_specified() {
    let mut node = node(json!({"boot_mode": "bios", "secure_boot": true}));
    assert_eq!((shown(&node, "boot_mode"), shown(&node, "secure_boot")), (json!("bios"), json!(true)));
    let (seen_at, seen_by) = ("1970-01-01T00:00:00.002Z", "00000000-0000-4000-8000-000000000001");
    let firmware = json!({"boot_mode": BootMode::Uefi, "secure_boot": false, "seen_at": seen_at, "seen_by": seen_by});
    node.firmware = Some(from_json(firmware));
    assert_eq!((shown(&node, "boot_mode"), shown(&node, "secure_boot")), (json!("uefi"), json!(false)));
    node.firmware = Some(from_json(json!({"seen_at": seen_at, "seen_by": seen_by})));
    assert_eq!((shown(&node, "boot_mode"), shown(&node, "secure_boot")), (Value::Null, Value::Null));
}

#[test]
fn the_current_step_is_shown_in_the_field_of_its_kind_only() {
    let mut node = node(json!({}));
    let steps = json!([
        {"interface": "deploy", "step": "erase_devices"},
        {"interface": "bios", "step": "apply_configuration", "args": {"password": {"sealed": {"key": "k", "sealed": "s"}}}},
    ]);
    let (id, since) = ("00000000-0000-4000-8000-000000000009", "1970-01-01T00:00:00.002Z");
    let operation = json!({"id": id, "phase": "clean", "since": since, "steps": steps, "made": 1});
    node.operation = Some(from_json(operation));
    assert_eq!(shown(&node, "clean_step"), Value::Null);
    node.life.state = State::Cleaning { stage: Stage::Work, manual: true };
    let step = json!({"interface": "bios", "step": "apply_configuration", "args": {"password": MASK}});
    assert_eq!(shown(&node, "clean_step"), step);
    assert_eq!((shown(&node, "deploy_step"), shown(&node, "service_step")), (Value::Null, Value::Null));
    node.life.state = State::CleanHold;
    assert_eq!(shown(&node, "clean_step"), json!({"interface": "deploy", "step": "erase_devices"}));
}

#[test]
fn the_target_power_state_is_shown_until_the_instruction_ended() {
    let mut node = node(json!({}));
    for (target, name) in [
        (json!({"target": "on"}), "power on"),
        (json!({"target": "soft-off"}), "power off"),
        (json!({"target": "booted", "boot": null}), "power on"),
    ] {
        node.intent.power = Some(from_json(target));
        assert_eq!(shown(&node, "target_power_state"), name);
    }
    node.intent.power = Some(PowerTarget::Interrupted { by: None });
    assert_eq!(shown(&node, "target_power_state"), Value::Null);
    node.intent.power = Some(PowerTarget::On);
    let settled = json!({"generation": node.life.generation, "at": "1970-01-01T00:00:00.002Z"});
    node.power = Some(from_json(power(settled, Value::Null)));
    assert_eq!((shown(&node, "target_power_state"), shown(&node, "power_state")), (Value::Null, json!("power off")));
}

#[test]
fn the_last_error_is_of_the_operation_or_else_of_the_power_instruction_but_not_of_a_poll() {
    let mut node = node(json!({}));
    let polled = json!(failure("the poll failed"));
    node.power = Some(from_json(power(Value::Null, polled.clone())));
    assert_eq!(shown(&node, "last_error"), Value::Null);
    assert_eq!(node.failure(), Some(&failure("the poll failed")));
    let at = "1970-01-01T00:00:00.002Z";
    let settled = json!({"generation": node.life.generation, "at": at, "failure": failure("no answer")});
    node.power = Some(from_json(power(settled, polled)));
    assert_eq!(shown(&node, "last_error"), "no answer");
    node.intent.power = Some(PowerTarget::SoftOff { by: None });
    let text = "Failed to change power state to 'power off' by 'soft power off': no answer";
    assert_eq!(shown(&node, "last_error"), text);
    // Recorded from a real Ironic 39.0.0.
    for (target, text) in [
        (
            json!({"target": "bmc-reset", "reset": "cold"}),
            "Async execution of bmc_reset failed with error: IPMI call failed",
        ),
        (
            json!({"target": "raw-command", "netfn": 6, "command": 1}),
            "Async execution of send_raw failed with error: IPMI",
        ),
    ] {
        node.intent.power = Some(from_json(target));
        let shown = shown(&node, "last_error").to_string();
        assert!(shown.contains(text) && shown.contains("no answer"), "{shown}");
    }
    node.life.failure = Some(failure("the cleaning failed"));
    assert_eq!(shown(&node, "last_error"), "the cleaning failed");
}

#[test]
fn a_node_without_driver_info_shows_its_ipmi_bmc_in_words_of_ironic() {
    let mut node = node(json!({}));
    assert_eq!(shown(&node, "driver_info"), json!({}));
    node.intent.driver = Driver::Ipmi;
    let address = domain::net::BmcAddr { host: "10.77.2.11".to_owned(), port: 623 };
    node.intent.bmc = Some(from_json(json!({
        "address": address, "user": "admin", "password": {"key": "k", "sealed": "s"},
    })));
    let info = json!({
        "ipmi_address": "10.77.2.11", "ipmi_port": 623, "ipmi_username": "admin", "ipmi_password": MASK,
    });
    assert_eq!(shown(&node, "driver_info"), info);
    assert_eq!(driver_info(&node)["ipmi_password"], json!({"sealed": {"key": "k", "sealed": "s"}}));
    node.intent.driver = Driver::Redfish;
    assert_eq!(shown(&node, "driver_info"), json!({}));
}

#[test]
fn a_lessee_sees_a_replacement_for_what_only_the_owner_may_see() {
    let mut node = node(json!({"owner": "own", "lessee": "let", "driver_info": {"ipmi_address": "h"}}));
    node.life.failure = Some(failure("the cleaning failed"));
    let of = |project: &str| {
        let scope = Scope::Project { id: project.to_owned(), is_services: false };
        Caller { name: "ann".to_owned(), account: String::new(), roles: Roles::named(["admin"]), scope }
    };
    let seen = |caller: &Caller, name: &str| {
        NodeDocument::new(&node, NodeVisibility::Project(caller)).field(name).unwrap().into_json()
    };
    let (owner, lessee) = (of("own"), of("let"));
    assert_eq!(seen(&owner, "last_error"), "the cleaning failed");
    assert_eq!(seen(&owner, "driver_info"), json!({"ipmi_address": "h"}));
    let text = "** Value Redacted - Requires baremetal:node:get:last_error permission. **";
    assert_eq!(seen(&lessee, "last_error"), text);
    let text = "** Redacted - requires baremetal:node:get:driver_info permission. **";
    assert_eq!(seen(&lessee, "driver_info"), json!({"content": text}));
    assert_eq!(seen(&lessee, "name"), "n1");
}

#[test]
fn nodes_are_filtered_and_sorted_by_their_fields() {
    let nodes: Vec<NodeView> = [
        (1, "a", json!({"resource_class": "big", "description": "Rack 7"})),
        (2, "b", json!({"maintenance": true, "resource_class": "big", "instance_uuid": "i"})),
        (3, "c", json!({"description": "rack 9"})),
        (4, "d", json!({"parent_node": "00000000-0000-0000-0000-000000000001"})),
    ]
    .into_iter()
    .map(|(id, name, spec)| test_node::node(id, name, from_json::<NodeSpec>(spec)))
    .collect();
    let names = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let list = query::list(&NODE, Version::MAX, Shape::Plain, &pairs).unwrap();
        let found = nodes.iter().filter(|node| matches(node, &list, Some("00000000-0000-0000-0000-000000000001")));
        let page = list::chosen(&NODE, &list, found.collect(), |node, name| field(node, name)).unwrap();
        page.into_iter().map(|node| node.intent.name.as_str()).collect::<String>()
    };
    assert_eq!(names(&[]), "abc");
    assert_eq!(names(&[("include_children", "true")]), "abcd");
    assert_eq!(names(&[("parent_node", "00000000-0000-0000-0000-000000000001")]), "d");
    assert_eq!(names(&[("maintenance", "false")]), "ac");
    assert_eq!(names(&[("associated", "true")]), "b");
    assert_eq!(names(&[("resource_class", "big"), ("sort_key", "maintenance"), ("sort_dir", "desc")]), "ba");
    assert_eq!(names(&[("description_contains", "RACK"), ("sort_key", "name"), ("sort_dir", "desc")]), "ca");
    assert_eq!(names(&[("sort_key", "resource_class")]), "cab");
}
