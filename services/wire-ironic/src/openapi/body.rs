//! What a call takes.

use serde_json::{Value, json};

use super::field;
use super::place::{Place, place};
use super::word::{self, argument_flag, object, one_of, text};
use crate::agent;
use crate::call;
use crate::raid;
use crate::verb::{Steps, Target, Verb};

/// What a call takes, if it takes anything.
pub(super) fn body(method: &str, path: &str) -> Option<Value> {
    let (required, schema) = match (method, place(path)) {
        ("POST", Place::List(resource, _)) => {
            (true, json!({"$ref": format!("#/components/schemas/New{}", field::name(resource))}))
        }
        ("PATCH", Place::One(resource)) => (true, field::of(resource, "Change")),
        ("PUT" | "POST", Place::Other) => other(path)?,
        _ => return None,
    };
    Some(json!({"required": required, "content": {"application/json": {"schema": schema}}}))
}

/// The bodies that have no table, and whether one must be there.
fn other(path: &str) -> Option<(bool, Value)> {
    let steps = |kind: Steps| json!({"type": ["array", "null"], "items": kind.schema()});
    Some(match path {
        "nodes/*/states/power" => (true, power()),
        "nodes/*/states/provision" => (true, provision(steps)),
        "nodes/*/states/raid" => (false, raid::schema()),
        "nodes/*/states/console" => (true, object(&json!({"enabled": argument_flag()}), &["enabled"])),
        "nodes/*/states/boot_mode" => (true, object(&json!({"target": one_of(call::BOOT_MODES)}), &["target"])),
        "nodes/*/states/secure_boot" => (true, object(&json!({"target": argument_flag()}), &["target"])),
        "nodes/*/maintenance" => (false, object(&json!({"reason": text()}), &[])),
        "nodes/*/management/boot_device" => {
            let persistent = json!({"anyOf": [{"type": "null"}, argument_flag()]});
            let members = json!({"boot_device": {"type": "string"}, "persistent": persistent});
            (true, object(&members, &["boot_device"]))
        }
        "nodes/*/traits" | "runbooks/*/traits" => {
            let traits = json!({"type": ["array", "null"], "items": word::trait_name()});
            (true, object(&json!({"traits": traits}), &["traits"]))
        }
        "nodes/*/vifs" => (true, vif()),
        "nodes/*/vmedia" => (true, media()),
        "nodes/*/management/indicators/*" => (true, json!({"type": "object"})),
        "events" => (true, object(&json!({"events": {"type": "array", "items": {"type": "object"}}}), &["events"])),
        "heartbeat" | "heartbeat/*" => (true, heartbeat(path == "heartbeat")),
        "continue_inspection" => (true, inspection()),
        path if path.ends_with("vendor_passthru/*") => (false, json!({"type": "object"})),
        _ => return None,
    })
}

fn power() -> Value {
    let seconds = json!({"anyOf": [
        {"type": ["integer", "null"], "minimum": 1},
        {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
    ]});
    let targets = Target::ALL.map(Target::word);
    object(&json!({"target": one_of(&targets), "timeout": seconds}), &["target"])
}

fn provision(steps: impl Fn(Steps) -> Value) -> Value {
    let words: Vec<&str> = Verb::words().map(|(word, _)| word).collect();
    let members = json!({
        "target": one_of(&words),
        "configdrive": {"type": ["object", "string", "null"]},
        "clean_steps": steps(Steps::Clean),
        "deploy_steps": steps(Steps::Deploy),
        "service_steps": steps(Steps::Service),
        "rescue_password": text(),
        "disable_ramdisk": {"anyOf": [{"type": "null"}, argument_flag()]},
        "runbook": text(),
    });
    object(&members, &["target"])
}

/// What else comes with it is kept for the network. It is plugged into one thing.
fn vif() -> Value {
    let both = json!({"port_uuid": {"type": "string"}, "portgroup_uuid": {"type": "string"}});
    json!({
        "not": {"properties": both, "required": ["port_uuid", "portgroup_uuid"]},
        "type": "object",
        "properties": {"id": {"type": "string"}, "port_uuid": text(), "portgroup_uuid": text()},
        "required": ["id"],
    })
}

fn media() -> Value {
    let schemes = call::SCHEMES.join("|");
    json!({
        "type": "object",
        "properties": {
            "device_type": one_of(call::DEVICE_TYPES),
            "image_url": {"type": "string", "pattern": format!("^({schemes})://")},
            "image_download_source": {"anyOf": [{"type": "null"}, one_of(call::SOURCES)]},
        },
        "required": ["device_type", "image_url"],
    })
}

/// What an agent says when it lives; without a path it names its node too.
fn heartbeat(names: bool) -> Value {
    let mut members: serde_json::Map<String, Value> =
        agent::HEARTBEAT_ARGUMENTS.iter().map(|name| ((*name).to_owned(), text())).collect();
    members.insert("agent_token".to_owned(), json!({"type": "string"}));
    members.insert("callback_url".to_owned(), json!({"type": "string", "pattern": "^([Hh][Tt][Tt][Pp][Ss]?:.*)?$"}));
    members.insert("agent_status".to_owned(), json!({"anyOf": [{"type": "null"}, one_of(agent::PHASES)]}));
    let mut all = vec!["callback_url", "agent_token"];
    if names {
        members.insert("node_ident".to_owned(), json!({"type": "string"}));
        all.push("node_ident");
    }
    object(&Value::Object(members), &all)
}

/// What an agent found; all else that comes is shown as it came.
fn inspection() -> Value {
    let interface = json!({
        "type": "object",
        "properties": {"mac_address": {"type": "string"}},
        "required": ["mac_address"],
    });
    let inventory = json!({
        "type": "object",
        "properties": {
            "interfaces": {"type": "array", "minItems": 1, "items": interface},
            "bmc_address": text(),
            "bmc_v6address": text(),
        },
        "required": ["interfaces"],
    });
    json!({"type": "object", "properties": {"inventory": inventory}, "required": ["inventory"]})
}
