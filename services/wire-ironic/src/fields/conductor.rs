//! Conductors: the services that act on nodes.

use super::Kind::{List, Name, Strict, Text, Time};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of conductors.
pub static CONDUCTOR: Resource = Resource {
    path: "conductors",
    plural: "conductors",
    schema_name: "",
    since: 49,
    key: "hostname",
    unknown_field_error: UnknownFieldError::ListsKnown,
    patchable: &[],
    fields: &[
        Field::new("alive", 49, Strict).unsortable().in_summary().initial(Initial::True),
        Field::new("conductor_group", 49, Text).in_summary().initial(Initial::Text("")),
        Field::new("created_at", 49, Time),
        Field::new("drivers", 49, List),
        Field::new("hostname", 49, Name).in_summary(),
        Field::new("updated_at", 49, Time),
    ],
};
