//! Secrets in what clients keep at a resource: sealed where they are stored, masked where they are shown.

use domain::secret::Secret;
use keyspace::seal::{Sealed, Sealer};
use serde_json::{Map, Value, json};
use wire_ironic::fields::{MASK, Resource, is_secret};

/// The key under which a sealed value stands in its place.
const SEALED: &str = "sealed";

/// Seals every secret in the masked fields of a resource. `of` is its place in the store.
///
/// # Errors
/// The sealer's.
pub fn seal(
    resource: &Resource,
    of: &str,
    fields: &mut Map<String, Value>,
    sealer: &Sealer,
) -> Result<(), keyspace::Error> {
    for (name, value) in fields.iter_mut() {
        if resource.field(name).is_some_and(|field| field.masked) {
            walk(&format!("{of}/{name}"), value, sealer)?;
        }
    }
    Ok(())
}

fn walk(place: &str, value: &mut Value, sealer: &Sealer) -> Result<(), keyspace::Error> {
    match value {
        Value::Object(members) => {
            for (key, value) in members.iter_mut().filter(|(_, value)| sealed(value).is_none()) {
                let place = format!("{place}/{key}");
                if is_secret(key, value) {
                    *value = json!({SEALED: sealer.seal(&place, value.to_string().as_bytes())?});
                } else {
                    walk(&place, value, sealer)?;
                }
            }
            Ok(())
        }
        Value::Array(items) => {
            items.iter_mut().enumerate().try_for_each(|(at, value)| walk(&format!("{place}/{at}"), value, sealer))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// The sealed value that stands here.
fn sealed(value: &Value) -> Option<Sealed> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    serde_json::from_value(members.get(SEALED)?.clone()).ok()
}

/// Whether somebody sent what looks like a value that we sealed: it was not.
pub fn is_forged(value: &Value) -> bool {
    sealed(value).is_some()
        || match value {
            Value::Object(members) => members.values().any(is_forged),
            Value::Array(items) => items.iter().any(is_forged),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
}

/// The same with masks where sealed values stand.
pub fn hide(fields: &mut Map<String, Value>) {
    fields.values_mut().for_each(hide_in);
}

fn hide_in(value: &mut Value) {
    if sealed(value).is_some() {
        *value = Value::from(MASK);
        return;
    }
    match value {
        Value::Object(members) => hide(members),
        Value::Array(items) => items.iter_mut().for_each(hide_in),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The text of a member of a field, opened where it is sealed; nothing where there is none.
///
/// # Errors
/// The sealer's.
pub fn open(
    of: &str,
    field: &str,
    key: &str,
    fields: &Map<String, Value>,
    sealer: &Sealer,
) -> Result<Option<Secret>, keyspace::Error> {
    let Some(value) = fields.get(field).and_then(|field| field.get(key)) else { return Ok(None) };
    let Some(sealed) = sealed(value) else {
        return Ok(value.as_str().map(|text| Secret::new(text.as_bytes().to_vec())));
    };
    let opened = sealer.open(&format!("{of}/{field}/{key}"), &sealed)?;
    let text: Option<String> = serde_json::from_slice(opened.expose()).ok();
    Ok(text.map(|text| Secret::new(text.into_bytes())))
}

#[cfg(test)]
mod tests {
    use wire_ironic::fields::NODE;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&[7; 32]).unwrap()
    }

    #[test]
    fn a_secret_is_sealed_for_its_place_hidden_when_shown_and_opened_for_use() {
        let mut fields = json!({
            "driver_info": {"ipmi_password": "p4ss", "ipmi_address": "h", "deep": {"list": [{"auth_token": "t0k"}]}},
            "extra": {"password": "everybody may read this"},
        })
        .as_object()
        .cloned()
        .unwrap();
        seal(&NODE, "n", &mut fields, &sealer()).unwrap();
        let stored = Value::Object(fields.clone()).to_string();
        assert!(!stored.contains("p4ss") && !stored.contains("t0k") && stored.contains("everybody"), "{stored}");
        let password = open("n", "driver_info", "ipmi_password", &fields, &sealer()).unwrap().unwrap();
        assert_eq!(password.expose(), b"p4ss");
        assert!(open("other", "driver_info", "ipmi_password", &fields, &sealer()).is_err());
        let before = fields.clone();
        seal(&NODE, "n", &mut fields, &sealer()).unwrap();
        assert_eq!(fields, before, "what is sealed stays as it is");
        assert!(is_forged(&fields["driver_info"]) && !is_forged(&fields["extra"]));
        hide(&mut fields);
        assert_eq!(fields["driver_info"]["ipmi_password"], json!(MASK));
        assert_eq!(fields["driver_info"]["deep"]["list"][0]["auth_token"], json!(MASK));
    }
}
