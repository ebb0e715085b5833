//! Ports: NICs of nodes.

use super::Kind::{Flag, Name, Object, Strict, Text, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of ports.
pub static PORT: Resource = Resource {
    path: "ports",
    plural: "ports",
    word: "port",
    since: 1,
    key: "uuid",
    unknown: Unknown::All,
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
        Field::new("address", 1, Name).column().must().patch(),
        Field::new("available_for_dynamic_portgroup", 111, Strict).set().initial(Initial::True),
        Field::new("category", 101, Text).set().longest(80),
        Field::new("created_at", 1, Time),
        Field::new("description", 97, Text).set().longest(255),
        Field::new("extra", 1, Object).set(),
        Field::new("internal_info", 18, Object),
        Field::new("is_smartnic", 53, Flag).set().initial(Initial::False),
        Field::new("local_link_connection", 19, Object).set(),
        Field::new("name", 88, Text).set(),
        // Name or UUID of the node, as an alternative to node_uuid.
        Field::new("node_ident", 94, Name).set().hidden(),
        Field::new("node_uuid", 1, Name).unsorted().set(),
        Field::new("physical_network", 34, Text).set().longest(64),
        Field::new("portgroup_uuid", 24, Uuid).unsorted().set(),
        Field::new("pxe_enabled", 19, Flag).set().initial(Initial::True),
        Field::new("updated_at", 1, Time),
        Field::new("uuid", 1, Uuid).column().post().initial(Initial::Fresh),
        Field::new("vendor", 100, Text).set().longest(32),
    ],
};
