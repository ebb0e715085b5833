//! `delivery_info`: how a webhook's events are signed and its receiver is verified.

use serde_json::Value;

use super::{ExtraFields, sealed};

/// Reads `delivery_info`.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryInfo<'a>(&'a ExtraFields);

/// Value of a key that holds a text, or a secret in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextOrSecret<'a> {
    /// The key is absent.
    Absent,
    /// A text.
    Text(&'a str),
    /// A sealed secret.
    Sealed,
    /// Any other value.
    Other,
}

impl<'a> DeliveryInfo<'a> {
    /// The keys of `delivery_info`.
    pub const KEYS: &'static [&'static str] = &["secret", "token", "ca"];

    /// Reads a webhook's `delivery_info`.
    #[must_use]
    pub const fn of(fields: &'a ExtraFields) -> Self {
        Self(fields)
    }

    /// The first key that `delivery_info` does not have.
    #[must_use]
    pub fn unknown_key(self) -> Option<&'a str> {
        self.0.as_map().keys().map(String::as_str).find(|key| !Self::KEYS.contains(key))
    }

    /// The key of the signature.
    #[must_use]
    pub fn secret(self) -> TextOrSecret<'a> {
        self.read("secret")
    }

    /// The bearer token.
    #[must_use]
    pub fn token(self) -> TextOrSecret<'a> {
        self.read("token")
    }

    /// The CA certificates that the receiver's is verified with, in PEM.
    #[must_use]
    pub fn ca(self) -> TextOrSecret<'a> {
        self.read("ca")
    }

    fn read(self, key: &str) -> TextOrSecret<'a> {
        match self.0.as_map().get(key) {
            None => TextOrSecret::Absent,
            Some(Value::String(text)) => TextOrSecret::Text(text),
            Some(value) if sealed(value).is_some() => TextOrSecret::Sealed,
            Some(_) => TextOrSecret::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::value::Sealed;

    #[test]
    fn a_secret_is_read_by_what_stands_in_its_place() {
        let mut fields: ExtraFields = serde_json::from_value(json!({"token": "t", "ca": 1})).unwrap();
        fields.set_sealed("secret", &Sealed { key: "k".to_owned(), sealed: "s".to_owned() });
        let info = DeliveryInfo::of(&fields);
        assert_eq!(
            (info.secret(), info.token(), info.ca()),
            (TextOrSecret::Sealed, TextOrSecret::Text("t"), TextOrSecret::Other)
        );
        assert_eq!((DeliveryInfo::of(&ExtraFields::new()).secret(), info.unknown_key()), (TextOrSecret::Absent, None));
        // Only what stands in place of a sealed secret is one: a client may send any object.
        for other in [json!({"a": 1}), json!({}), json!({"sealed": {}}), json!(null), json!([])] {
            let fields: ExtraFields = serde_json::from_value(json!({ "secret": other })).unwrap();
            assert_eq!(DeliveryInfo::of(&fields).secret(), TextOrSecret::Other);
        }
        let fields: ExtraFields = serde_json::from_value(json!({"passwd": "x"})).unwrap();
        assert_eq!(DeliveryInfo::of(&fields).unknown_key(), Some("passwd"));
    }
}
