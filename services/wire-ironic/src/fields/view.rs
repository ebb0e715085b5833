//! Visible fields of a resource, by API version.

use serde_json::{Map, Value};

use super::{Columns, Field, FieldSource, FieldValue, Initial, Kind, NODE, Resource, mask};
use crate::version::Version;

/// Returns the visible fields of a resource: leaves out newer fields, translates newer values to older ones, masks secrets.
///
/// Fields that `whole` lacks have their initial values. Links are not fields: see [`crate::links`].
#[must_use]
pub fn view(resource: &Resource, version: Version, columns: &Columns, whole: &impl FieldSource) -> Map<String, Value> {
    shown(resource, version, columns)
        .map(|field| (field.name.to_owned(), seen(resource, version, field, whole.field(field.name)).into_json()))
        .collect()
}

/// Returns the visible fields, in the order of the table.
pub(crate) fn shown<'a>(
    resource: &'a Resource,
    version: Version,
    columns: &'a Columns,
) -> impl Iterator<Item = &'static Field> + 'a {
    resource.fields.iter().filter(move |field| version.has(field.since) && !field.hidden && columns.show(field.name))
}

/// Returns the value of a field in a version. `value` is `None` for the initial value.
pub(crate) fn seen<'a>(
    resource: &Resource,
    version: Version,
    field: &Field,
    value: Option<FieldValue<'a>>,
) -> FieldValue<'a> {
    match value {
        None => initial(field.initial).into(),
        Some(value) if field.kind == Kind::Object && value.is_null() => initial(field.initial).into(),
        Some(value) if field.masked && value.as_object().is_none_or(mask::has_masked) => {
            mask::masked(value.into_json()).into()
        }
        Some(value) if resource.path == "nodes" && field.name == "provision_state" => renamed(version, value),
        Some(value) => value,
    }
}

/// Returns the first state of a new node; old clients expect one that can be deployed at once.
#[must_use]
pub const fn first_state(version: Version) -> &'static str {
    if version.has(11) { "enroll" } else { "available" }
}

/// Fields of `/v1/nodes/<node>/states`.
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

/// Returns the states of a node in a version.
#[must_use]
pub fn node_states(version: Version, whole: &impl FieldSource) -> Map<String, Value> {
    view(&NODE, version, &Columns::These(STATES.to_vec()), whole)
}

/// Initial value from the tables. A fresh UUID and a driver's default are not among them.
pub(crate) fn initial(initial: Initial) -> Value {
    match initial {
        Initial::Null | Initial::NewUuid | Initial::DriverDefault => Value::Null,
        Initial::EmptyObject => Value::Object(Map::new()),
        Initial::EmptyList => Value::Array(Vec::new()),
        Initial::False => Value::Bool(false),
        Initial::True => Value::Bool(true),
        Initial::Text(text) => Value::from(text),
        Initial::Number(number) => Value::from(number),
    }
}

/// Returns the name that a provision state has in a version.
fn renamed(version: Version, value: FieldValue<'_>) -> FieldValue<'_> {
    let Some(state) = value.as_str() else { return value };
    match provision_state(version, state) {
        Some(same) if same == state => value,
        other => other.map(str::to_owned).into(),
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
