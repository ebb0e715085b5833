//! Schemas of a resource, computed from its table: for responses, POST and PATCH.

use serde_json::{Map, Value, json};

use super::schema;
use crate::fields::{self, Field, Kind, Post, Resource, actions_schema, conditions_schema};
use crate::links;
use crate::verb::Steps;
use crate::version::Version;

/// Returns the name of a resource's schemas, such as `Node` or `DeployTemplate`.
pub(super) fn schema_name(resource: &Resource) -> String {
    let last = resource.path.rsplit('/').next().unwrap_or_default();
    let capital = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        format!("{}{rest}", first.to_uppercase())
    };
    super::path_kind::parameter_name(last).split('_').map(capital).collect()
}

/// Returns a reference to the schema of a resource with a suffix: empty, `Part` or `Change`.
pub(super) fn reference(resource: &Resource, suffix: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{}{suffix}", schema_name(resource))})
}

/// Returns all schemas of a resource: all fields, some fields, and the bodies of POST and PATCH.
pub(super) fn schemas(resource: &'static Resource) -> Vec<(String, Value)> {
    let name = schema_name(resource);
    let members = shown_members(resource);
    let all: Vec<&String> = members.keys().collect();
    let whole = json!({"allOf": [reference(resource, "Part")], "required": all});
    let part = schema::object(&json!(members), &["links"]);
    let mut schemas = vec![(format!("{name}Part"), part)];
    // Responses with read-only resources always use the partial schema.
    if !resource.patchable.is_empty() {
        schemas.extend([(name.clone(), whole), (format!("{name}Change"), patch_schema(resource))]);
    }
    if resource.fields.iter().any(|field| field.post != Post::Rejected) {
        schemas.push((format!("New{name}"), post_schema(resource)));
    }
    schemas
}

/// Returns the members of a resource in responses: fields, links, and links of subresources.
fn shown_members(resource: &Resource) -> Map<String, Value> {
    let shown = resource.fields.iter().filter(|field| !field.hidden && Version::MAX.has(field.since));
    let mut members: Map<String, Value> =
        shown.map(|field| (field.name.to_owned(), shown_field(resource, field))).collect();
    let list = json!({"$ref": "#/components/schemas/Links"});
    let below = links::subs(resource).iter().map(|sub| sub.name);
    members.extend(["links"].into_iter().chain(below).map(|name| (name.to_owned(), list.clone())));
    if resource.path == "chassis" {
        members.insert("nodes".to_owned(), json!({"type": "array", "items": list}));
    }
    members
}

/// Returns the schema of a field in responses.
pub(super) fn shown_field(resource: &Resource, field: &Field) -> Value {
    let is_key = field.name == resource.key;
    match field.kind {
        Kind::Uuid if is_key => schema::uuid(),
        Kind::Uuid => json!({"type": ["string", "null"], "format": "uuid"}),
        Kind::Text => schema::nullable_text(),
        Kind::Name => json!({"type": "string"}),
        Kind::Flag | Kind::Bool => json!({"type": ["boolean", "null"]}),
        Kind::Strict => json!({"type": "boolean"}),
        Kind::Integer => json!({"type": "integer"}),
        Kind::Object => json!({"type": "object"}),
        // Null if the caller must not see the value.
        Kind::List | Kind::Steps => json!({"type": ["array", "null"]}),
        Kind::Time => json!({"type": ["string", "null"], "format": "date-time"}),
    }
}

fn post_schema(resource: &'static Resource) -> Value {
    let accepted =
        || resource.fields.iter().filter(|field| field.post != Post::Rejected && Version::MAX.has(field.since));
    let members: Map<String, Value> =
        accepted().map(|field| (field.name.to_owned(), accepted_field(resource, field))).collect();
    let required: Vec<&str> = accepted().filter(|field| field.post == Post::Required).map(|field| field.name).collect();
    let mut schema = schema::object(&json!(members), &required);
    let has_text = |names: [&str; 2]| {
        let has_text =
            |name: &str| json!({"required": [name], "properties": {name: {"type": "string", "minLength": 1}}});
        json!(names.map(has_text))
    };
    if let Some(schema) = schema.as_object_mut() {
        match resource.path {
            // A port identifies its node in exactly one of two ways. An allocation requires a resource class, or a node to
            // backfill.
            "ports" => drop(schema.insert("oneOf".to_owned(), has_text(["node_uuid", "node_ident"]))),
            "allocations" => drop(schema.insert("anyOf".to_owned(), has_text(["resource_class", "node"]))),
            _ => {}
        }
    }
    schema
}

