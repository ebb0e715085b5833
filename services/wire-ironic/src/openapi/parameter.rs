//! What stands in a path, behind the question mark, and in the header of a version.

use serde_json::{Value, json};

use super::answer::TAGGED;
use super::place::{self, Place, place};
use super::word;
use crate::call;
use crate::fields::{Resource, Sort};
use crate::query::{self, Filter, Reads, Shape};
use crate::version::{HEADER, Version};

/// The version that a request speaks.
pub(super) fn version() -> Value {
    json!({
        "name": HEADER,
        "in": "header",
        "required": true,
        "description": "The version that the request speaks, and that is described here. Another one is understood as \
                        that version has it.",
        "schema": word::one_of(&[&Version::MAX.to_string(), "latest"]),
    })
}

/// All parameters of a call.
pub(super) fn parameters(method: &str, path: &str) -> Value {
    let version = json!({"$ref": "#/components/parameters/Version"});
    let of_path = stars(method, path)
        .map(|(name, schema)| json!({"name": name, "in": "path", "required": true, "schema": schema}));
    Value::Array(
        [version].into_iter().chain(of_path).chain(query(method, path)).chain(condition(method, path)).collect(),
    )
}

/// What Ironic has not: a change on the condition that a node is as it was read, and a node that is shown if it is not.
fn condition(method: &str, path: &str) -> Option<Value> {
    // What is no tag of ours is one that does not hold, and no mistake.
    let schema = json!({"type": "string"});
    let header = |name: &str, what: &str| json!({"name": name, "in": "header", "description": what, "schema": schema});
    if (method, path) == TAGGED {
        return Some(header("If-None-Match", "The ETag of the node as the client has it: where it is that, 304."));
    }
    let changes = method != "GET" && (path == "nodes/*" || path.starts_with("nodes/*/states"));
    changes.then(|| header("If-Match", "The ETag of the node as it was read: where it is another by now, 412."))
}

/// The name and the schema of each star.
fn stars<'a>(method: &'a str, path: &'a str) -> impl Iterator<Item = (&'a str, Value)> {
    let steps: Vec<&str> = path.split('/').collect();
    let before = path.split('/').zip(steps.into_iter().skip(1)).filter(|(_, step)| *step == "*");
    before.map(move |(before, _)| (place::name(before), star(method, path, place::name(before))))
}

fn star(method: &str, path: &str, name: &str) -> Value {
    match (name, place(path)) {
        // To be deleted a port is named by its UUID.
        ("port", _) if method == "DELETE" => word::uuid(),
        ("node", _) | ("port", Place::One(_)) => word::logical_name(),
        // What no runbook has can be taken from it all the same.
        ("trait", _) if method == "PUT" => word::trait_name(),
        // What has no name is named by its UUID alone.
        (_, Place::One(resource)) if resource.key == "uuid" && resource.field("name").is_none() => word::uuid(),
        ("chassis", _) => word::uuid(),
        _ => json!({"type": "string", "pattern": "^[^/]+$"}),
    }
}

fn query(method: &str, path: &str) -> Vec<Value> {
    match (method, path, place(path)) {
        ("GET", _, Place::List(resource, shape)) => list(resource, shape),
        // What is a node's allocation is shown whole.
        ("GET", "nodes/*/allocation", _) => vec![],
        ("GET", _, Place::One(resource)) => vec![fields(resource)],
        ("PATCH", "nodes/*", _) => vec![behind("reset_interfaces", &word::flag_word())],
        ("DELETE", "nodes/*/vmedia", _) => vec![listed("device_types", &word::one_of(call::DEVICE_TYPES))],
        ("GET", "lookup", _) => vec![behind("node_uuid", &word::uuid()), listed("addresses", &word::mac())],
        ("POST", "continue_inspection", _) => vec![behind("node_uuid", &word::uuid())],
        _ => vec![],
    }
}

/// What a list takes: its filters, its columns and its pages.
fn list(resource: &'static Resource, shape: Shape) -> Vec<Value> {
    let mut all: Vec<Value> =
        query::filters(resource).iter().filter(|filter| Version::MAX.has(filter.since)).map(filter).collect();
    let knows = |name: &str| query::knows(resource, shape, name);
    if knows("fields") {
        all.push(fields(resource));
    }
    if knows("detail") {
        all.push(behind("detail", &word::flag_word()));
    }
    if knows("limit") {
        let sorting = resource.fields.iter().filter(|field| field.sort == Sort::Yes).map(|field| field.name);
        let keys: Vec<&str> = ["id"].into_iter().chain(sorting).collect();
        all.push(behind("limit", &json!({"type": "integer", "minimum": 1})));
        all.push(behind("marker", &marker(resource)));
        all.push(behind("sort_key", &word::one_of(&keys)));
        all.push(behind("sort_dir", &word::one_of(&["asc", "desc"])));
    }
    all
}

fn marker(resource: &Resource) -> Value {
    if crate::page::is_marked_by_name(resource) { json!({"type": "string"}) } else { word::uuid() }
}

/// Which fields are shown, with commas between them. Empty names are passed over.
fn fields(resource: &Resource) -> Value {
    let shown = resource.fields.iter().filter(|field| !field.hidden && Version::MAX.has(field.since));
    let links = resource.takes_links().then_some("links");
    let names: Vec<&str> = shown.map(|field| field.name).chain(links).chain([""]).collect();
    listed("fields", &word::one_of(&names))
}

fn filter(filter: &'static Filter) -> Value {
    match filter.reads {
        Reads::Text | Reads::Ident => behind(filter.name, &json!({"type": "string"})),
        Reads::Uuid => behind(filter.name, &word::uuid()),
        Reads::Flag => behind(filter.name, &word::flag_word()),
        Reads::Words => listed(filter.name, &json!({"type": "string"})),
        Reads::Mac => behind(filter.name, &word::mac()),
        Reads::State => behind(filter.name, &word::one_of(query::STATES)),
        Reads::Fault => behind(filter.name, &word::one_of(query::FAULTS)),
        Reads::Type => behind(filter.name, &word::one_of(query::DRIVER_TYPES)),
    }
}

fn behind(name: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

fn listed(name: &str, items: &Value) -> Value {
    let schema = json!({"type": "array", "minItems": 1, "items": items});
    json!({"name": name, "in": "query", "style": "form", "explode": false, "schema": schema})
}
