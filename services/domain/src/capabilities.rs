//! Capabilities of a node, as `properties.capabilities` names them.

use serde_json::{Map, Value};

/// Capabilities of a node and their values, in one of the two forms that Ironic accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Capabilities<'a> {
    /// The node names none.
    #[default]
    None,
    /// A text: `name:value,name:value`. Of two values of one name, the first counts.
    Text(&'a str),
    /// An object. A value that is not a text does not count.
    Object(&'a Map<String, Value>),
}

impl<'a> Capabilities<'a> {
    /// Reads the value of `properties.capabilities`. A value of another type names no capabilities.
    #[must_use]
    pub const fn read(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.as_str()),
            Value::Object(object) => Self::Object(object),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Self::None,
        }
    }

    /// Returns the value of a capability. `None` if the node does not name it.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        match self {
            Self::None => None,
            Self::Text(text) => {
                let mut pairs = text.split(',').filter_map(|pair| pair.trim().split_once(':'));
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
            }
            Self::Object(object) => object.get(name)?.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn capabilities_are_a_text_or_an_object() {
        for value in [json!("boot_option:local, raid:1,raid:5"), json!({"boot_option": "local", "raid": "1"})] {
            assert_eq!(Capabilities::read(&value).get("raid"), Some("1"), "{value}");
            assert_eq!(Capabilities::read(&value).get("rai"), None, "{value}");
        }
        for value in [json!(7), json!(null), json!(["raid:1"]), json!({"raid": 1})] {
            assert_eq!(Capabilities::read(&value).get("raid"), None, "{value}");
        }
    }
}
