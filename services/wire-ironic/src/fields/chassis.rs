//! Chassis: enclosures of nodes.

use super::Kind::{Object, Text, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of chassis.
pub static CHASSIS: Resource = Resource {
    path: "chassis",
    plural: "chassis",
    word: "chassis",
    since: 1,
    key: "uuid",
    unknown: Unknown::Listed,
    patchable: &["uuid", "extra", "description"],
    fields: &[
        Field::new("created_at", 1, Time),
        Field::new("description", 1, Text).column().set().longest(255),
        Field::new("extra", 1, Object).set(),
        Field::new("updated_at", 1, Time),
        Field::new("uuid", 1, Uuid).column().set().initial(Initial::Fresh),
    ],
};
