//! Checks the bodies of new and changed resources.

use serde_json::{Map, Value};

use super::schema_error::{MAX_PRIORITY, schema_error};
use super::{Field, Kind, Post, Resource, link, name, steps};
use crate::argument;
use crate::error::{Class, Error, text};
use crate::python;
use crate::version::Version;

/// First minor version with ports on unmanaged switches.
const NETWORK_TYPE_SINCE: u16 = 64;
/// First minor version in which a runbook's name need not be a trait.
const RUNBOOK_NAMES_SINCE: u16 = 112;

/// Checks the body of a POST against the table of its resource, in Ironic's order: unknown fields, missing fields, types,
/// words for booleans and UUIDs, and fields that the version does not have.
///
/// Returns the resource in the form in which it is stored: words for booleans become booleans, null objects become empty.
///
/// # Errors
/// 400 for an invalid body, 406 for a body that needs a newer version.
pub fn check_post(resource: &Resource, version: Version, body: &Value) -> Result<Map<String, Value>, Error> {
    let members = as_object(resource.schema_name, body)?;
    let is_accepted = |field: &&Field| field.post != Post::Rejected && !is_unknown_before(resource, version, field);
    let accepted: Vec<&Field> = resource.fields.iter().filter(is_accepted).collect();
    check_unknown(resource.schema_name, members, |name| accepted.iter().any(|field| field.name == name))?;
    check_required(resource, resource.schema_name, members)?;
    let mut stored = check_values(resource, resource.schema_name, members)?;
    steps::normalize(resource, &mut stored);
    link::normalize(&mut stored);
    check_names(resource, version, members)?;
    check_priority(resource, members)?;
    steps::check(resource, resource.schema_name, members)?;
    check_versions(resource, version, members)?;
    Ok(stored)
}

/// Checks a resource that a PATCH has changed, as if it were new. Fields that PATCH cannot set are not checked.
///
/// # Errors
/// 400, with the texts for patches.
pub fn check_whole(resource: &Resource, whole: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    check_required(resource, "patch", whole)?;
    let settable: Map<String, Value> = whole
        .iter()
        .filter(|(name, _)| resource.field(name).is_some_and(|field| field.patch))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let stored = check_values(resource, "patch", &settable)?;
    check_patched_name(resource, &settable)?;
    check_priority(resource, &settable)?;
    let connection = settable.get("local_link_connection").and_then(Value::as_object);
    connection.map_or(Ok(()), link::check)?;
    steps::check(resource, "patch", &settable)?;
    let mut whole = whole.clone();
    whole.extend(stored);
    steps::normalize(resource, &mut whole);
    link::normalize(&mut whole);
    Ok(whole)
}

fn as_object<'a>(schema: &str, body: &'a Value) -> Result<&'a Map<String, Value>, Error> {
    body.as_object().ok_or_else(|| schema_error(schema, &format!("{} is not of type 'object'", python::quoted(body))))
}

/// Returns whether a field is unknown to the schema of an older version. For all other fields, the version is checked last.
fn is_unknown_before(resource: &Resource, version: Version, field: &Field) -> bool {
    matches!((resource.path, field.name), ("runbooks", "description") | ("allocations", "node"))
        && !version.has(field.since)
}

fn check_unknown(schema: &str, members: &Map<String, Value>, known: impl Fn(&str) -> bool) -> Result<(), Error> {
    let unknown: Vec<&String> = members.keys().filter(|name| !known(name)).collect();
    let was = if unknown.len() == 1 { "was" } else { "were" };
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown = python::listed(&unknown);
    Err(schema_error(schema, &format!("Additional properties are not allowed ({unknown} {was} unexpected)")))
}

fn check_required(resource: &Resource, schema: &str, members: &Map<String, Value>) -> Result<(), Error> {
    let missing =
        resource.fields.iter().find(|field| field.post == Post::Required && !members.contains_key(field.name));
    if let Some(field) = missing {
        return Err(schema_error(schema, &format!("'{}' is a required property", field.name)));
    }
    if resource.path == "ports" {
        return check_one_node(schema, members);
    }
    let named = has_value(members, "resource_class") || has_value(members, "node");
    if resource.path == "allocations" && schema != "patch" && !named {
        return Err(Class::Invalid.error("The resource_class field is mandatory when not backfilling"));
    }
    Ok(())
}

fn has_value(members: &Map<String, Value>, name: &str) -> bool {
    members.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}

/// Checks that a port names its node exactly once.
fn check_one_node(schema: &str, members: &Map<String, Value>) -> Result<(), Error> {
    let named = ["node_uuid", "node_ident"].into_iter().filter(|name| members.contains_key(*name)).count();
    match named {
        1 => Ok(()),
        0 => Err(schema_error(schema, "'node_uuid' is a required property")),
        _ => Err(schema_error(schema, "only one of 'node_ident' and 'node_uuid' may be given")),
    }
}

