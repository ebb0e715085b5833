//! Inspection rules: actions on the results of an inspection.

use super::Kind::{Bool, Integer, List, Steps, Text, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of inspection rules.
pub static INSPECTION_RULE: Resource = Resource {
    path: "inspection_rules",
    plural: "inspection_rules",
    word: "",
    since: 96,
    key: "uuid",
    unknown: Unknown::All,
    patchable: &["description", "priority", "sensitive", "phase", "conditions", "actions", "uuid"],
    fields: &[
        Field::new("actions", 96, Steps).must().patch(),
        Field::new("conditions", 96, List).set(),
        Field::new("created_at", 96, Time),
        Field::new("description", 96, Text).column().set().longest(255),
        Field::new("phase", 96, Text).column().set().longest(16).initial(Initial::Text("main")),
        Field::new("priority", 96, Integer).column().set().initial(Initial::Number(0)),
        Field::new("sensitive", 96, Bool).set().initial(Initial::False),
        Field::new("updated_at", 96, Time),
        Field::new("uuid", 96, Uuid).column().set().initial(Initial::Fresh),
    ],
};
