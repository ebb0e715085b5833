//! Records of Ironic's API.

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What clients of the REST API set on a resource, by the field names of that API's newest version.
///
/// A field that no client set is absent and has its initial value from `wire_ironic`'s table. A secret is stored as
/// `{"sealed": …}` in place of its value, sealed for its place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sheet {
    /// The fields.
    pub fields: Map<String, Value>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed. `None` if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}
