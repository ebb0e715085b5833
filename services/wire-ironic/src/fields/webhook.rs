//! Webhooks: URLs to which the scheduler sends the states of nodes. An extension to Ironic's API.

use super::Kind::{Flag, Integer, Name, Object, Text, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table. Requests are signed as the Standard Webhooks specification requires.
pub static WEBHOOK: Resource = Resource {
    path: "webhooks",
    plural: "webhooks",
    schema_name: "webhook",
    since: 1,
    key: "uuid",
    unknown_field_error: UnknownFieldError::ListsKnown,
    patchable: &["name", "description", "url", "query", "delivery_info", "enabled", "extra"],
    fields: &[
        Field::new("created_at", 1, Time),
        Field::new("delivered_at", 1, Time).in_summary(),
        // Store revision up to which all changes are delivered, or 0.
        Field::new("delivered_revision", 1, Integer),
        // `secret` is the key of the signature, `token` a bearer token, `ca` (PEM) verifies the receiver.
        Field::new("delivery_info", 1, Object).required().patch().masked(),
        Field::new("description", 1, Text).writable().max_chars(255),
        Field::new("enabled", 1, Flag).in_summary().writable().initial(Initial::True),
        Field::new("extra", 1, Object).writable(),
        Field::new("failing_since", 1, Time).in_summary(),
        Field::new("last_error", 1, Text),
        Field::new("name", 1, Name).in_summary().required().patch().max_chars(255),
        // Query of a list of nodes.
        Field::new("query", 1, Text).writable().max_chars(2048),
        Field::new("updated_at", 1, Time),
        Field::new("url", 1, Name).in_summary().required().patch().max_chars(2048),
        Field::new("uuid", 1, Uuid).in_summary().post().initial(Initial::NewUuid),
    ],
};
