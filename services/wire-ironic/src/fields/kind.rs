//! JSON types of fields, and errors for values of other types.

use serde_json::Value;

use super::Initial;

/// JSON type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string or null.
    Text,
    /// A string. Null is rejected.
    Name,
    /// A UUID or null.
    Uuid,
    /// A boolean, a word for one, or null.
    Flag,
    /// A boolean or null. Words are rejected.
    Bool,
    /// A boolean. Words and null are rejected.
    Strict,
    /// An integer.
    Integer,
    /// An object. Null is accepted but never shown.
    Object,
    /// A list. Null is accepted.
    List,
    /// A list with at least one element.
    Steps,
    /// A time (RFC 3339) or null. Clients cannot set it.
    Time,
}

impl Kind {
    /// Accepted JSON types, as errors list them.
    #[must_use]
    pub const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Text | Self::Uuid | Self::Time => &["string", "null"],
            Self::Name => &["string"],
            Self::Flag => &["string", "boolean", "null"],
            Self::Bool => &["boolean", "null"],
            Self::Strict => &["boolean"],
            Self::Integer => &["integer"],
            Self::Object => &["object", "null"],
            Self::List => &["array", "null"],
            Self::Steps => &["array"],
        }
    }

    /// Returns whether a value has one of the types. Strings for booleans and UUIDs are checked elsewhere.
    #[must_use]
    pub fn accepts(self, value: &Value) -> bool {
        self.types().contains(&json_type(value))
    }

    pub(super) const fn initial(self) -> Initial {
        match self {
            Self::Object => Initial::EmptyObject,
            Self::List | Self::Steps => Initial::EmptyList,
            Self::Text
            | Self::Name
            | Self::Uuid
            | Self::Flag
            | Self::Bool
            | Self::Strict
            | Self::Integer
            | Self::Time => Initial::Null,
        }
    }
}

/// Name of a value's type in JSON Schema.
fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() && number.as_f64().is_some_and(|float| float.fract() != 0.0) => {
            "number"
        }
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
