//! Volume connectors: how a node reaches its volumes.

use super::Kind::{Name, Object, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of volumes.
pub static VOLUME_CONNECTOR: Resource = Resource {
    path: "volume/connectors",
    plural: "connectors",
    word: "connector",
    since: 32,
    key: "uuid",
    unknown: Unknown::Listed,
    patchable: &["connector_id", "extra", "node_uuid", "type"],
    fields: &[
        Field::new("connector_id", 32, Name).column().must().patch(),
        Field::new("created_at", 32, Time),
        Field::new("extra", 32, Object).set(),
        Field::new("node_uuid", 32, Name).column().unsorted().must().patch(),
        Field::new("type", 32, Name).column().must().patch(),
        Field::new("updated_at", 32, Time),
        Field::new("uuid", 32, Uuid).column().post().initial(Initial::Fresh),
    ],
};
