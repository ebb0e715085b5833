//! Progress of webhooks.

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Progress of a webhook's deliveries. The next leader continues from here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The revision up to which everything was delivered.
    pub revision: i64,
    /// When the last delivery succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// When deliveries began to fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Reason the last delivery failed. Empty if it succeeded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}
