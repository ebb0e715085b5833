//! Runbooks: named lists of steps for cleaning and servicing.

use super::Kind::{Bool, List, Name, Object, Steps, Text, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of runbooks.
pub static RUNBOOK: Resource = Resource {
    path: "runbooks",
    plural: "runbooks",
    word: "runbook",
    since: 92,
    key: "uuid",
    unknown: Unknown::All,
    patchable: &["disable_ramdisk", "extra", "name", "owner", "public", "steps", "description"],
    fields: &[
        Field::new("created_at", 92, Time),
        Field::new("description", 112, Text).set().longest(255),
        Field::new("disable_ramdisk", 92, Bool).set().initial(Initial::False),
        Field::new("extra", 92, Object).set(),
        Field::new("name", 92, Name).column().must().patch(),
        Field::new("owner", 92, Text).set().longest(255),
        Field::new("public", 92, Bool).set().initial(Initial::False),
        Field::new("steps", 92, Steps).must().patch().masked(),
        Field::new("traits", 112, List),
        Field::new("updated_at", 92, Time),
        Field::new("uuid", 92, Uuid).column().post().initial(Initial::Fresh),
    ],
};
