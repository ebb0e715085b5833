//! What a call answers when it succeeds.

use serde_json::{Map, Value, json};

use super::field;
use super::place::{Place, place};
use super::word;
use crate::fields::{NODE, NODE_STATES, Resource};
use crate::links::VOLUME;
use crate::query::Shape;
use crate::raid;
use crate::version::{HEADER, MAXIMUM_HEADER, MINIMUM_HEADER};

/// The call whose answer has an entity tag (RFC 9110 section 8.8.3).
pub(super) const TAGGED: (&str, &str) = ("GET", "nodes/*");

/// The headers that several answers share.
pub(super) fn headers() -> Value {
    let text = json!({"schema": {"type": "string"}, "required": true});
    let version = json!({"schema": {"type": "string", "pattern": "^1\\.[0-9]+$"}});
    json!({"RequestId": text, "Version": version})
}

/// What the request is called in the log; two headers say so.
pub(super) fn request_ids() -> Map<String, Value> {
    let id = json!({"$ref": "#/components/headers/RequestId"});
    Map::from_iter(["x-openstack-request-id", "openstack-request-id"].map(|name| (name.to_owned(), id.clone())))
}

/// Which version was spoken, and which there are. The router's refusals lack them.
pub(super) fn versions() -> Map<String, Value> {
    let version = json!({"$ref": "#/components/headers/Version"});
    Map::from_iter([HEADER, MINIMUM_HEADER, MAXIMUM_HEADER].map(|name| (name.to_owned(), version.clone())))
}

/// The successes of a call, by status.
pub(super) fn responses(method: &str, path: &str, success: u16) -> Map<String, Value> {
    let mut all = Map::from_iter([(success.to_string(), response(success, body(method, path)))]);
    if (method, path) == TAGGED {
        let tag = json!({"schema": {"type": "string", "pattern": "^\"[0-9]+\\.[0-9]+\"$"}, "required": true});
        if let Some(Value::Object(headers)) = all.get_mut("200").and_then(|shown| shown.get_mut("headers")) {
            headers.insert("ETag".to_owned(), tag.clone());
        }
        let mut same = response(304, None);
        if let Some(Value::Object(headers)) = same.get_mut("headers") {
            headers.insert("ETag".to_owned(), tag);
        }
        all.insert("304".to_owned(), same);
    }
    // A method that runs asynchronously.
    if path.ends_with("vendor_passthru/*") {
        all.insert("202".to_owned(), response(202, None));
    }
    all
}

/// An answer of this status.
pub(super) fn response(status: u16, body: Option<Value>) -> Value {
    let mut headers = request_ids();
    headers.extend(versions());
    if matches!(status, 201 | 202 | 204) {
        let required = status == 201;
        headers.insert("Location".to_owned(), json!({"schema": {"type": "string"}, "required": required}));
    }
    let description = match status {
        200 => "It is so.",
        201 => "It is made.",
        202 => "It is accepted, and not done yet.",
        304 => "It is what the client has.",
        _ => "It is done.",
    };
    let mut response =
        Map::from_iter([("description".to_owned(), json!(description)), ("headers".to_owned(), json!(headers))]);
    if let Some(schema) = body {
        response.insert("content".to_owned(), json!({"application/json": {"schema": schema}}));
    }
    Value::Object(response)
}

/// Where something is: with the version in the path, and without.
pub(super) fn links() -> Value {
    let text = json!({"type": "string"});
    json!({"type": "array", "items": word::object(&json!({"href": text, "rel": text}), &["href", "rel"])})
}

fn body(method: &str, path: &str) -> Option<Value> {
    match (method, place(path)) {
        ("GET", Place::List(resource, shape)) => Some(list(resource, shape)),
        ("POST", Place::List(resource, _)) | ("PATCH", Place::One(resource)) => Some(field::of(resource, "")),
        ("GET", Place::One(resource)) if path == "nodes/*/allocation" => Some(field::of(resource, "")),
        ("GET", Place::One(resource)) => Some(field::of(resource, "Part")),
        ("GET", Place::Other) => Some(other(path)),
        (_, Place::Other) if path.ends_with("vendor_passthru/*") => Some(json!({})),
        ("POST", Place::Other) if path == "continue_inspection" => Some(json!({"type": "object"})),
        _ => None,
    }
}

