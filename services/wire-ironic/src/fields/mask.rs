//! Secrets, which are accepted and never shown.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Replacement of a secret in responses.
pub const MASK: &str = "******";

/// Parts of the keys of secrets, in lower case; keys are compared without regard to case. Source: the keys that Ironic masks.
/// Clients rely on all other values being shown unchanged.
const SECRET_KEY_PARTS: &[&str] = &[
    "adminpass",
    "admin_pass",
    "password",
    "new_pass",
    "secret",
    "sys_pswd",
    "token",
    "configdrive",
    "encrypted_key",
    "private_key",
    "fernetkey",
    "sslkey",
    "passphrase",
    "cephclusterfsid",
    "octaviaheartbeatkey",
    "rabbitcookie",
    "cephmanilaclientkey",
    "pacemakerremoteauthkey",
    "designaterndckey",
    "cephadminkey",
    "heatauthencryptionkey",
    "cephclientkey",
    "keystonecredential",
    "barbicansimplecryptokek",
    "cephrgwkey",
    "swifthashsuffix",
    "migrationsshkey",
    "cephmdskey",
    "cephmonkey",
];

/// Whole keys of secrets. Ironic masks the first three; the others are secrets that it shows
/// ([`crate::difference`], `more-secrets`).
const SECRET_KEYS: &[&str] = &[
    "snmp_auth_key",
    "snmp_priv_key",
    "image_url",
    "image_request_authorization",
    "ipmi_hex_kg_key",
    "snmp_community",
    "snmp_community_read",
    "snmp_community_write",
];

/// Masks every secret in a value, at any depth.
#[must_use]
pub fn masked(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(key, value)| {
                    let value = if is_masked(&key, &value) { Value::from(MASK) } else { masked(value) };
                    (key, value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(masked).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

/// Returns whether an object has a secret, at any depth.
pub(super) fn has_masked(members: &Map<String, Value>) -> bool {
    members.iter().any(|(key, value)| is_masked(key, value) || has_masked_within(value))
}

fn has_masked_within(value: &Value) -> bool {
    match value {
        Value::Object(members) => has_masked(members),
        Value::Array(items) => items.iter().any(has_masked_within),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Returns whether the value of a key is a secret, which is stored sealed and shown as [`MASK`].
#[must_use]
pub fn is_secret(key: &str, value: &Value) -> bool {
    is_masked(key, value) && !value.is_null()
}

/// Returns whether the value of a key is masked as a whole, whatever its shape: the keys within a secret do not tell which
/// of its values may be shown. An object without members has nothing to hide.
fn is_masked(key: &str, value: &Value) -> bool {
    if value.as_object().is_some_and(Map::is_empty) {
        return false;
    }
    // Most keys are in lower case, and each key of each dictionary in a list is looked at.
    let is_lower = !key.bytes().any(|octet| octet.is_ascii_uppercase());
    let key = if is_lower { Cow::Borrowed(key) } else { Cow::Owned(key.to_ascii_lowercase()) };
    let empty = value.is_null() || value.as_str().is_some_and(str::is_empty);
    SECRET_KEY_PARTS.iter().any(|word| key.contains(word)) || (SECRET_KEYS.contains(&&*key) && !empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_masked_at_any_depth_and_nothing_else_is() {
        let value = json!({
            "ipmi_password": "p", "IPMI_PASSWORD": null, "x_pass": "seen", "ipmi_hex_kg_key": "k",
            "nested": {"a": [{"auth_token": "t"}]}, "snmp_auth_key": "k", "snmp_priv_key": "", "image_url": "u",
            "configdrive": {"user_data": "u"}, "token": {"kind": "k", "more": [1]}, "tokens": ["t"], "secret": {},
            "snmp_community": "public", "Passwords": {"root": {"hash": "h"}},
        });
        assert_eq!(
            masked(value),
            json!({
                "ipmi_password": MASK, "IPMI_PASSWORD": MASK, "x_pass": "seen", "ipmi_hex_kg_key": MASK,
                "nested": {"a": [{"auth_token": MASK}]}, "snmp_auth_key": MASK, "snmp_priv_key": "", "image_url": MASK,
                "configdrive": MASK, "token": MASK, "tokens": MASK, "secret": {},
                "snmp_community": MASK, "Passwords": MASK,
            })
        );
    }
}
