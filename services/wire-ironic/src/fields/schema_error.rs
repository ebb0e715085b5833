//! Errors for resources that do not match their schema.

use crate::error::{Class, Error};

/// Maximum priority of an inspection rule that a user defines.
pub(crate) const MAX_PRIORITY: i64 = 9999;

/// Returns the error for a value that does not match a schema. `schema` is the name of the schema, or empty.
pub(crate) fn schema_error(schema: &str, what: &str) -> Error {
    let of = if schema.is_empty() { String::new() } else { format!(" for {schema}") };
    Class::Invalid.error(format!("Schema error{of}: {what}"))
}
