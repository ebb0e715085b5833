//! Why a datagram was not taken.

/// A datagram that was dropped. The session goes on as if it had never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It stops before a field that must be there.
    #[error("it ends early")]
    Truncated,
    /// Not RMCP 1.0, or not a message class, authentication type or payload that we speak.
    #[error("it is not IPMI over RMCP")]
    Foreign,
    /// A length, a checksum or a padding contradicts the rest.
    #[error("it contradicts itself")]
    Inconsistent,
    /// Its integrity check value is wrong or absent, so anybody may have sent it.
    #[error("it is not authenticated")]
    Unauthentic,
    /// Its sequence number was seen before, or is too old to tell.
    #[error("it is a repetition")]
    Replayed,
    /// It names another session, or answers no outstanding request.
    #[error("it answers nothing that was asked")]
    Unexpected,
}
