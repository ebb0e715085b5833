use super::*;
use crate::fields::{NODE, PORT, RUNBOOK};
use proptest::prelude::*;
use serde_json::json;

fn node() -> Map<String, Value> {
    json!({"uuid": "u", "driver": "fake-hardware", "extra": {"l": [1, 2], "s": "seen"}, "automated_clean": true})
        .as_object()
        .cloned()
        .unwrap()
}

fn patched(ops: &Value) -> Result<Map<String, Value>, Error> {
    apply(&NODE, &node(), &parse(&NODE, Version::MAX, ops)?)
}

fn extra(ops: &Value) -> Value {
    patched(ops).unwrap().get("extra").cloned().unwrap()
}

#[test]
fn an_error_quotes_no_secret() {
    // Paths that do not exist, and values in which `sesame` is under the name of a secret.
    for (path, value) in [
        ("/driver_info/ipmi_password", json!("sesame")),
        ("/driver_info/redfish_password/x", json!("sesame")),
        ("/driver_info/deep/password/x/y", json!("sesame")),
        ("/instance_info/tokens/0", json!(["sesame"])),
        ("/instance_info/x/y", json!({"auth_token": "sesame"})),
        ("/driver_info/x/y", json!([{"z": [{"admin_pass": {"hash": "sesame"}}]}])),
        ("/driver_info/snmp_community/x", json!("sesame")),
    ] {
        let ops = json!([{"op": "replace", "path": path, "value": value}]);
        let error = patched(&ops).unwrap_err();
        assert!(error.text.contains("Couldn't apply patch") && !error.text.contains("sesame"), "{path}: {error}");
        assert!(!format!("{:?}", parse(&NODE, Version::MAX, &ops)).contains("sesame"), "{path}");
    }
}

#[test]
fn an_empty_patch_changes_nothing() {
    assert_eq!(patched(&json!([])).unwrap(), node());
}

#[test]
fn a_list_is_appended_to_and_inserted_into() {
    let ops = json!([
        {"op": "add", "path": "/extra/l/-", "value": 3},
        {"op": "add", "path": "/extra/l/0", "value": 0},
        {"op": "remove", "path": "/extra/l/1"},
    ]);
    assert_eq!(extra(&ops), json!({"l": [0, 2, 3], "s": "seen"}));
}

#[test]
fn keys_with_slashes_can_be_named_from_98() {
    let ops = json!([{"op": "add", "path": "/extra/a~1b~0", "value": 1}]);
    assert_eq!(extra(&ops).get("a/b~"), Some(&json!(1)));
    assert_eq!(parse(&NODE, Version::new(97).unwrap(), &ops).unwrap_err().status, 400);
}

#[test]
fn a_removed_field_has_its_initial_value() {
    let ops = json!([{"op": "remove", "path": "/automated_clean"}, {"op": "remove", "path": "/extra"}]);
    let after = patched(&ops).unwrap();
    assert_eq!((after.get("automated_clean"), after.get("extra")), (Some(&Value::Null), Some(&json!({}))));
    let error = patched(&json!([{"op": "remove", "path": "/driver"}])).unwrap_err();
    assert_eq!(error.text, "Schema error for patch: 'driver' is a required property");
}

#[test]
fn a_newer_field_can_be_removed_and_not_set() {
    let old = Version::new(20).unwrap();
    let ops = |op| json!([{"op": op, "path": "/resource_class", "value": "x"}]);
    assert_eq!(parse(&NODE, old, &ops("replace")).unwrap_err().status, 406);
    assert!(parse(&NODE, old, &ops("remove")).is_ok());
}

#[test]
fn a_port_moves_to_another_node_by_node_uuid_or_node_ident() {
    let port = json!({"address": "52:54:00:aa:bb:01", "node_uuid": "11111111-1111-4111-8111-000000000001"});
    let ops = parse(&PORT, Version::MAX, &json!([{"op": "add", "path": "/node_ident", "value": "n"}])).unwrap();
    let after = apply(&PORT, port.as_object().unwrap(), &ops).unwrap();
    assert_eq!((after.get("node_uuid"), after.get("node_ident")), (None, Some(&json!("n"))));
}

#[test]
fn a_public_runbook_has_no_owner() {
    let runbook = |public: bool| json!({"owner": "p", "public": public}).as_object().cloned().unwrap();
    let owner = |public: bool, ops: &Value| {
        let (mut runbook, parsed) = (runbook(public), parse(&RUNBOOK, Version::MAX, ops).unwrap());
        clear_runbook_owner(&mut runbook, &parsed, ops)
            .map(|()| runbook.get("owner").cloned())
            .map_err(|error| error.status)
    };
    let op = |name: &str, value: Value| json!({"op": "add", "path": format!("/{name}"), "value": value});
    assert_eq!(owner(false, &json!([op("public", json!(true))])), Ok(Some(Value::Null)));
    assert_eq!(owner(true, &json!([op("owner", json!("q"))])), Err(400));
    assert_eq!(owner(false, &json!([op("public", json!(true)), op("owner", json!("q"))])), Err(400));
    assert_eq!(owner(true, &json!([op("public", json!(false)), op("owner", json!("q"))])), Ok(Some(Value::Null)));
    assert_eq!(owner(false, &json!([op("name", json!("n"))])), Ok(Some(json!("p"))));
}

fn state(state: &str, more: Value) -> Map<String, Value> {
    let mut node = json!({"uuid": "u", "driver": "d", "provision_state": state}).as_object().cloned().unwrap();
    node.extend(more.as_object().cloned().unwrap());
    node
}

