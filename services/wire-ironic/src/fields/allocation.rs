//! Allocations: requests for a node of a class.

use super::Kind::{List, Object, Text, Time, Uuid};
use super::{Field, Initial, Resource, Unknown};

/// The table; source: the API reference of allocations.
pub static ALLOCATION: Resource = Resource {
    path: "allocations",
    plural: "allocations",
    word: "",
    since: 52,
    key: "uuid",
    unknown: Unknown::Listed,
    patchable: &["name", "extra"],
    fields: &[
        Field::new("candidate_nodes", 52, List).column().post(),
        Field::new("created_at", 52, Time).column(),
        Field::new("extra", 52, Object).column().set(),
        Field::new("last_error", 52, Text).column(),
        Field::new("name", 52, Text).column().set(),
        // The node of a backfill; shown as node_uuid.
        Field::new("node", 58, Text).post().hidden(),
        Field::new("node_uuid", 52, Uuid).column().unsorted(),
        Field::new("owner", 60, Text).column().post(),
        Field::new("resource_class", 52, Text).column().post().longest(80),
        Field::new("state", 52, Text).column().initial(Initial::Text("allocating")),
        Field::new("traits", 52, List).column().post(),
        Field::new("updated_at", 52, Time).column(),
        Field::new("uuid", 52, Uuid).column().post().initial(Initial::Fresh),
    ],
};
