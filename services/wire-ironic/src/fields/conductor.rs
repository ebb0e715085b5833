//! Conductors: the services that act on nodes.

use super::Kind::{List, Name, Strict, Text, Time};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of conductors.
pub static CONDUCTOR: Resource = Resource {
    path: "conductors",
    plural: "conductors",
    word: "",
    since: 49,
    key: "hostname",
    unknown: Unknown::Listed,
    patchable: &[],
    fields: &[
        Field::new("alive", 49, Strict).known().column().initial(Initial::True),
        Field::new("conductor_group", 49, Text).column().initial(Initial::Text("")),
        Field::new("created_at", 49, Time),
        Field::new("drivers", 49, List),
        Field::new("hostname", 49, Name).column(),
        Field::new("updated_at", 49, Time),
    ],
};
