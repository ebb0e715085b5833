//! Allocations: requests for a node of a class.

use super::Kind::{List, Object, Text, Time, Uuid};
use super::{Field, Initial, Resource, UnknownFieldError};

/// The table; source: the API reference of allocations.
pub static ALLOCATION: Resource = Resource {
    path: "allocations",
    plural: "allocations",
    schema_name: "",
    since: 52,
    key: "uuid",
    unknown_field_error: UnknownFieldError::ListsKnown,
    patchable: &["name", "extra"],
    fields: &[
        Field::new("candidate_nodes", 52, List).in_summary().post(),
        Field::new("created_at", 52, Time).in_summary(),
        Field::new("extra", 52, Object).in_summary().writable().masked(),
        Field::new("last_error", 52, Text).in_summary(),
        Field::new("name", 52, Text).in_summary().writable(),
        // The node of a backfill; shown as node_uuid.
        Field::new("node", 58, Text).post().hidden(),
        Field::new("node_uuid", 52, Uuid).in_summary().no_sort_key(),
        Field::new("owner", 60, Text).in_summary().post(),
        Field::new("resource_class", 52, Text).in_summary().post().max_chars(80),
        Field::new("state", 52, Text).in_summary().initial(Initial::Text("allocating")),
        Field::new("traits", 52, List).in_summary().post(),
        Field::new("updated_at", 52, Time).in_summary(),
        Field::new("uuid", 52, Uuid).in_summary().post().initial(Initial::NewUuid),
    ],
};
