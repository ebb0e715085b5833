//! Success responses of the calls.

use serde_json::{Map, Value, json};

use super::path_kind::{PathKind, path_kind};
use super::resource_schemas;
use super::schema;
use crate::fields::{NODE, NODE_STATES, Resource};
use crate::links::VOLUME;
use crate::query::Shape;
use crate::raid;
use crate::version::{HEADER, MAXIMUM_HEADER, MINIMUM_HEADER};

/// The call whose response has an entity tag (RFC 9110 §8.8.3): method and path.
pub(super) const WITH_ETAG: (&str, &str) = ("GET", "nodes/*");

/// Header components that several responses share.
pub(super) fn header_components() -> Value {
    let text = json!({"schema": {"type": "string"}, "required": true});
    let version = json!({"schema": {"type": "string", "pattern": "^1\\.[0-9]+$"}});
    json!({"RequestId": text, "Version": version})
}

/// Headers with the request id, which the log has too.
pub(super) fn request_id_headers() -> Map<String, Value> {
    let id = json!({"$ref": "#/components/headers/RequestId"});
    Map::from_iter(["x-openstack-request-id", "openstack-request-id"].map(|name| (name.to_owned(), id.clone())))
}

/// Headers with the version of the response and the range of supported versions. Errors of the router lack them.
pub(super) fn version_headers() -> Map<String, Value> {
    let version = json!({"$ref": "#/components/headers/Version"});
    Map::from_iter([HEADER, MINIMUM_HEADER, MAXIMUM_HEADER].map(|name| (name.to_owned(), version.clone())))
}

/// Returns the success responses of a call, by status.
pub(super) fn success_responses(method: &str, path: &str, success: u16) -> Map<String, Value> {
    let mut all = Map::from_iter([(success.to_string(), response(success, body(method, path)))]);
    if (method, path) == WITH_ETAG {
        let tag = json!({"schema": {"type": "string", "pattern": "^\"[0-9]+\\.[0-9]+\"$"}, "required": true});
        if let Some(Value::Object(headers)) = all.get_mut("200").and_then(|response| response.get_mut("headers")) {
            headers.insert("ETag".to_owned(), tag.clone());
        }
        let mut not_modified = response(304, None);
        if let Some(Value::Object(headers)) = not_modified.get_mut("headers") {
            headers.insert("ETag".to_owned(), tag);
        }
        all.insert("304".to_owned(), not_modified);
    }
    // Response of a vendor method that runs asynchronously.
    if path.ends_with("vendor_passthru/*") {
        all.insert("202".to_owned(), response(202, None));
    }
    all
}

/// Returns a response with a status and the schema of its body.
pub(super) fn response(status: u16, body: Option<Value>) -> Value {
    let mut headers = request_id_headers();
    headers.extend(version_headers());
    if matches!(status, 201 | 202 | 204) {
        let required = status == 201;
        headers.insert("Location".to_owned(), json!({"schema": {"type": "string"}, "required": required}));
    }
    let description = match status {
        200 => "Success.",
        201 => "The resource was created.",
        202 => "The request was accepted; the operation continues.",
        304 => "The node has not changed.",
        _ => "Success, without a body.",
    };
    let mut response =
        Map::from_iter([("description".to_owned(), json!(description)), ("headers".to_owned(), json!(headers))]);
    if let Some(schema) = body {
        response.insert("content".to_owned(), json!({"application/json": {"schema": schema}}));
    }
    Value::Object(response)
}

/// Schema of the links of a resource: one with the version in the path, one without.
pub(super) fn links_schema() -> Value {
    let text = json!({"type": "string"});
    json!({"type": "array", "items": schema::object(&json!({"href": text, "rel": text}), &["href", "rel"])})
}

fn body(method: &str, path: &str) -> Option<Value> {
    match (method, path_kind(path)) {
        ("GET", PathKind::List(resource, shape)) => Some(list(resource, shape)),
        ("POST", PathKind::List(resource, _)) | ("PATCH", PathKind::One(resource)) => {
            Some(resource_schemas::reference(resource, ""))
        }
        ("GET", PathKind::One(resource)) if path == "nodes/*/allocation" => {
            Some(resource_schemas::reference(resource, ""))
        }
        ("GET", PathKind::One(resource)) => Some(resource_schemas::reference(resource, "Part")),
        ("GET", PathKind::Other) => Some(body_without_table(path)),
        (_, PathKind::Other) if path.ends_with("vendor_passthru/*") => Some(json!({})),
        ("POST", PathKind::Other) if path == "continue_inspection" => Some(json!({"type": "object"})),
        _ => None,
    }
}

