//! Inspection rules: actions on the results of an inspection.

use super::Kind::{Bool, Integer, List, Steps, Text, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of inspection rules.
pub static INSPECTION_RULE: Resource = Resource {
    path: "inspection_rules",
    plural: "inspection_rules",
    schema_name: "",
    since: 96,
    key: "uuid",
    unknown_field_error: UnknownFieldError::NamesAll,
    patchable: &["description", "priority", "sensitive", "phase", "conditions", "actions", "uuid"],
    fields: &[
        Field::new("actions", 96, Steps).required().patch(),
        Field::new("conditions", 96, List).writable(),
        Field::new("created_at", 96, Time),
        Field::new("description", 96, Text).in_summary().writable().max_chars(255),
        Field::new("phase", 96, Text).in_summary().writable().max_chars(16).initial(Initial::Text("main")),
        Field::new("priority", 96, Integer).in_summary().writable().initial(Initial::Number(0)),
        Field::new("sensitive", 96, Bool).writable().initial(Initial::False),
        Field::new("updated_at", 96, Time),
        Field::new("uuid", 96, Uuid).in_summary().writable().initial(Initial::NewUuid),
    ],
};