fn list(resource: &Resource, shape: Shape) -> Value {
    let items = field::of(resource, if shape == Shape::Detail { "" } else { "Part" });
    let mut members = Map::from_iter([(resource.plural.to_owned(), json!({"type": "array", "items": items}))]);
    // There are few drivers: they stand on one page.
    if resource.path != "drivers" {
        members.insert("next".to_owned(), json!({"type": "string"}));
    }
    word::object(&Value::Object(members), &[resource.plural])
}

/// What is shown that has no table.
fn other(path: &str) -> Value {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let objects = json!({"type": "array", "items": {"type": "object"}});
    let any = json!({"type": "object"});
    let last = path.rsplit('/').next().unwrap_or_default();
    match path {
        "nodes/*/validate" => {
            let one = json!({"result": {"type": "boolean"}, "reason": {"type": "string"}});
            json!({"type": "object", "additionalProperties": word::object(&one, &["result"])})
        }
        "nodes/*/states" => states(),
        "nodes/*/states/console" | "nodes/states/console/*" => exactly(&json!({
            "console_enabled": {"type": "boolean"}, "console_info": {"type": ["object", "null"]},
        })),
        "nodes/*/management/boot_device" => exactly(&json!({
            "boot_device": word::text(), "persistent": {"type": ["boolean", "null"]},
        })),
        "nodes/*/management/boot_device/supported" => exactly(&json!({"supported_boot_devices": texts})),
        "nodes/*/traits" | "runbooks/*/traits" => exactly(&json!({"traits": texts})),
        "nodes/*/vifs" | "nodes/*/bios" | "nodes/*/firmware" => exactly(&json!({last: objects})),
        "nodes/*/history" => word::object(&json!({"history": objects, "next": {"type": "string"}}), &["history"]),
        "nodes/*/inventory" => exactly(&json!({"inventory": any, "plugin_data": any})),
        "nodes/*/children" => {
            let link = exactly(&json!({"href": {"type": "string"}, "rel": {"const": "children"}}));
            exactly(&json!({"children": {"type": "array", "items": word::uuid()}, "links": link}))
        }
        "volume" | "nodes/*/volume" => volume(),
        "drivers/*/properties" => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        "drivers/*/raid/logical_disk_properties" => raid::properties_schema(),
        "shards" => {
            let shard = exactly(&json!({"name": {"type": "string"}, "count": {"type": "integer", "minimum": 0}}));
            exactly(&json!({"shards": {"type": "array", "items": shard}}))
        }
        "lookup" => exactly(&json!({"node": any, "config": any})),
        path if path.ends_with("vendor_passthru/methods") => methods(),
        path if path.ends_with("vendor_passthru/*") => json!({}),
        _ => any,
    }
}

/// An object with all of these members and no others.
pub(super) fn exactly(members: &Value) -> Value {
    let all: Vec<&str> = members.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    word::object(members, &all)
}

fn states() -> Value {
    let fields = NODE_STATES.iter().filter_map(|name| NODE.field(name));
    let members: Map<String, Value> = fields.map(|one| (one.name.to_owned(), field::field_shown(&NODE, one))).collect();
    exactly(&Value::Object(members))
}

fn volume() -> Value {
    let names = ["links"].into_iter().chain(VOLUME.iter().map(|sub| sub.name));
    let members: Map<String, Value> =
        names.map(|name| (name.to_owned(), json!({"$ref": "#/components/schemas/Links"}))).collect();
    exactly(&Value::Object(members))
}

/// What a vendor has beyond the rest, by name.
fn methods() -> Value {
    let one = exactly(&json!({
        "http_methods": {"type": "array", "items": {"type": "string"}},
        "async": {"type": "boolean"},
        "description": {"type": "string"},
        "attach": {"type": "boolean"},
        "require_exclusive_lock": {"type": "boolean"},
    }));
    json!({"type": "object", "additionalProperties": one})
}
