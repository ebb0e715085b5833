//! Wire types to domain types and back: the only place that validates a message.
//!
//! A message that passes is valid everywhere else; [`Invalid`] names the field of one that does not.

mod kinds;
pub mod mask;
mod node;
mod power;
mod report;
pub mod time;
mod work;

pub use work::encoding_word;

use std::str::FromStr;

/// A field of a message that is missing or invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A required field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has an invalid value.
    #[error("{field}: {why}")]
    Wrong {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Invalid {
    /// Reports that a field has an invalid value.
    pub fn wrong(field: &'static str, why: impl ToString) -> Self {
        Self::Wrong { field, why: why.to_string() }
    }
}

/// Parses a text field.
///
/// # Errors
/// [`Invalid`] names the field that is missing or invalid.
pub fn text<T: FromStr<Err: ToString>>(field: &'static str, text: &str) -> Result<T, Invalid> {
    if text.is_empty() {
        return Err(Invalid::Missing(field));
    }
    text.parse().map_err(|why: T::Err| Invalid::wrong(field, why))
}

/// Returns the value of a required field.
///
/// # Errors
/// [`Invalid`] names the field that is missing or invalid.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or(Invalid::Missing(field))
}
