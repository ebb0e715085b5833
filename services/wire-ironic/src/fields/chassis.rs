//! Chassis: enclosures of nodes.

use super::Kind::{Object, Text, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of chassis.
pub static CHASSIS: Resource = Resource {
    path: "chassis",
    plural: "chassis",
    schema_name: "chassis",
    since: 1,
    key: "uuid",
    unknown_field_error: UnknownFieldError::ListsKnown,
    patchable: &["uuid", "extra", "description"],
    fields: &[
        Field::new("created_at", 1, Time),
        Field::new("description", 1, Text).in_summary().writable().max_chars(255),
        Field::new("extra", 1, Object).writable().masked(),
        Field::new("updated_at", 1, Time),
        Field::new("uuid", 1, Uuid).in_summary().writable().initial(Initial::NewUuid),
    ],
};
