//! What Ironic's clients keep at a resource.

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What clients of the REST API said of a resource, by the names of that API at its newest version.
///
/// A field that nobody set is not there, and is what `wire_ironic`'s table says it is initially. A secret stands as
/// `{"sealed": …}` where its value was, sealed for its place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sheet {
    /// The fields.
    pub fields: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}
