//! Requests that were carried out, so that none is carried out twice (idempotency).

use domain::{id::OperationId, time::Timestamp};
use serde::{Deserialize, Serialize};

/// A request that was carried out. It is stored in the same transaction as its change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// SHA-256, in hexadecimal, of the request: the same id with another request is an error of the client.
    pub digest: String,
    /// When it was carried out.
    pub at: Timestamp,
    /// The operation that it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// The answer as it was sent, in base64. Empty if it was not sent yet, or is too long to be stored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
}
