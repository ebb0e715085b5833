//! Parsers of arguments that no table of fields describes, in queries and bodies.

use serde_json::{Map, Value};

use crate::error::{Class, Error};
use crate::python;

/// Rejects members that the call does not have.
pub(crate) fn only(body: &Map<String, Value>, known: &[&str]) -> Result<(), Error> {
    unexpected(body.keys().map(String::as_str).filter(|name| !known.contains(name)))
}

/// Returns an optional string.
pub(crate) fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(Class::Invalid.error(format!("Expected string for {name}: {}", python::quoted(other)))),
    }
}

/// Returns an optional boolean; words for booleans are accepted.
pub(crate) fn flag(body: &Map<String, Value>, name: &str) -> Result<Option<bool>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(word)) => boolean(name, word).map(Some),
        Some(other) => boolean(name, &python::quoted(other)).map(Some),
    }
}

/// Returns a list; a missing one is empty.
pub(crate) fn list(body: &Map<String, Value>, name: &str) -> Result<Vec<Value>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list.clone()),
        Some(other) => Err(expected("<class 'NoneType'>, <class 'list'>", name, other)),
    }
}

/// Returns the error for a value that has none of the accepted types.
pub(crate) fn expected(types: &str, name: &str, value: &Value) -> Error {
    Class::Invalid.error(format!("Expected types {types} for {name}: {}", python::quoted(value)))
}

/// Rejects arguments that the call does not have.
///
/// # Errors
/// 400 with their names, if there are any.
pub fn unexpected<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Class::Invalid.error(format!("Unexpected arguments: {}", names.join(", "))))
}

/// Returns the error for a missing argument.
#[must_use]
pub fn missing(name: &str) -> Error {
    Class::Invalid.error(format!("Missing mandatory parameter: {name}"))
}

/// Accepted words for a boolean, in the order in which the error lists them.
pub(crate) const BOOLEAN_WORDS: [&str; 12] = ["0", "1", "f", "false", "n", "no", "off", "on", "t", "true", "y", "yes"];
/// Those of [`BOOLEAN_WORDS`] that are true.
const TRUE_WORDS: [&str; 6] = ["1", "on", "t", "true", "y", "yes"];

/// Parses a word for a boolean, ignoring case.
///
/// # Errors
/// 400 with all accepted words.
pub fn boolean(name: &str, word: &str) -> Result<bool, Error> {
    let lower = word.trim().to_ascii_lowercase();
    if !BOOLEAN_WORDS.contains(&lower.as_str()) {
        let words = python::listed(&BOOLEAN_WORDS);
        return Err(Class::Invalid.error(format!(
            "Invalid {name}: Unrecognized value {}, acceptable values are: {words}",
            python::quoted_text(word)
        )));
    }
    Ok(TRUE_WORDS.contains(&lower.as_str()))
}

/// Parses a MAC address with colons, and returns it in lower case.
///
/// # Errors
/// 400 for any other text.
pub fn mac(name: &str, text: &str) -> Result<String, Error> {
    let octets: Vec<&str> = text.split(':').collect();
    let is_hex = |octet: &&str| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
    if octets.len() == 6 && octets.iter().all(is_hex) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Class::Invalid.error(format!("Expected valid MAC address for {name}: {text}")))
}
