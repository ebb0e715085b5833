//! Reasons for rejecting the credentials of a request.

/// Reason for rejecting the credentials of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The credentials are missing or wrong.
    Unknown(String),
    /// The credentials cannot be verified now; the client may retry.
    Away(String),
}