fn check_values(resource: &Resource, schema: &str, members: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    for (name, value) in members {
        if let Some(field) = resource.field(name) {
            check_type(schema, field, value)?;
        }
    }
    let stored = members.iter().map(|(name, value)| {
        let stored = resource.field(name).map_or_else(|| Ok(value.clone()), |field| stored(field, value));
        stored.map(|value| (name.clone(), value))
    });
    stored.collect()
}

fn check_type(schema: &str, field: &Field, value: &Value) -> Result<(), Error> {
    if !field.kind.accepts(value) {
        let types = python::listed(field.kind.types());
        return Err(schema_error(schema, &format!("{} is not of type {types}", python::quoted(value))));
    }
    let length = value.as_str().map(|text| text.chars().count());
    if field.max_chars > 0 && length.is_some_and(|length| length > field.max_chars) {
        return Err(schema_error(schema, &format!("{} is too long", python::quoted(value))));
    }
    let empty_list = field.kind == Kind::Steps && value.as_array().is_some_and(Vec::is_empty);
    if empty_list || (field.name == "instance_name" && length == Some(0)) {
        return Err(schema_error(schema, &format!("{} should be non-empty", python::quoted(value))));
    }
    if field.name == "priority" && value.as_i64().is_some_and(|number| number < 0) {
        return Err(schema_error(schema, &format!("{} is less than the minimum of 0", python::quoted(value))));
    }
    Ok(())
}

/// Returns the value in the form in which it is stored. Checks words for booleans, UUIDs and addresses.
fn stored(field: &Field, value: &Value) -> Result<Value, Error> {
    let named_uuid = field.kind == Kind::Uuid || field.name == "node_uuid";
    match (field.kind, value) {
        (Kind::Flag, Value::String(word)) => argument::boolean(field.name, word).map(Value::from),
        (Kind::Object, Value::Null) => Ok(Value::Object(Map::new())),
        (_, Value::String(text)) if named_uuid && !name::is_uuid(text) => {
            Err(Class::Invalid.error(format!("Expected UUID for {}: {text}", field.name)))
        }
        (_, Value::String(text)) if field.name == "address" => argument::mac("address", text).map(Value::from),
        _ => Ok(value.clone()),
    }
}

/// Checks the priority of an inspection rule. Higher priorities are reserved for built-in rules.
fn check_priority(resource: &Resource, members: &Map<String, Value>) -> Result<(), Error> {
    let priority = members.get("priority").and_then(Value::as_i64);
    if resource.path != "inspection_rules" || priority.is_none_or(|priority| priority <= MAX_PRIORITY) {
        return Ok(());
    }
    Err(Class::Invalid.error(format!("Priority must be between 0 and {MAX_PRIORITY} for user-defined rules.")))
}

/// Checks the name: a trait where the resource requires one, otherwise any name.
fn check_patched_name(resource: &Resource, members: &Map<String, Value>) -> Result<(), Error> {
    let Some(text) = members.get("name").and_then(Value::as_str) else { return Ok(()) };
    match resource.path {
        "deploy_templates" => name::check_trait("patch", text),
        "runbooks" if text.is_empty() => Err(schema_error("patch", "'' should be non-empty")),
        "webhooks" => name::check_logical("patch", text),
        _ => Ok(()),
    }
}

/// Checks names of resources other than nodes, and traits.
fn check_names(resource: &Resource, version: Version, members: &Map<String, Value>) -> Result<(), Error> {
    let traits = members.get("traits").and_then(Value::as_array).into_iter().flatten();
    for item in traits {
        name::check_trait(resource.schema_name, item.as_str().unwrap_or_default())?;
    }
    if members.get("physical_network").and_then(Value::as_str) == Some("") {
        return Err(Class::Invalid.error("A non-empty value is required when setting physical_network"));
    }
    let link = members.get("local_link_connection").and_then(Value::as_object);
    link.map_or(Ok(()), link::check)?;
    let Some(text) = members.get("name").and_then(Value::as_str) else { return Ok(()) };
    match resource.path {
        "deploy_templates" => name::check_trait(resource.schema_name, text),
        "runbooks" if !version.has(RUNBOOK_NAMES_SINCE) => name::check_trait(resource.schema_name, text),
        "portgroups" | "runbooks" | "webhooks" => name::check_logical(resource.schema_name, text),
        "allocations" => name::check_logical("allocation", text),
        _ => Ok(()),
    }
}

fn check_versions(resource: &Resource, version: Version, members: &Map<String, Value>) -> Result<(), Error> {
    let newer = |name: &String| resource.field(name).is_some_and(|field| !version.has(field.since));
    let unmanaged = members.get("local_link_connection").is_some_and(|link| link.get("network_type").is_some());
    if members.keys().any(newer) || (unmanaged && !version.has(NETWORK_TYPE_SINCE)) {
        return Err(text::not_acceptable());
    }
    Ok(())
}
