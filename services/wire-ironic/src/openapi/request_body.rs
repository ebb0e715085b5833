//! Request bodies of the calls.

use serde_json::{Value, json};

use super::path_kind::{PathKind, path_kind};
use super::resource_schemas;
use super::schema::{self, argument_flag, nullable_text, object, one_of};
use crate::agent;
use crate::call;
use crate::raid;
use crate::verb::{Steps, Target, Verb};

/// Returns the request body of a call, or `None` if the call has none.
pub(super) fn request_body(method: &str, path: &str) -> Option<Value> {
    let (required, schema) = match (method, path_kind(path)) {
        ("POST", PathKind::List(resource, _)) => {
            (true, json!({"$ref": format!("#/components/schemas/New{}", resource_schemas::schema_name(resource))}))
        }
        ("PATCH", PathKind::One(resource)) => (true, resource_schemas::reference(resource, "Change")),
        ("PUT" | "POST", PathKind::Other) => body_without_table(path)?,
        _ => return None,
    };
    Some(json!({"required": required, "content": {"application/json": {"schema": schema}}}))
}

/// Returns the schema of a body that has no table, and whether the body is required.
fn body_without_table(path: &str) -> Option<(bool, Value)> {
    let steps = |kind: Steps| json!({"type": ["array", "null"], "items": kind.schema()});
    Some(match path {
        "nodes/*/states/power" => (true, power()),
        "nodes/*/states/provision" => (true, provision(steps)),
        "nodes/*/states/raid" => (false, raid::schema()),
        "nodes/*/states/console" => (true, object(&json!({"enabled": argument_flag()}), &["enabled"])),
        "nodes/*/states/boot_mode" => (true, object(&json!({"target": one_of(call::BOOT_MODES)}), &["target"])),
        "nodes/*/states/secure_boot" => (true, object(&json!({"target": argument_flag()}), &["target"])),
        "nodes/*/maintenance" => (false, object(&json!({"reason": nullable_text()}), &[])),
        "nodes/*/management/boot_device" => {
            let persistent = json!({"anyOf": [{"type": "null"}, argument_flag()]});
            let members = json!({"boot_device": {"type": "string"}, "persistent": persistent});
            (true, object(&members, &["boot_device"]))
        }
        "nodes/*/traits" | "runbooks/*/traits" => {
            let traits = json!({"type": ["array", "null"], "items": schema::trait_name()});
            (true, object(&json!({"traits": traits}), &["traits"]))
        }
        "nodes/*/vifs" => (true, vif()),
        "nodes/*/vmedia" => (true, virtual_media()),
        "nodes/*/management/indicators/*" => (true, json!({"type": "object"})),
        "events" => (true, object(&json!({"events": {"type": "array", "items": {"type": "object"}}}), &["events"])),
        "heartbeat" | "heartbeat/*" => (true, heartbeat(path == "heartbeat")),
        "continue_inspection" => (true, inspection_report()),
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
    let words: Vec<&str> = Verb::names().map(|(word, _)| word).collect();
    let members = json!({
        "target": one_of(&words),
        "configdrive": {"type": ["object", "string", "null"]},
        "clean_steps": steps(Steps::Clean),
        "deploy_steps": steps(Steps::Deploy),
        "service_steps": steps(Steps::Service),
        "rescue_password": nullable_text(),
        "disable_ramdisk": {"anyOf": [{"type": "null"}, argument_flag()]},
        "runbook": nullable_text(),
    });
    object(&members, &["target"])
}

/// Schema of a VIF. It is attached to a port or to a port group; other members are kept for the network service.
fn vif() -> Value {
    let both = json!({"port_uuid": {"type": "string"}, "portgroup_uuid": {"type": "string"}});
    json!({
        "not": {"properties": both, "required": ["port_uuid", "portgroup_uuid"]},
        "type": "object",
        "properties": {"id": {"type": "string"}, "port_uuid": nullable_text(), "portgroup_uuid": nullable_text()},
        "required": ["id"],
    })
}

fn virtual_media() -> Value {
    let schemes = call::IMAGE_URL_SCHEMES.join("|");
    json!({
        "type": "object",
        "properties": {
            "device_type": one_of(call::DEVICE_TYPES),
            "image_url": {"type": "string", "pattern": format!("^({schemes})://")},
            "image_download_source": {"anyOf": [{"type": "null"}, one_of(call::IMAGE_SOURCES)]},
        },
        "required": ["device_type", "image_url"],
    })
}

/// Schema of a heartbeat. `with_node` is for the path that does not contain the node.
fn heartbeat(with_node: bool) -> Value {
    let mut members: serde_json::Map<String, Value> =
        agent::HEARTBEAT_ARGUMENTS.iter().map(|name| ((*name).to_owned(), nullable_text())).collect();
    members.insert("agent_token".to_owned(), json!({"type": "string"}));
    members.insert("callback_url".to_owned(), json!({"type": "string", "pattern": "^([Hh][Tt][Tt][Pp][Ss]?:.*)?$"}));
    members.insert("agent_status".to_owned(), json!({"anyOf": [{"type": "null"}, one_of(agent::PHASES)]}));
    let mut required = vec!["callback_url", "agent_token"];
    if with_node {
        members.insert("node_ident".to_owned(), json!({"type": "string"}));
        required.push("node_ident");
    }
    object(&Value::Object(members), &required)
}

/// Schema of an inspection report. Other members are kept unchanged.
fn inspection_report() -> Value {
    let interface = json!({
        "type": "object",
        "properties": {"mac_address": {"type": "string"}},
        "required": ["mac_address"],
    });
    let inventory = json!({
        "type": "object",
        "properties": {
            "interfaces": {"type": "array", "minItems": 1, "items": interface},
            "bmc_address": nullable_text(),
            "bmc_v6address": nullable_text(),
        },
        "required": ["interfaces"],
    });
    json!({"type": "object", "properties": {"inventory": inventory}, "required": ["inventory"]})
}
