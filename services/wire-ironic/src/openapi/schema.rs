//! JSON Schemas of the values in bodies and queries.

use serde_json::{Value, json};

use crate::argument::BOOLEAN_WORDS;
use crate::fields::{self, MAX_NAME_CHARS};

/// One of these strings.
pub(super) fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// A string or null.
pub(super) fn nullable_text() -> Value {
    json!({"type": ["string", "null"]})
}

/// A word for a boolean, in upper or lower case.
pub(super) fn flag_word() -> Value {
    let any_case = |word: &&str| {
        let letters = word.chars().map(|letter| match letter.is_ascii_alphabetic() {
            true => format!("[{letter}{}]", letter.to_ascii_uppercase()),
            false => letter.to_string(),
        });
        letters.collect::<String>()
    };
    let words: Vec<String> = BOOLEAN_WORDS.iter().map(any_case).collect();
    json!({"type": "string", "pattern": format!("^({})$", words.join("|"))})
}

/// A boolean, a word for one, or null: a field of a resource.
pub(super) fn flag() -> Value {
    json!({"anyOf": [{"type": ["boolean", "null"]}, flag_word()]})
}

/// A boolean, 0, 1, or a word for a boolean: an argument of a call.
pub(super) fn argument_flag() -> Value {
    json!({"anyOf": [{"type": "boolean"}, {"type": "integer", "enum": [0, 1]}, flag_word()]})
}

/// A UUID.
pub(super) fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

/// A MAC address.
pub(super) fn mac() -> Value {
    json!({"type": "string", "pattern": "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"})
}

/// Name of a trait.
pub(super) fn trait_name() -> Value {
    let prefixes = fields::TRAIT_PREFIXES.join("|");
    json!({"type": "string", "pattern": format!("^({prefixes})[A-Z0-9_]+$"), "maxLength": MAX_NAME_CHARS})
}

/// A logical name: not a trait, a host name or a UUID.
pub(super) fn logical_name() -> Value {
    json!({"type": "string", "pattern": "^[A-Za-z0-9._~-]+$", "maxLength": MAX_NAME_CHARS})
}

/// An object with these members and no others.
pub(super) fn object(members: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": members, "required": required, "additionalProperties": false})
}