/// Returns the schema of a field in the body of a POST.
fn accepted_field(resource: &Resource, field: &Field) -> Value {
    let mut schema = match (resource.path, field.name) {
        (_, "name") => return accepted_name(resource),
        ("portgroups", "address") => json!({"anyOf": [schema::mac(), {"type": "null"}]}),
        (_, "address") => schema::mac(),
        (_, "local_link_connection") => return local_link_connection(),
        ("ports" | "portgroups" | "volume/connectors" | "volume/targets", "node_uuid") => schema::uuid(),
        ("allocations", "traits") => json!({"type": ["array", "null"], "items": schema::trait_name()}),
        ("inspection_rules", "actions") => actions_schema(),
        ("inspection_rules", "conditions") => conditions_schema(),
        ("deploy_templates", "steps") => steps(Steps::Deploy),
        ("runbooks", "steps") => steps(Steps::Runbook),
        ("webhooks", "url") => json!({"type": "string", "format": "uri", "pattern": "^https?://"}),
        ("webhooks", "delivery_info") => return delivery_info(),
        ("inspection_rules", "priority") => {
            json!({"type": "integer", "minimum": 0, "maximum": fields::MAX_PRIORITY})
        }
        (_, "physical_network" | "instance_name") => json!({"type": ["string", "null"], "minLength": 1}),
        _ => json!({"type": field.kind.types()}),
    };
    if field.kind == Kind::Flag {
        return schema::flag();
    }
    if let Some(schema) = schema.as_object_mut() {
        if field.max_chars > 0 {
            schema.insert("maxLength".to_owned(), json!(field.max_chars));
        }
        if field.kind == Kind::Uuid {
            schema.insert("format".to_owned(), json!("uuid"));
        }
    }
    schema
}

fn accepted_name(resource: &Resource) -> Value {
    match resource.path {
        "deploy_templates" => schema::trait_name(),
        "runbooks" | "webhooks" => schema::logical_name(),
        // The name of a port is any string. An empty name of a node is the same as none.
        "ports" => schema::nullable_text(),
        "nodes" => json!({"anyOf": [
            {"type": "null"},
            {"type": "string", "const": ""},
            {"allOf": [schema::logical_name()], "not": {"enum": fields::NODE_RESERVED}},
        ]}),
        _ => json!({"anyOf": [{"type": "null"}, schema::logical_name()]}),
    }
}

/// Schema of the credentials between the scheduler and a webhook's receiver.
fn delivery_info() -> Value {
    let members = json!({
        "secret": {"type": "string", "pattern": "^whsec_[A-Za-z0-9+/]{32,}={0,2}$"},
        "token": {"type": "string", "pattern": "^[!-~]+$"},
        "ca": {"type": "string"},
    });
    schema::object(&members, &["secret"])
}

/// Schema of the switch port that a port is connected to.
fn local_link_connection() -> Value {
    json!({"anyOf": [
        {"type": "null"},
        {"type": "object", "maxProperties": 0},
        {"type": "object", "properties": {"network_type": {"const": "unmanaged"}}, "required": ["network_type"]},
        {"type": "object", "required": ["port_id", "switch_id"]},
        {"type": "object", "required": ["port_id", "hostname"]},
    ]})
}

fn steps(kind: Steps) -> Value {
    json!({"type": "array", "minItems": 1, "items": kind.schema()})
}

/// Schema of a JSON Patch with the three supported operations, on fields that PATCH accepts.
fn patch_schema(resource: &Resource) -> Value {
    let fields = resource.patchable.join("|");
    let path = json!({"type": "string", "pattern": format!("^/({fields})(/([A-Za-z0-9_-]|~[01])+)*$")});
    let set = json!({"op": schema::one_of(&["add", "replace"]), "path": path, "value": true});
    let remove = json!({"op": schema::one_of(&["remove"]), "path": path, "value": true});
    let items = [schema::object(&set, &["op", "path", "value"]), schema::object(&remove, &["op", "path"])];
    json!({"type": "array", "items": {"anyOf": items}})
}
