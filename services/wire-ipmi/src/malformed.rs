//! Reasons to drop a datagram.

/// Reason to drop a datagram. The state of the session does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends before a required field.
    #[error("it ends early")]
    Truncated,
    /// It is not RMCP 1.0, or has an unsupported message class, authentication type or payload.
    #[error("it is not IPMI over RMCP")]
    Foreign,
    /// A length, a checksum or a padding is inconsistent.
    #[error("it contradicts itself")]
    Inconsistent,
    /// Its integrity check value is invalid or missing.
    #[error("it is not authenticated")]
    Unauthentic,
    /// Its sequence number was received before, or is too old.
    #[error("it is a repetition")]
    Replayed,
    /// It belongs to another session, or to no outstanding request.
    #[error("it answers nothing that was asked")]
    Unexpected,
}
