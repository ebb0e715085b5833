//! Port groups: bonds of ports.

use super::Kind::{Flag, Name, Object, Strict, Text, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of port groups.
pub static PORTGROUP: Resource = Resource {
    path: "portgroups",
    plural: "portgroups",
    schema_name: "portgroup",
    since: 23,
    key: "uuid",
    unknown_field_error: UnknownFieldError::ListsKnown,
    patchable: &[
        "address",
        "extra",
        "mode",
        "name",
        "node_uuid",
        "properties",
        "standalone_ports_supported",
        "physical_network",
        "category",
    ],
    fields: &[
        Field::new("address", 23, Text).in_summary().writable(),
        Field::new("category", 103, Text).writable().max_chars(80),
        Field::new("created_at", 23, Time),
        Field::new("dynamic_portgroup", 111, Strict).initial(Initial::False),
        Field::new("extra", 23, Object).writable().masked(),
        Field::new("internal_info", 23, Object),
        Field::new("mode", 26, Text).writable().initial(Initial::Text("active-backup")),
        Field::new("name", 23, Text).in_summary().writable(),
        Field::new("node_uuid", 23, Name).no_sort_key().required().patch(),
        Field::new("physical_network", 102, Text).writable().max_chars(64),
        Field::new("properties", 26, Object).writable().masked(),
        Field::new("standalone_ports_supported", 23, Flag).writable().initial(Initial::True),
        Field::new("updated_at", 23, Time),
        Field::new("uuid", 23, Uuid).in_summary().post().initial(Initial::NewUuid),
    ],
};
