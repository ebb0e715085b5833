//! Refusals of resources that do not match their schema.

use crate::error::{Class, Error};

/// Maximum priority of an inspection rule that a user defines.
pub(crate) const MAX_PRIORITY: i64 = 9999;

/// Returns the refusal of a value that does not match the schema. `word` is the name of the schema, or empty.
pub(crate) fn refusal(word: &str, what: &str) -> Error {
    let of = if word.is_empty() { String::new() } else { format!(" for {word}") };
    Class::Invalid.error(format!("Schema error{of}: {what}"))
}
