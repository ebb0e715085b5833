//! Volume connectors: how a node reaches its volumes.

use super::Kind::{Name, Object, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of volumes.
pub static VOLUME_CONNECTOR: Resource = Resource {
    path: "volume/connectors",
    plural: "connectors",
    schema_name: "connector",
    since: 32,
    key: "uuid",
    unknown_field_error: UnknownFieldError::ListsKnown,
    patchable: &["connector_id", "extra", "node_uuid", "type"],
    fields: &[
        Field::new("connector_id", 32, Name).in_summary().required().patch(),
        Field::new("created_at", 32, Time),
        Field::new("extra", 32, Object).writable().masked(),
        Field::new("node_uuid", 32, Name).in_summary().no_sort_key().required().patch(),
        Field::new("type", 32, Name).in_summary().required().patch(),
        Field::new("updated_at", 32, Time),
        Field::new("uuid", 32, Uuid).in_summary().post().initial(Initial::NewUuid),
    ],
};
