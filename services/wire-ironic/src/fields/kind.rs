//! The kinds of JSON that fields are, and how a value of another kind is refused.

use serde_json::Value;

use super::Initial;

/// What JSON a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string, or null.
    Text,
    /// A string, and never null.
    Name,
    /// A UUID, or null.
    Uuid,
    /// A boolean, or a word for one, or null.
    Flag,
    /// A boolean or null; words are refused.
    Bool,
    /// A boolean alone.
    Strict,
    /// A whole number.
    Integer,
    /// An object, or null on the way in and never on the way out.
    Object,
    /// A list, or null on the way in.
    List,
    /// A list with at least one element.
    Steps,
    /// A time as RFC 3339 has it, or null; never set by a client.
    Time,
}

impl Kind {
    /// The JSON types that are taken, as refusals list them.
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

    /// Whether a value is of one of the types. A string in place of a boolean or a UUID is looked at elsewhere.
    #[must_use]
    pub fn takes(self, value: &Value) -> bool {
        self.types().contains(&json_type(value))
    }

    pub(super) const fn initial(self) -> Initial {
        match self {
            Self::Object => Initial::Empty,
            Self::List | Self::Steps => Initial::Nothing,
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

/// What JSON schema calls a value.
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
