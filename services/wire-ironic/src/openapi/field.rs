//! The schemas of a resource, from its table: what is shown of it, what makes a new one, what changes one.

use serde_json::{Map, Value, json};

use super::word;
use crate::fields::{self, Field, Kind, Post, Resource, conditions_of_rules, rules};
use crate::links;
use crate::verb::Steps;
use crate::version::Version;

/// What a resource's schemas are called: `Node`, `DeployTemplate`.
pub(super) fn name(resource: &Resource) -> String {
    let last = resource.path.rsplit('/').next().unwrap_or_default();
    let capital = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        format!("{}{rest}", first.to_uppercase())
    };
    super::place::name(last).split('_').map(capital).collect()
}

/// A reference to one of the schemas.
pub(super) fn of(resource: &Resource, what: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{}{what}", name(resource))})
}

/// All schemas of a resource: all of it, a part of it, and what POST and PATCH take.
pub(super) fn schemas(resource: &'static Resource) -> Vec<(String, Value)> {
    let name = name(resource);
    let part = shown(resource);
    let all: Vec<&String> = part.keys().collect();
    let whole = json!({"allOf": [of(resource, "Part")], "required": all});
    let part = word::object(&json!(part), &["links"]);
    let mut schemas = vec![(format!("{name}Part"), part)];
    // What no call makes or changes is shown in parts alone.
    if !resource.patchable.is_empty() {
        schemas.extend([(name.clone(), whole), (format!("{name}Change"), change(resource))]);
    }
    if resource.fields.iter().any(|field| field.post != Post::No) {
        schemas.push((format!("New{name}"), new(resource)));
    }
    schemas
}

/// What is shown of it: its fields, its links, and those of what is below it.
fn shown(resource: &Resource) -> Map<String, Value> {
    let shown = resource.fields.iter().filter(|field| !field.hidden && Version::MAX.has(field.since));
    let mut members: Map<String, Value> =
        shown.map(|field| (field.name.to_owned(), field_shown(resource, field))).collect();
    let list = json!({"$ref": "#/components/schemas/Links"});
    let below = links::subs(resource).iter().map(|sub| sub.name);
    members.extend(["links"].into_iter().chain(below).map(|name| (name.to_owned(), list.clone())));
    if resource.path == "chassis" {
        members.insert("nodes".to_owned(), json!({"type": "array", "items": list}));
    }
    members
}

/// What is shown of a field.
pub(super) fn field_shown(resource: &Resource, field: &Field) -> Value {
    let is_key = field.name == resource.key;
    match field.kind {
        Kind::Uuid if is_key => word::uuid(),
        Kind::Uuid => json!({"type": ["string", "null"], "format": "uuid"}),
        Kind::Text => word::text(),
        Kind::Name => json!({"type": "string"}),
        Kind::Flag | Kind::Bool => json!({"type": ["boolean", "null"]}),
        Kind::Strict => json!({"type": "boolean"}),
        Kind::Integer => json!({"type": "integer"}),
        Kind::Object => json!({"type": "object"}),
        // Null where it is kept from everybody's eyes.
        Kind::List | Kind::Steps => json!({"type": ["array", "null"]}),
        Kind::Time => json!({"type": ["string", "null"], "format": "date-time"}),
    }
}

fn new(resource: &'static Resource) -> Value {
    let taken = || resource.fields.iter().filter(|field| field.post != Post::No && Version::MAX.has(field.since));
    let members: Map<String, Value> =
        taken().map(|field| (field.name.to_owned(), field_taken(resource, field))).collect();
    let required: Vec<&str> = taken().filter(|field| field.post == Post::Must).map(|field| field.name).collect();
    let mut schema = word::object(&json!(members), &required);
    let named = |names: [&str; 2]| {
        let one = |name: &str| json!({"required": [name], "properties": {name: {"type": "string", "minLength": 1}}});
        json!(names.map(one))
    };
    if let Some(schema) = schema.as_object_mut() {
        match resource.path {
            // A port is one node's, named one way; an allocation wants a class, or tells of a node.
            "ports" => drop(schema.insert("oneOf".to_owned(), named(["node_uuid", "node_ident"]))),
            "allocations" => drop(schema.insert("anyOf".to_owned(), named(["resource_class", "node"]))),
            _ => {}
        }
    }
    schema
}

/// What POST takes for a field.
fn field_taken(resource: &Resource, field: &Field) -> Value {
    let mut schema = match (resource.path, field.name) {
        (_, "name") => return name_taken(resource),
        ("portgroups", "address") => json!({"anyOf": [word::mac(), {"type": "null"}]}),
        (_, "address") => word::mac(),
        (_, "local_link_connection") => return link(),
        ("ports" | "portgroups" | "volume/connectors" | "volume/targets", "node_uuid") => word::uuid(),
        ("allocations", "traits") => json!({"type": ["array", "null"], "items": word::trait_name()}),
        ("inspection_rules", "actions") => rules(),
        ("inspection_rules", "conditions") => conditions_of_rules(),
        ("deploy_templates", "steps") => steps(Steps::Deploy),
        ("runbooks", "steps") => steps(Steps::Runbook),
        ("webhooks", "url") => json!({"type": "string", "format": "uri", "pattern": "^https?://"}),
        ("webhooks", "delivery_info") => return receiver(),
        ("inspection_rules", "priority") => {
            json!({"type": "integer", "minimum": 0, "maximum": fields::MAX_PRIORITY})
        }
        (_, "physical_network" | "instance_name") => json!({"type": ["string", "null"], "minLength": 1}),
        _ => json!({"type": field.kind.types()}),
    };
    if field.kind == Kind::Flag {
        return word::flag();
    }
    if let Some(schema) = schema.as_object_mut() {
        if field.longest > 0 {
            schema.insert("maxLength".to_owned(), json!(field.longest));
        }
        if field.kind == Kind::Uuid {
            schema.insert("format".to_owned(), json!("uuid"));
        }
    }
    schema
}

fn name_taken(resource: &Resource) -> Value {
    match resource.path {
        "deploy_templates" => word::trait_name(),
        "runbooks" | "webhooks" => word::logical_name(),
        // A port may be called as one likes; a node may have no name, which is an empty one too.
        "ports" => word::text(),
        "nodes" => json!({"anyOf": [
            {"type": "null"},
            {"type": "string", "const": ""},
            {"allOf": [word::logical_name()], "not": {"enum": fields::NODE_RESERVED}},
        ]}),
        _ => json!({"anyOf": [{"type": "null"}, word::logical_name()]}),
    }
}

/// What a webhook's receiver knows us by, and we it.
fn receiver() -> Value {
    let members = json!({
        "secret": {"type": "string", "pattern": "^whsec_[A-Za-z0-9+/]{32,}={0,2}$"},
        "token": {"type": "string", "pattern": "^[!-~]+$"},
        "ca": {"type": "string"},
    });
    word::object(&members, &["secret"])
}

/// Where a port is plugged in.
fn link() -> Value {
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

/// A list of changes: three operations, at paths that begin with a field that PATCH takes.
fn change(resource: &Resource) -> Value {
    let fields = resource.patchable.join("|");
    let path = json!({"type": "string", "pattern": format!("^/({fields})(/([A-Za-z0-9_-]|~[01])+)*$")});
    let sets = json!({"op": word::one_of(&["add", "replace"]), "path": path, "value": true});
    let removes = json!({"op": word::one_of(&["remove"]), "path": path, "value": true});
    let items = [word::object(&sets, &["op", "path", "value"]), word::object(&removes, &["op", "path"])];
    json!({"type": "array", "items": {"anyOf": items}})
}
