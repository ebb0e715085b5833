//! Parsers for the arguments of a call, in a query or a body, that no table of fields describes.

use serde_json::{Map, Value};

use crate::error::{Class, Error};
use crate::python;

/// Refuses members that the call does not have.
pub(crate) fn only(body: &Map<String, Value>, known: &[&str]) -> Result<(), Error> {
    unexpected(body.keys().map(String::as_str).filter(|name| !known.contains(name)))
}

/// Reads an optional text.
pub(crate) fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(Class::Invalid.error(format!("Expected string for {name}: {}", python::quoted(other)))),
    }
}

/// Reads an optional boolean, or a word for one.
pub(crate) fn flag(body: &Map<String, Value>, name: &str) -> Result<Option<bool>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(word)) => boolean(name, word).map(Some),
        Some(other) => boolean(name, &python::quoted(other)).map(Some),
    }
}

/// Reads a list; a missing one is empty.
pub(crate) fn list(body: &Map<String, Value>, name: &str) -> Result<Vec<Value>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list.clone()),
        Some(other) => Err(expected("<class 'NoneType'>, <class 'list'>", name, other)),
    }
}

/// Returns the refusal of a value that has none of the accepted types.
pub(crate) fn expected(types: &str, name: &str, value: &Value) -> Error {
    Class::Invalid.error(format!("Expected types {types} for {name}: {}", python::quoted(value)))
}

/// Refuses arguments that a call does not have.
///
/// # Errors
/// 400 with the names, if there are any.
pub fn unexpected<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Class::Invalid.error(format!("Unexpected arguments: {}", names.join(", "))))
}

/// Returns the refusal of a call that lacks an argument.
#[must_use]
pub fn missing(name: &str) -> Error {
    Class::Invalid.error(format!("Missing mandatory parameter: {name}"))
}

/// Accepted words for a boolean, in the order in which refusals list them.
pub(crate) const BOOLEAN_WORDS: [&str; 12] = ["0", "1", "f", "false", "n", "no", "off", "on", "t", "true", "y", "yes"];
const TRUE: [&str; 6] = ["1", "on", "t", "true", "y", "yes"];

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
    Ok(TRUE.contains(&lower.as_str()))
}

/// Parses a MAC address with colons, and returns it in lower case, as the protocol stores it.
///
/// # Errors
/// 400.
pub fn mac(name: &str, text: &str) -> Result<String, Error> {
    let octets: Vec<&str> = text.split(':').collect();
    let plain = |octet: &&str| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
    if octets.len() == 6 && octets.iter().all(plain) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Class::Invalid.error(format!("Expected valid MAC address for {name}: {text}")))
}
