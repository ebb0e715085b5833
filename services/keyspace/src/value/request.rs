//! Requests that were carried out, so that none is carried out twice.

use domain::{id::OperationId, time::Timestamp};
use serde::{Deserialize, Serialize};

/// A request that was carried out. It is stored in the transaction of the change itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The SHA-256 (hexadecimal) of what was asked: the same id with something else is an error of its sender.
    pub digest: String,
    /// When.
    pub at: Timestamp,
    /// The operation that it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// The answer, as it was sent (base64 of the message); empty: it was not sent yet, or is too long to be kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
}
