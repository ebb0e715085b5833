//! Deploy templates: steps that a trait brings into a deployment.

use super::Kind::{Name, Object, Steps, Text, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of deploy templates.
pub static DEPLOY_TEMPLATE: Resource = Resource {
    path: "deploy_templates",
    plural: "deploy_templates",
    word: "template",
    since: 55,
    key: "uuid",
    unknown: Unknown::Listed,
    patchable: &["extra", "name", "steps", "description"],
    fields: &[
        Field::new("created_at", 55, Time),
        // Accepted because it is in the schema, but no version shows it.
        Field::new("description", 55, Text).set().longest(255).hidden(),
        Field::new("extra", 55, Object).set(),
        Field::new("name", 55, Name).column().must().patch(),
        Field::new("steps", 55, Steps).must().patch().masked(),
        Field::new("updated_at", 55, Time),
        Field::new("uuid", 55, Uuid).column().post().initial(Initial::Fresh),
    ],
};
