//! Where the values of a resource's fields come from.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

/// Value of a field, borrowed where the resource has it in this form.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum FieldValue<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A dictionary.
    Object(&'a Map<String, Value>),
    /// Any value.
    Json(Cow<'a, Value>),
}

impl FieldValue<'_> {
    /// `null`.
    pub const NULL: Self = Self::Json(Cow::Owned(Value::Null));

    /// The text. `None` if it is not a text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object(_) => None,
            Self::Json(value) => value.as_str(),
        }
    }

    /// The flag. `None` if it is not a flag.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Text(_) | Self::Object(_) => None,
            Self::Json(value) => value.as_bool(),
        }
    }

    /// The integer. `None` if it is not an integer of 64 bits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Text(_) | Self::Object(_) => None,
            Self::Json(value) => value.as_i64(),
        }
    }

    /// The dictionary. `None` if it is not a dictionary.
    #[must_use]
    pub fn as_object(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::Text(_) => None,
            Self::Object(map) => Some(map),
            Self::Json(value) => value.as_object(),
        }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Json(value) if value.is_null())
    }

    /// The value as JSON. Copies what is borrowed.
    #[must_use]
    pub fn into_json(self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.into_owned()),
            Self::Object(map) => Value::Object(map.clone()),
            Self::Json(value) => value.into_owned(),
        }
    }
}

impl From<String> for FieldValue<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a str> for FieldValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<bool> for FieldValue<'_> {
    fn from(flag: bool) -> Self {
        Self::Json(Cow::Owned(Value::Bool(flag)))
    }
}

impl From<Value> for FieldValue<'_> {
    fn from(value: Value) -> Self {
        Self::Json(Cow::Owned(value))
    }
}

impl<T: Into<Self>> From<Option<T>> for FieldValue<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NULL, Into::into)
    }
}

/// A resource whose fields can be read by their names.
pub trait FieldSource {
    /// Returns the value of a field. `None` if it has its initial value.
    fn field(&self, name: &str) -> Option<FieldValue<'_>>;
}

impl FieldSource for Map<String, Value> {
    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        self.get(name).map(|value| FieldValue::Json(Cow::Borrowed(value)))
    }
}

impl<T: FieldSource + ToOwned + ?Sized> FieldSource for Cow<'_, T> {
    fn field(&self, name: &str) -> Option<FieldValue<'_>> {
        self.as_ref().field(name)
    }
}
