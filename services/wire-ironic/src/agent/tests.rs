use super::*;
use crate::version::Version;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn version(minor: u16) -> Version {
    Version::new(minor).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[test]
fn a_lookup_succeeds_in_states_that_expect_an_agent() {
    assert!(findable("inspect wait", FastTrack::Off) && !findable("active", FastTrack::On));
    assert!(!findable("manageable", FastTrack::Off) && findable("manageable", FastTrack::On));
    assert!(!shows_token(version(61)) && shows_token(version(62)));
}

#[test]
fn a_lookup_ignores_invalid_addresses() {
    let pairs = [("addresses".to_owned(), "bad, 52:54:00:AA:BB:01,".to_owned())];
    let lookup = Lookup::read(version(22), &pairs).unwrap();
    assert_eq!(lookup.addresses, ["52:54:00:aa:bb:01"]);
    assert_eq!(Lookup::read(version(21), &pairs).unwrap_err().status, 404);
    assert_eq!(Lookup::read(version(22), &[]).unwrap_err().status, 400);
}

#[test]
fn a_heartbeat_from_another_url_is_rejected() {
    let body = object(json!({"callback_url": "https://h:9999", "agent_token": "t", "agent_version": "13.0.0"}));
    let read = |known| Heartbeat::read(version(68), &body, known);
    assert!(read(None).is_ok() && read(Some("https://h:9999")).is_ok());
    assert_eq!(read(Some("https://other:9999")).unwrap_err().status, 400);
    assert!(read(None).unwrap().check_tls().is_ok() && read(None).unwrap().check_version().is_ok());
}

#[test]
fn a_heartbeat_hides_its_token() {
    let body = object(json!({"callback_url": "https://h:9999", "agent_token": "sesame"}));
    let heartbeat = Heartbeat::read(version(115), &body, None).unwrap();
    assert!(!format!("{heartbeat:?}").contains("sesame"));
    assert!(heartbeat.check_version().is_err());
}

#[test]
fn a_heartbeat_continues_work_that_waits_for_the_agent() {
    assert_eq!(heartbeat_effect("clean wait"), HeartbeatEffect::Continue);
    assert_eq!(heartbeat_effect("deploy hold"), HeartbeatEffect::Record);
    assert_eq!(heartbeat_effect("active"), HeartbeatEffect::Ignore);
}

#[test]
fn a_report_is_split_into_inventory_and_the_rest() {
    let body = json!({"inventory": {"interfaces": [{"mac_address": "52:54:00:AA:BB:01"}], "bmc_address": "10.0.0.1"},
        "root_disk": {"name": "/dev/sda"}, "error": null});
    let report = Report::read(version(1), None, object(body.clone())).unwrap();
    assert_eq!(
        (report.addresses.as_slice(), report.response),
        (["52:54:00:aa:bb:01".to_owned()].as_slice(), ReportResponse::Uuid)
    );
    assert_eq!((report.error, report.rest.contains_key("root_disk")), (None, true));
    assert_eq!(Report::read(version(84), None, object(body.clone())).unwrap().response, ReportResponse::Lookup);
    assert_eq!(Report::read(version(50), None, object(body)).unwrap_err().status, 404);
}

#[test]
fn an_inventory_keeps_unknown_members() {
    let value = json!({"cpu": {"frequency": "2900.0", "count": 8}, "usb_devices": [1], "memory": {"total": 5}});
    let inventory: Inventory = serde_json::from_value(value).unwrap();
    let back = serde_json::to_value(&inventory).unwrap();
    assert_eq!(back.pointer("/usb_devices/0"), Some(&json!(1)));
    assert_eq!(back.pointer("/cpu/frequency"), Some(&json!("2900.0")));
    assert_eq!(back.pointer("/hostname"), Some(&Value::Null));
}

#[test]
fn the_name_of_a_command_contains_the_kind_of_work() {
    let command =
        Command::execute_step(Kind::Deploy, &json!({"step": "x"}), &json!({}), &json!([]), &json!({"g": "1"}));
    assert_eq!(command.name, "deploy.execute_deploy_step");
    assert_eq!(command.params.get("deploy_version"), Some(&json!({"g": "1"})));
    assert_eq!(Command::get_steps(Kind::Clean, &json!({}), &json!([])).name, "clean.get_clean_steps");
    assert_eq!(commands_url("https://h:9999/", true, "t"), "https://h:9999/v1/commands/?wait=true&agent_token=t");
}

#[test]
fn the_latest_of_several_commands_with_one_name_is_found() {
    let of = |id: &str, status: &str| json!({"id": id, "command_name": "execute_clean_step", "command_status": status});
    let list = json!({"commands": [of("1", "SUCCEEDED"), of("2", "CLEAN_VERSION_MISMATCH")]});
    let list: Commands = serde_json::from_value(list).unwrap();
    let latest = list.latest("execute_clean_step").unwrap();
    assert_eq!((latest.id.as_str(), latest.command_status), ("2", Status::VersionMismatch));
    let steps: StepsFound =
        serde_json::from_value(json!({"clean_steps": {"G": []}, "hardware_manager_version": {"G": "1"}})).unwrap();
    assert!(steps.steps.contains_key("G"));
}

proptest! {
    #[test]
    fn any_body_is_parsed_or_rejected(
        body in prop::collection::btree_map(
            prop::sample::select(vec!["callback_url", "agent_token", "agent_status", "inventory", "error", "x"]),
            crate::fields::any_json(), 0..4,
        ),
        minor in 1u16..=115,
    ) {
        let body: Map<String, Value> = body.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        if let Err(error) = Heartbeat::read(version(minor), &body, None) {
            prop_assert!([400, 404].contains(&error.status));
        }
        if let Err(error) = Report::read(version(minor), None, body) {
            prop_assert!([400, 404].contains(&error.status));
        }
    }
}
