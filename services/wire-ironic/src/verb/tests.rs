use super::*;
use crate::error::Error;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn check(minor: u16, body: Value) -> Result<Arguments, Error> {
    let request = Provision::read(body.as_object().unwrap())?;
    let verb = Verb::read(&request.target).unwrap();
    request.check(Version::new(minor).unwrap(), verb, "manageable")
}

#[test]
fn every_name_is_in_the_golden_table() {
    let verbs = Verb::names().map(|(word, since)| format!("provision {word:16} {since:>3}\n"));
    let powers =
        Target::ALL.into_iter().map(|target| format!("power     {:16} {:>3}\n", target.word(), target.since()));
    crate::golden::check("verbs.txt", &verbs.chain(powers).collect::<String>());
}

#[test]
fn an_older_request_cannot_use_a_verb() {
    for (word, since) in Verb::names() {
        let Some(before) = Version::new(since - 1) else { continue };
        let early = Verb::check_version(before, word).is_err();
        let late = Verb::read(word).unwrap().check_version_after_state(before, "clean hold").is_err();
        assert!(early || late, "{word}");
        assert!(Verb::check_version(Version::new(since).unwrap(), word).is_ok());
    }
}

#[test]
fn each_waiting_state_can_be_aborted_from_its_own_version() {
    let abort = |minor, state| Verb::Abort.check_version_after_state(Version::new(minor).unwrap(), state).is_ok();
    assert!(!abort(40, "inspect wait") && abort(41, "inspect wait") && abort(40, "clean wait"));
    assert!(!abort(109, "wait call-back") && abort(110, "wait call-back"));
}

#[test]
fn a_config_drive_is_a_url_an_image_or_its_parts() {
    let drive = |drive: Value| {
        check(115, json!({"target": "active", "configdrive": drive})).map(|arguments| arguments.configdrive.unwrap())
    };
    assert_eq!(drive(json!("http://h/d")).unwrap(), ConfigDrive::Url("http://h/d".to_owned()));
    assert_eq!(drive(json!("H4sI+/==\n")).unwrap(), ConfigDrive::Packed("H4sI+/==\n".to_owned()));
    assert!(matches!(drive(json!({"user_data": "x"})).unwrap(), ConfigDrive::Parts(_)));
    assert_eq!(drive(json!("{}")).unwrap_err().status, 400);
    assert_eq!(drive(json!({"user_data": 5})).unwrap_err().status, 400);
}

#[test]
fn a_config_drive_that_is_stored_is_read_as_one_of_a_request() {
    for (stored, right) in [
        (json!("http://h/d"), Some(ConfigDrive::Url("http://h/d".to_owned()))),
        (json!("H4sI+/=="), Some(ConfigDrive::Packed("H4sI+/==".to_owned()))),
        (json!({"user_data": "x"}), Some(ConfigDrive::Parts(Map::from_iter([("user_data".to_owned(), json!("x"))])))),
        (json!({}), None),
        (json!(""), None),
        (json!(null), None),
    ] {
        assert!(ConfigDrive::stored(&stored).unwrap() == right, "{stored}");
    }
    for wrong in [json!("{}"), json!({"user_data": 5}), json!({"x": 1}), json!(["x"]), json!(true)] {
        assert!(ConfigDrive::stored(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn steps_are_parsed_with_their_arguments() {
    let steps = json!([{"interface": "raid", "step": "create_configuration", "args": {"a": 1}}]);
    let arguments = check(115, json!({"target": "clean", "clean_steps": steps, "disable_ramdisk": "yes"})).unwrap();
    let step = arguments.steps.first().unwrap();
    assert_eq!((step.interface.as_str(), step.args.get("a")), ("raid", Some(&json!(1))));
    assert!(arguments.without_ramdisk);
    let network = |target: &str| {
        let mut body = Map::from_iter([("target".to_owned(), json!(target))]);
        body.insert(format!("{target}_steps"), json!([{"interface": "network", "step": "x"}]));
        check(115, Value::Object(body)).is_ok()
    };
    assert!(network("service") && !network("clean"));
}

#[test]
fn a_runbook_replaces_the_steps() {
    assert!(check(92, json!({"target": "clean", "runbook": "r"})).is_ok());
    assert_eq!(check(91, json!({"target": "clean", "runbook": "r"})).unwrap_err().status, 406);
    assert_eq!(check(92, json!({"target": "rebuild", "runbook": "r"})).unwrap_err().status, 400);
}

#[test]
fn disable_power_off_forbids_targets_that_end_in_power_off() {
    let node = NodeState { ident: "n", power: Some("power on"), provision: "active", stays_on: true };
    for target in Target::ALL {
        let body = json!({"target": target.word()});
        let power = Power::read(Version::MAX, body.as_object().unwrap(), node);
        assert_eq!(power.map_err(|error| error.status).err(), target.leaves_off().then_some(409));
    }
}

proptest! {
    #[test]
    fn any_body_is_a_request_or_refused(
        body in prop::collection::btree_map(
            prop::sample::select(vec!["target", "timeout", "configdrive", "clean_steps", "service_steps", "runbook"]),
            crate::fields::any_json(), 0..4,
        ),
        word in prop::sample::select(Verb::names().map(|(word, _)| word).collect::<Vec<_>>()),
    ) {
        let mut body: Map<String, Value> = body.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let node = NodeState { ident: "n", power: None, provision: "enroll", stays_on: false };
        let power = Power::read(Version::MAX, &body, node);
        prop_assert!(power.is_ok() || power.is_err_and(|error| error.status == 400));
        body.insert("target".to_owned(), Value::from(word));
        if let Ok(request) = Provision::read(&body) {
            let verb = Verb::read(word).unwrap();
            let checked = request.check(Version::MAX, verb, "manageable");
            prop_assert!(checked.is_ok() || checked.is_err_and(|error| error.status == 400));
        }
    }
}
