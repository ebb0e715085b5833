//! Port groups: bonds of ports.

use super::Kind::{Flag, Name, Object, Strict, Text, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of port groups.
pub static PORTGROUP: Resource = Resource {
    path: "portgroups",
    plural: "portgroups",
    word: "portgroup",
    since: 23,
    key: "uuid",
    unknown: Unknown::Listed,
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
        Field::new("address", 23, Text).column().set(),
        Field::new("category", 103, Text).set().longest(80),
        Field::new("created_at", 23, Time),
        Field::new("dynamic_portgroup", 111, Strict).initial(Initial::False),
        Field::new("extra", 23, Object).set(),
        Field::new("internal_info", 23, Object),
        Field::new("mode", 26, Text).set().initial(Initial::Text("active-backup")),
        Field::new("name", 23, Text).column().set(),
        Field::new("node_uuid", 23, Name).unsorted().must().patch(),
        Field::new("physical_network", 102, Text).set().longest(64),
        Field::new("properties", 26, Object).set(),
        Field::new("standalone_ports_supported", 23, Flag).set().initial(Initial::True),
        Field::new("updated_at", 23, Time),
        Field::new("uuid", 23, Uuid).column().post().initial(Initial::Fresh),
    ],
};
