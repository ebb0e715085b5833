//! Volume targets: the volumes themselves.

use super::Kind::{Integer, Name, Object, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of volumes.
pub static VOLUME_TARGET: Resource = Resource {
    path: "volume/targets",
    plural: "targets",
    schema_name: "target",
    since: 32,
    key: "uuid",
    unknown_field_error: UnknownFieldError::ListsKnown,
    patchable: &["boot_index", "extra", "node_uuid", "properties", "volume_id", "volume_type"],
    fields: &[
        Field::new("boot_index", 32, Integer).in_summary().required().patch(),
        Field::new("created_at", 32, Time),
        Field::new("extra", 32, Object).writable().masked(),
        Field::new("node_uuid", 32, Name).in_summary().no_sort_key().required().patch(),
        Field::new("properties", 32, Object).writable().masked(),
        Field::new("updated_at", 32, Time),
        Field::new("uuid", 32, Uuid).in_summary().post().initial(Initial::NewUuid),
        Field::new("volume_id", 32, Name).in_summary().required().patch(),
        Field::new("volume_type", 32, Name).in_summary().required().patch(),
    ],
};
