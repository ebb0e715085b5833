//! Why a request is not let through.

/// Why a request is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Who asks did not say who he is, or it is not true.
    Unknown(String),
    /// It can not be found out now: come again.
    Away(String),
}
