//! Reading the arguments of a call: what a body's members must be where no table of fields says it.

use serde_json::{Map, Value};

use crate::error::{Class, Error};
use crate::python;
use crate::query;

/// Refuses members that the call does not know.
pub(crate) fn only(body: &Map<String, Value>, known: &[&str]) -> Result<(), Error> {
    query::unexpected(body.keys().map(String::as_str).filter(|name| !known.contains(name)))
}

/// A text, or nothing.
pub(crate) fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(Class::Invalid.says(format!("Expected string for {name}: {}", python::quoted(other)))),
    }
}

/// A boolean or a word for one, or nothing.
pub(crate) fn flag(body: &Map<String, Value>, name: &str) -> Result<Option<bool>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(word)) => query::boolean(name, word).map(Some),
        Some(other) => query::boolean(name, &python::quoted(other)).map(Some),
    }
}

/// A list; nothing is an empty one.
pub(crate) fn list(body: &Map<String, Value>, name: &str) -> Result<Vec<Value>, Error> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list.clone()),
        Some(other) => Err(expected("<class 'NoneType'>, <class 'list'>", name, other)),
    }
}

/// The refusal of a value that is of none of the types.
pub(crate) fn expected(types: &str, name: &str, value: &Value) -> Error {
    Class::Invalid.says(format!("Expected types {types} for {name}: {}", python::quoted(value)))
}
