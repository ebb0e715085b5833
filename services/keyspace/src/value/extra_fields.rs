//! Ironic's open dictionaries (`extra`, `properties`, `driver_info`, `instance_info`, …), and one typed accessor for each
//! whose keys Ironmesh acts on. This is the only module of the stored values that handles JSON of no fixed type.

mod delivery_info;
mod instance_info;
mod port_extra;
mod properties;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Sealed;

pub use self::{
    delivery_info::{DeliveryInfo, TextOrSecret},
    instance_info::{InstanceInfo, clear_traits, set_config_drive, set_traits},
    port_extra::dhcp_client_identifier,
    properties::Properties,
};

/// The key under which a sealed value stands in place of a secret.
const SEALED: &str = "sealed";

/// A dictionary whose keys clients choose. A secret in it is stored as `{"sealed": …}` in place of its value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExtraFields(Map<String, Value>);

impl ExtraFields {
    /// An empty dictionary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The dictionary as JSON.
    #[must_use]
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The dictionary as JSON, to be changed.
    pub const fn as_map_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }

    /// The dictionary as JSON.
    #[must_use]
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// The text under a key. `None` if there is no such key, or its value is no text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    /// The texts of the list under a key. Empty if there is no such key, or its value is no list.
    pub fn texts(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Sets a key to a text.
    pub fn set_text(&mut self, key: &str, text: impl Into<String>) {
        self.0.insert(key.to_owned(), Value::String(text.into()));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// The sealed secret under a key. `None` if there is no such key, or its value is not sealed.
    #[must_use]
    pub fn sealed(&self, key: &str) -> Option<Sealed> {
        sealed(self.0.get(key)?)
    }

    /// Sets a key to a sealed secret.
    pub fn set_sealed(&mut self, key: &str, secret: &Sealed) {
        self.0.insert(key.to_owned(), sealed_value(secret));
    }
}

impl From<Map<String, Value>> for ExtraFields {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}

/// A capability that has one of the names that Ironic acts on, or any other, and its value. Of two values of one name, the
/// first counts. Leaves out a value of an object that is not a text.
fn capabilities(fields: &ExtraFields) -> impl Iterator<Item = (&str, &str)> {
    let value = fields.0.get("capabilities");
    let pairs = value.and_then(Value::as_str).unwrap_or_default().split(',');
    let of_text = pairs.filter_map(|pair| pair.trim().split_once(':'));
    let members = value.and_then(Value::as_object).into_iter().flatten();
    of_text.chain(members.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))))
}

/// All capabilities and their values: as [`capabilities`] reads them, or an object as JSON text
/// (`ironic/common/utils.py`, `parse_instance_info_capabilities`).
fn all_capabilities(fields: &ExtraFields) -> Vec<(String, String)> {
    let value = fields.0.get("capabilities");
    let text = value.and_then(Value::as_str).map(str::trim).filter(|text| text.starts_with('{'));
    let parsed: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    if let Some(members) = parsed.as_ref().or(value).and_then(Value::as_object) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return members.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    }
    capabilities(fields).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Hints for a disk, by name. What is no object of texts, numbers and Booleans becomes a hint that does not exist, so that it
/// is refused where it is evaluated.
fn disk_hints(value: &Value) -> BTreeMap<String, String> {
    match value {
        Value::Null => BTreeMap::new(),
        Value::Object(members) => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            members.iter().map(|(hint, value)| (hint.clone(), text(value))).collect()
        }
        Value::String(text) if text.is_empty() => BTreeMap::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            BTreeMap::from([(other.to_string(), String::new())])
        }
    }
}

/// The sealed secret that stands in place of a value.
pub(crate) fn sealed(value: &Value) -> Option<Sealed> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    Sealed::deserialize(members.get(SEALED)?).ok()
}

/// What stands in place of a value that was sealed.
pub(crate) fn sealed_value(secret: &Sealed) -> Value {
    let Sealed { key, sealed } = secret;
    let members = [("key", key), ("sealed", sealed)].map(|(name, text)| (name.to_owned(), Value::from(text.as_str())));
    Value::Object(Map::from_iter([(SEALED.to_owned(), Value::Object(Map::from_iter(members)))]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sealed_secret_is_read_as_it_was_set_and_no_other_value_is_one() {
        let secret = Sealed { key: "k".to_owned(), sealed: "s".to_owned() };
        let mut fields = ExtraFields::new();
        fields.set_sealed("password", &secret);
        fields.set_text("address", "h");
        assert_eq!(fields.sealed("password"), Some(secret.clone()));
        assert_eq!(fields.as_map()["password"]["sealed"], serde_json::to_value(&secret).unwrap());
        for other in
            [json!("s"), json!({"sealed": "s"}), json!({"sealed": {"key": "k", "sealed": "s"}, "x": 1}), json!(1)]
        {
            fields.as_map_mut().insert("other".to_owned(), other);
            assert_eq!(fields.sealed("other"), None);
        }
        assert_eq!((fields.text("address"), fields.text("password"), fields.text("none")), (Some("h"), None, None));
    }
}
