//! Webhooks: URLs to which the scheduler sends the states of nodes. An extension to Ironic's API.

use super::Kind::{Flag, Integer, Name, Object, Text, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table. Requests are signed as the Standard Webhooks specification requires.
pub static WEBHOOK: Resource = Resource {
    path: "webhooks",
    plural: "webhooks",
    word: "webhook",
    since: 1,
    key: "uuid",
    unknown: Unknown::Listed,
    patchable: &["name", "description", "url", "query", "delivery_info", "enabled", "extra"],
    fields: &[
        Field::new("created_at", 1, Time),
        Field::new("delivered_at", 1, Time).column(),
        // Store revision up to which all changes are delivered, or 0.
        Field::new("delivered_revision", 1, Integer),
        // `secret` is the key of the signature, `token` a bearer token, `ca` (PEM) verifies the receiver.
        Field::new("delivery_info", 1, Object).must().patch().masked(),
        Field::new("description", 1, Text).set().longest(255),
        Field::new("enabled", 1, Flag).column().set().initial(Initial::True),
        Field::new("extra", 1, Object).set(),
        Field::new("failing_since", 1, Time).column(),
        Field::new("last_error", 1, Text),
        Field::new("name", 1, Name).column().must().patch().longest(255),
        // Query of a list of nodes.
        Field::new("query", 1, Text).set().longest(2048),
        Field::new("updated_at", 1, Time),
        Field::new("url", 1, Name).column().must().patch().longest(2048),
        Field::new("uuid", 1, Uuid).column().post().initial(Initial::Fresh),
    ],
};
