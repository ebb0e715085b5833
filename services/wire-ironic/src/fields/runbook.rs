//! Runbooks: named lists of steps for cleaning and servicing.

use super::Kind::{Bool, List, Name, Object, Steps, Text, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of runbooks.
pub static RUNBOOK: Resource = Resource {
    path: "runbooks",
    plural: "runbooks",
    schema_name: "runbook",
    since: 92,
    key: "uuid",
    unknown_field_error: UnknownFieldError::NamesAll,
    patchable: &["disable_ramdisk", "extra", "name", "owner", "public", "steps", "description"],
    fields: &[
        Field::new("created_at", 92, Time),
        Field::new("description", 112, Text).writable().max_chars(255),
        Field::new("disable_ramdisk", 92, Bool).writable().initial(Initial::False),
        Field::new("extra", 92, Object).writable(),
        Field::new("name", 92, Name).in_summary().required().patch(),
        Field::new("owner", 92, Text).writable().max_chars(255),
        Field::new("public", 92, Bool).writable().initial(Initial::False),
        Field::new("steps", 92, Steps).required().patch().masked(),
        Field::new("traits", 112, List),
        Field::new("updated_at", 92, Time),
        Field::new("uuid", 92, Uuid).in_summary().post().initial(Initial::NewUuid),
    ],
};
