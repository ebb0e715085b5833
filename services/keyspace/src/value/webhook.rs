//! Webhooks beside what clients keep of them.

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a webhook's receiver has been told. Whoever leads next goes on from here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The store's revision up to which it was told everything.
    pub revision: i64,
    /// When it last took something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Since when it takes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Why it took nothing when it was tried last; empty: it took all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}
