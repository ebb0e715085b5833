//! Ports: NICs of nodes.

use super::Kind::{Flag, Name, Object, Strict, Text, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of ports.
pub static PORT: Resource = Resource {
    path: "ports",
    plural: "ports",
    schema_name: "port",
    since: 1,
    key: "uuid",
    unknown_field_error: UnknownFieldError::NamesAll,
    patchable: &[
        "address",
        "extra",
        "is_smartnic",
        "local_link_connection",
        "node_ident",
        "node_uuid",
        "physical_network",
        "portgroup_uuid",
        "pxe_enabled",
        "name",
        "description",
        "vendor",
        "category",
        "available_for_dynamic_portgroup",
    ],
    fields: &[
        Field::new("address", 1, Name).in_summary().required().patch(),
        Field::new("available_for_dynamic_portgroup", 111, Strict).writable().initial(Initial::True),
        Field::new("category", 101, Text).writable().max_chars(80),
        Field::new("created_at", 1, Time),
        Field::new("description", 97, Text).writable().max_chars(255),
        Field::new("extra", 1, Object).writable().masked(),
        Field::new("internal_info", 18, Object),
        Field::new("is_smartnic", 53, Flag).writable().initial(Initial::False),
        Field::new("local_link_connection", 19, Object).writable(),
        Field::new("name", 88, Text).writable(),
        // Name or UUID of the node, as an alternative to node_uuid.
        Field::new("node_ident", 94, Name).writable().hidden(),
        Field::new("node_uuid", 1, Name).no_sort_key().writable(),
        Field::new("physical_network", 34, Text).writable().max_chars(64),
        Field::new("portgroup_uuid", 24, Uuid).no_sort_key().writable(),
        Field::new("pxe_enabled", 19, Flag).writable().initial(Initial::True),
        Field::new("updated_at", 1, Time),
        Field::new("uuid", 1, Uuid).in_summary().post().initial(Initial::NewUuid),
        Field::new("vendor", 100, Text).writable().max_chars(32),
    ],
};
