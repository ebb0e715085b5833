//! A resource as a version sees it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Columns, Field, Initial, Kind, NODE, Resource, mask};
use crate::version::Version;

/// What of a whole resource a request sees: newer fields are left out, values of newer words are put into older ones,
/// secrets are masked.
///
/// `whole` may lack fields, which then are what they are initially. Links are not fields: [`crate::links`] has them.
#[must_use]
pub fn view(
    resource: &Resource,
    version: Version,
    columns: &Columns,
    whole: &Map<String, Value>,
) -> Map<String, Value> {
    shown(resource, version, columns)
        .map(|field| (field.name.to_owned(), seen(resource, version, field, whole.get(field.name)).into_owned()))
        .collect()
}

/// The fields that a request sees, in the order of the table.
pub(crate) fn shown<'a>(
    resource: &'a Resource,
    version: Version,
    columns: &'a Columns,
) -> impl Iterator<Item = &'static Field> + 'a {
    resource.fields.iter().filter(move |field| version.has(field.since) && !field.hidden && columns.show(field.name))
}

/// The value of a field as a version sees it.
pub(crate) fn seen<'a>(
    resource: &Resource,
    version: Version,
    field: &Field,
    value: Option<&'a Value>,
) -> Cow<'a, Value> {
    let value = match value {
        Some(Value::Null) if field.kind == Kind::Object => Cow::Owned(initial(field.initial)),
        Some(value) if field.masked => Cow::Owned(mask::masked(value.clone())),
        Some(value) => Cow::Borrowed(value),
        None => Cow::Owned(initial(field.initial)),
    };
    renamed(resource, version, field.name, value)
}

/// Where a new node begins; clients of old expect one that can be deployed at once.
#[must_use]
pub const fn first_state(version: Version) -> &'static str {
    if version.has(11) { "enroll" } else { "available" }
}

/// What `/v1/nodes/<node>/states` shows.
pub(crate) const STATES: &[&str] = &[
    "boot_mode",
    "console_enabled",
    "last_error",
    "power_state",
    "provision_state",
    "provision_updated_at",
    "raid_config",
    "secure_boot",
    "target_power_state",
    "target_provision_state",
    "target_raid_config",
];

/// The states of a whole node, as a version sees them.
#[must_use]
pub fn node_states(version: Version, whole: &Map<String, Value>) -> Map<String, Value> {
    view(&NODE, version, &Columns::These(STATES.to_vec()), whole)
}

/// Initial value from the tables. A fresh UUID and a driver's default are not among them.
pub(crate) fn initial(initial: Initial) -> Value {
    match initial {
        Initial::Null | Initial::Fresh | Initial::Driver => Value::Null,
        Initial::Empty => Value::Object(Map::new()),
        Initial::Nothing => Value::Array(Vec::new()),
        Initial::False => Value::Bool(false),
        Initial::True => Value::Bool(true),
        Initial::Text(text) => Value::from(text),
        Initial::Number(number) => Value::from(number),
    }
}

fn renamed<'a>(resource: &Resource, version: Version, name: &str, value: Cow<'a, Value>) -> Cow<'a, Value> {
    if resource.path != "nodes" || name != "provision_state" {
        return value;
    }
    let Some(state) = value.as_str() else { return value };
    match provision_state(version, state) {
        Some(same) if same == state => value,
        other => Cow::Owned(other.map_or(Value::Null, Value::from)),
    }
}

/// Name of a provision state in a version: before 2 an available node had none, before 39 there was no `inspect wait`.
#[must_use]
pub fn provision_state(version: Version, state: &str) -> Option<&str> {
    match state {
        "available" if !version.has(2) => None,
        "inspect wait" if !version.has(39) => Some("inspecting"),
        state => Some(state),
    }
}