fn list(resource: &Resource, shape: Shape) -> Value {
    let items = resource_schemas::reference(resource, if shape == Shape::Detail { "" } else { "Part" });
    let mut members = Map::from_iter([(resource.plural.to_owned(), json!({"type": "array", "items": items}))]);
    // Drivers are few and not paginated.
    if resource.path != "drivers" {
        members.insert("next".to_owned(), json!({"type": "string"}));
    }
    schema::object(&Value::Object(members), &[resource.plural])
}

/// Returns the schema of a response that has no table.
fn body_without_table(path: &str) -> Value {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let objects = json!({"type": "array", "items": {"type": "object"}});
    let any = json!({"type": "object"});
    let last = path.rsplit('/').next().unwrap_or_default();
    match path {
        "nodes/*/validate" => {
            let result = json!({"result": {"type": "boolean"}, "reason": {"type": "string"}});
            json!({"type": "object", "additionalProperties": schema::object(&result, &["result"])})
        }
        "nodes/*/states" => states(),
        "nodes/*/states/console" | "nodes/states/console/*" => exactly(&json!({
            "console_enabled": {"type": "boolean"}, "console_info": {"type": ["object", "null"]},
        })),
        "nodes/*/management/boot_device" => exactly(&json!({
            "boot_device": schema::nullable_text(), "persistent": {"type": ["boolean", "null"]},
        })),
        "nodes/*/management/boot_device/supported" => exactly(&json!({"supported_boot_devices": texts})),
        "nodes/*/traits" | "runbooks/*/traits" => exactly(&json!({"traits": texts})),
        "nodes/*/vifs" | "nodes/*/bios" | "nodes/*/firmware" => exactly(&json!({last: objects})),
        "nodes/*/history" => schema::object(&json!({"history": objects, "next": {"type": "string"}}), &["history"]),
        "nodes/*/inventory" => exactly(&json!({"inventory": any, "plugin_data": any})),
        "nodes/*/children" => {
            let link = exactly(&json!({"href": {"type": "string"}, "rel": {"const": "children"}}));
            exactly(&json!({"children": {"type": "array", "items": schema::uuid()}, "links": link}))
        }
        "volume" | "nodes/*/volume" => volume(),
        "drivers/*/properties" => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        "drivers/*/raid/logical_disk_properties" => raid::properties_schema(),
        "shards" => {
            let shard = exactly(&json!({"name": {"type": "string"}, "count": {"type": "integer", "minimum": 0}}));
            exactly(&json!({"shards": {"type": "array", "items": shard}}))
        }
        "lookup" => exactly(&json!({"node": any, "config": any})),
        path if path.ends_with("vendor_passthru/methods") => vendor_methods(),
        path if path.ends_with("vendor_passthru/*") => json!({}),
        _ => any,
    }
}

/// Schema of an object that has exactly these members.
pub(super) fn exactly(members: &Value) -> Value {
    let all: Vec<&str> = members.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    schema::object(members, &all)
}

fn states() -> Value {
    let fields = NODE_STATES.iter().filter_map(|name| NODE.field(name));
    let members: Map<String, Value> =
        fields.map(|field| (field.name.to_owned(), resource_schemas::shown_field(&NODE, field))).collect();
    exactly(&Value::Object(members))
}

fn volume() -> Value {
    let names = ["links"].into_iter().chain(VOLUME.iter().map(|sub| sub.name));
    let members: Map<String, Value> =
        names.map(|name| (name.to_owned(), json!({"$ref": "#/components/schemas/Links"}))).collect();
    exactly(&Value::Object(members))
}

/// Schema of a list of vendor methods, by name.
fn vendor_methods() -> Value {
    let method = exactly(&json!({
        "http_methods": {"type": "array", "items": {"type": "string"}},
        "async": {"type": "boolean"},
        "description": {"type": "string"},
        "attach": {"type": "boolean"},
        "require_exclusive_lock": {"type": "boolean"},
    }));
    json!({"type": "object", "additionalProperties": method})
}
