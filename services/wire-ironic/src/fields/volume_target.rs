//! Volume targets: the volumes themselves.

use super::Kind::{Integer, Name, Object, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of volumes.
pub static VOLUME_TARGET: Resource = Resource {
    path: "volume/targets",
    plural: "targets",
    word: "target",
    since: 32,
    key: "uuid",
    unknown: Unknown::Listed,
    patchable: &["boot_index", "extra", "node_uuid", "properties", "volume_id", "volume_type"],
    fields: &[
        Field::new("boot_index", 32, Integer).column().must().patch(),
        Field::new("created_at", 32, Time),
        Field::new("extra", 32, Object).set(),
        Field::new("node_uuid", 32, Name).column().unsorted().must().patch(),
        Field::new("properties", 32, Object).set().masked(),
        Field::new("updated_at", 32, Time),
        Field::new("uuid", 32, Uuid).column().post().initial(Initial::Fresh),
        Field::new("volume_id", 32, Name).column().must().patch(),
        Field::new("volume_type", 32, Name).column().must().patch(),
    ],
};