fn change(before: &Map<String, Value>, ops: &Value) -> Result<Map<String, Value>, u16> {
    let patch = || {
        let ops = parse(&NODE, Version::MAX, ops)?;
        node::check_before(Version::MAX, "n", before, &ops)?;
        node::check_after("n", before, apply(&NODE, before, &ops)?)
    };
    patch().map_err(|error: Error| error.status)
}

#[test]
fn a_node_in_transition_cannot_be_changed() {
    let add = json!([{"op": "add", "path": "/extra/x", "value": 1}]);
    let deploying = state("deploying", json!({"target_provision_state": "active"}));
    assert_eq!(change(&deploying, &add), Err(409));
    assert!(change(&state("deploy failed", json!({"target_provision_state": "active"})), &add).is_ok());
    assert_eq!(change(&state("inspecting", json!({"target_provision_state": "manageable"})), &add), Err(409));
    let lost = state("deploying", json!({"target_provision_state": "active", "maintenance": true}));
    assert!(change(&lost, &json!([{"op": "remove", "path": "/instance_uuid"}])).is_ok());
    assert_eq!(change(&lost, &add), Err(409));
}

#[test]
fn a_reason_requires_its_flag_and_is_cleared_with_it() {
    let set = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
    assert_eq!(change(&state("active", json!({})), &set("/protected_reason", json!("r"))), Err(400));
    assert_eq!(change(&state("manageable", json!({})), &set("/protected", json!(true))), Err(409));
    assert_eq!(change(&state("available", json!({})), &set("/retired", json!(true))), Err(409));
    let retired = state("active", json!({"retired": true, "retired_reason": "old"}));
    let after = change(&retired, &set("/retired", json!(false))).unwrap();
    assert_eq!(after.get("retired_reason"), Some(&Value::Null));
}

#[test]
fn interfaces_class_and_instance_of_an_active_node_cannot_be_changed() {
    let before = state("active", json!({"resource_class": "a", "instance_uuid": UUID, "deploy_interface": "direct"}));
    let set = |path: &str, value: &str| json!([{"op": "add", "path": path, "value": value}]);
    assert_eq!(change(&before, &set("/deploy_interface", "ramdisk")), Err(409));
    assert_eq!(change(&before, &set("/resource_class", "b")), Err(409));
    assert_eq!(change(&before, &set("/instance_uuid", &UUID.replace('1', "2"))), Err(409));
    assert!(change(&before, &set("/instance_uuid", UUID)).is_ok());
}

#[test]
fn a_patch_also_changes_dependent_fields() {
    let ops = json!([{"op": "add", "path": "/conductor_group", "value": "GROUP"},
        {"op": "add", "path": "/instance_info/display_name", "value": "shown"}]);
    let after = change(&state("available", json!({"instance_info": {}})), &ops).unwrap();
    assert_eq!(after.get("conductor_group"), Some(&json!("group")));
    assert_eq!(after.get("instance_name"), Some(&json!("shown")));
    let named = state("available", json!({"instance_info": {}, "instance_name": "own"}));
    assert_eq!(change(&named, &ops).unwrap().get("instance_name"), Some(&json!("own")));
}

#[test]
fn a_node_can_be_deleted_in_stable_states_or_in_maintenance() {
    let delete = |name, more| node::check_delete(&state(name, more)).map_err(|error| error.status);
    assert_eq!((delete("enroll", json!({})), delete("available", json!({}))), (Ok(()), Ok(())));
    assert_eq!(delete("clean failed", json!({})), Err(409));
    assert_eq!(delete("clean failed", json!({"maintenance": true})), Ok(()));
    assert_eq!(delete("enroll", json!({"instance_uuid": UUID})), Err(409));
    assert_eq!(delete("active", json!({"protected": true, "maintenance": true})), Err(403));
}

const UUID: &str = "11111111-1111-4111-8111-000000000001";

fn any_op() -> impl Strategy<Value = Value> {
    let token = prop_oneof![Just("-"), Just("0"), Just("1"), Just("l"), Just("s"), Just("x"), Just("~1"), Just("")];
    let path =
        (prop_oneof![Just("extra"), Just("name"), Just("driver"), Just("uuid")], prop::collection::vec(token, 0..3))
            .prop_map(|(root, rest)| rest.iter().fold(format!("/{root}"), |path, token| format!("{path}/{token}")));
    let op = prop_oneof![Just("add"), Just("replace"), Just("remove"), Just("test")];
    (op, path, fields::any_json()).prop_map(|(op, path, value)| json!({"op": op, "path": path, "value": value}))
}

proptest! {
    #[test]
    fn any_json_is_a_patch_or_refused(body in fields::any_json()) {
        if let Err(error) = parse(&NODE, Version::MAX, &body) {
            prop_assert_eq!(error.status, 400);
        }
    }

    #[test]
    fn a_patch_is_all_or_nothing(ops in prop::collection::vec(any_op(), 0..5)) {
        let before = node();
        let one_by_one = ops.iter().try_fold(before.clone(), |node, op| {
            let op = parse(&NODE, Version::MAX, &json!([op]))?;
            apply(&NODE, &node, &op)
        });
        let at_once = patched(&Value::from(ops));
        // Applied one by one, a temporarily invalid name is rejected. What succeeds one by one also succeeds at once.
        if let Ok(node) = one_by_one {
            prop_assert_eq!(at_once.unwrap(), node);
        }
        prop_assert_eq!(before, node());
    }
}
