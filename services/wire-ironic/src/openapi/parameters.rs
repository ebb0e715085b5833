//! Parameters of the calls: path, query and headers.

use serde_json::{Value, json};

use super::path_kind::{self, PathKind, path_kind};
use super::responses::WITH_ETAG;
use super::schema;
use crate::call;
use crate::fields::{Resource, Sort};
use crate::query::{self, Filter, Shape, ValueType};
use crate::version::{HEADER, Version};

/// Returns the version header.
pub(super) fn version_header() -> Value {
    json!({
        "name": HEADER,
        "in": "header",
        "required": true,
        "description": "Version of the request. This document describes the newest version; the service supports older ones \
                        too.",
        "schema": schema::one_of(&[&Version::MAX.to_string(), "latest"]),
    })
}

/// Returns all parameters of a call.
pub(super) fn parameters(method: &str, path: &str) -> Value {
    let version = json!({"$ref": "#/components/parameters/Version"});
    let in_path = path_parameters(method, path)
        .map(|(name, schema)| json!({"name": name, "in": "path", "required": true, "schema": schema}));
    Value::Array(
        [version].into_iter().chain(in_path).chain(query(method, path)).chain(precondition(method, path)).collect(),
    )
}

/// Returns the precondition header of a call, an extension to Ironic's API: `If-None-Match` for reading a node, `If-Match`
/// for changing one.
fn precondition(method: &str, path: &str) -> Option<Value> {
    // Any string is valid: an unknown entity tag is a failed precondition, not an invalid request.
    let schema = json!({"type": "string"});
    let header = |name: &str, description: &str| json!({"name": name, "in": "header", "description": description, "schema": schema});
    if (method, path) == WITH_ETAG {
        return Some(header(
            "If-None-Match",
            "ETag of the node that the client has. If the node still has it, the response is 304.",
        ));
    }
    let changes = method != "GET" && (path == "nodes/*" || path.starts_with("nodes/*/states"));
    changes.then(|| {
        header(
            "If-Match",
            "ETag of the node that the client has read. If the node has another one now, the response is 412.",
        )
    })
}

/// Returns the name and schema of each path parameter.
fn path_parameters<'a>(method: &'a str, path: &'a str) -> impl Iterator<Item = (&'a str, Value)> {
    let segments: Vec<&str> = path.split('/').collect();
    let parameters = path.split('/').zip(segments.into_iter().skip(1)).filter(|(_, segment)| *segment == "*");
    parameters.map(move |(before, _)| {
        (path_kind::parameter_name(before), path_parameter_schema(method, path, path_kind::parameter_name(before)))
    })
}

fn path_parameter_schema(method: &str, path: &str, name: &str) -> Value {
    match (name, path_kind(path)) {
        // A port can be deleted only by its UUID.
        ("port", _) if method == "DELETE" => schema::uuid(),
        ("node", _) | ("port", PathKind::One(_)) => schema::logical_name(),
        // `DELETE` accepts any string: removing a trait that the runbook does not have succeeds.
        ("trait", _) if method == "PUT" => schema::trait_name(),
        // Resources without a name are identified by their UUIDs.
        (_, PathKind::One(resource)) if resource.key == "uuid" && resource.field("name").is_none() => schema::uuid(),
        ("chassis", _) => schema::uuid(),
        _ => json!({"type": "string", "pattern": "^[^/]+$"}),
    }
}

fn query(method: &str, path: &str) -> Vec<Value> {
    match (method, path, path_kind(path)) {
        ("GET", _, PathKind::List(resource, shape)) => list_parameters(resource, shape),
        // The allocation of a node has no `fields` parameter.
        ("GET", "nodes/*/allocation", _) => vec![],
        ("GET", _, PathKind::One(resource)) => vec![fields(resource)],
        ("PATCH", "nodes/*", _) => vec![query_parameter("reset_interfaces", &schema::flag_word())],
        ("DELETE", "nodes/*/vmedia", _) => vec![list_parameter("device_types", &schema::one_of(call::DEVICE_TYPES))],
        ("GET", "lookup", _) => {
            vec![query_parameter("node_uuid", &schema::uuid()), list_parameter("addresses", &schema::mac())]
        }
        ("POST", "continue_inspection", _) => vec![query_parameter("node_uuid", &schema::uuid())],
        _ => vec![],
    }
}

/// Returns the query parameters of a list: filters, fields and paging.
fn list_parameters(resource: &'static Resource, shape: Shape) -> Vec<Value> {
    let mut all: Vec<Value> =
        query::filters(resource).iter().filter(|filter| Version::MAX.has(filter.since)).map(filter).collect();
    let has = |name: &str| query::has_parameter(resource, shape, name);
    if has("fields") {
        all.push(fields(resource));
    }
    if has("detail") {
        all.push(query_parameter("detail", &schema::flag_word()));
    }
    if has("limit") {
        let sorting = resource.fields.iter().filter(|field| field.sort == Sort::Sortable).map(|field| field.name);
        let keys: Vec<&str> = ["id"].into_iter().chain(sorting).collect();
        all.push(query_parameter("limit", &json!({"type": "integer", "minimum": 1})));
        all.push(query_parameter("marker", &marker(resource)));
        all.push(query_parameter("sort_key", &schema::one_of(&keys)));
        all.push(query_parameter("sort_dir", &schema::one_of(&["asc", "desc"])));
    }
    all
}

fn marker(resource: &Resource) -> Value {
    if crate::page::is_marked_by_name(resource) { json!({"type": "string"}) } else { schema::uuid() }
}

/// Returns the parameter `fields`: names separated by commas. Empty names are ignored.
fn fields(resource: &Resource) -> Value {
    let shown = resource.fields.iter().filter(|field| !field.hidden && Version::MAX.has(field.since));
    let links = resource.accepts_links().then_some("links");
    let names: Vec<&str> = shown.map(|field| field.name).chain(links).chain([""]).collect();
    list_parameter("fields", &schema::one_of(&names))
}

fn filter(filter: &'static Filter) -> Value {
    match filter.value_type {
        ValueType::Text | ValueType::Ident => query_parameter(filter.name, &json!({"type": "string"})),
        ValueType::Uuid => query_parameter(filter.name, &schema::uuid()),
        ValueType::Flag => query_parameter(filter.name, &schema::flag_word()),
        ValueType::Words => list_parameter(filter.name, &json!({"type": "string"})),
        ValueType::Mac => query_parameter(filter.name, &schema::mac()),
        ValueType::State => query_parameter(filter.name, &schema::one_of(query::STATES)),
        ValueType::Fault => query_parameter(filter.name, &schema::one_of(query::FAULTS)),
        ValueType::Type => query_parameter(filter.name, &schema::one_of(query::DRIVER_TYPES)),
    }
}

fn query_parameter(name: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

fn list_parameter(name: &str, items: &Value) -> Value {
    let schema = json!({"type": "array", "minItems": 1, "items": items});
    json!({"name": name, "in": "query", "style": "form", "explode": false, "schema": schema})
}
