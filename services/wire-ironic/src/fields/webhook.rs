//! Webhooks: who is told of what nodes become, by requests that we make. Not of Ironic's; stock clients know nothing of it.

use super::Kind::{Flag, Integer, Name, Object, Text, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table. How what is sent is signed: the Standard Webhooks specification.
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
        // The store's revision up to which everything was delivered; 0: nothing yet.
        Field::new("delivered_revision", 1, Integer),
        // `secret` signs, `token` is the bearer's, `ca` (PEM) vouches for the receiver.
        Field::new("delivery_info", 1, Object).must().patch().masked(),
        Field::new("description", 1, Text).set().longest(255),
        Field::new("enabled", 1, Flag).column().set().initial(Initial::True),
        Field::new("extra", 1, Object).set(),
        Field::new("failing_since", 1, Time).column(),
        Field::new("last_error", 1, Text),
        Field::new("name", 1, Name).column().must().patch().longest(255),
        // What stands behind the question mark of a list of nodes.
        Field::new("query", 1, Text).set().longest(2048),
        Field::new("updated_at", 1, Time),
        Field::new("url", 1, Name).column().must().patch().longest(2048),
        Field::new("uuid", 1, Uuid).column().post().initial(Initial::Fresh),
    ],
};
