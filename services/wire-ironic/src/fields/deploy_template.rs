//! Deploy templates: steps that a trait brings into a deployment.

use super::Kind::{Name, Object, Steps, Text, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of deploy templates.
pub static DEPLOY_TEMPLATE: Resource = Resource {
    path: "deploy_templates",
    plural: "deploy_templates",
    schema_name: "template",
    since: 55,
    key: "uuid",
    unknown_field_error: UnknownFieldError::ListsKnown,
    patchable: &["extra", "name", "steps", "description"],
    fields: &[
        Field::new("created_at", 55, Time),
        // Accepted because it is in the schema, but no version shows it.
        Field::new("description", 55, Text).writable().max_chars(255).hidden(),
        Field::new("extra", 55, Object).writable(),
        Field::new("name", 55, Name).in_summary().required().patch(),
        Field::new("steps", 55, Steps).required().patch().masked(),
        Field::new("updated_at", 55, Time),
        Field::new("uuid", 55, Uuid).in_summary().post().initial(Initial::NewUuid),
    ],
};
