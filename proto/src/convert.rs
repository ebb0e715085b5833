//! Wire types to domain types and back: the only place where a message is judged.
//!
//! Whatever passes here is valid everywhere else; whatever does not is named in [`Invalid`].

mod node;
mod power;
mod report;
mod work;

pub use work::{encoding, encoding_word, purpose, purpose_word};

use std::str::FromStr;

/// A field of a message that can not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It must be set.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is set to something that is not of its kind.
    #[error("{field}: {why}")]
    Wrong {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Invalid {
    /// A field that is set to something that is not of its kind.
    pub fn wrong(field: &'static str, why: impl ToString) -> Self {
        Self::Wrong { field, why: why.to_string() }
    }
}

/// Reads a field that carries text of a known kind.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn text<T: FromStr<Err: ToString>>(field: &'static str, text: &str) -> Result<T, Invalid> {
    if text.is_empty() {
        return Err(Invalid::Missing(field));
    }
    text.parse().map_err(|why: T::Err| Invalid::wrong(field, why))
}

/// Takes a field that must be set.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or(Invalid::Missing(field))
}
