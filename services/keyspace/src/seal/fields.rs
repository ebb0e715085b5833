//! Secrets in dictionaries whose keys clients choose: sealed where they are stored, masked where they are shown.

use domain::{
    id::{NodeId, RackId},
    secret::Secret,
};
use serde_json::{Map, Value};

use super::{Place, Purpose, Sealer};
use crate::{
    Error,
    value::{ExtraFields, Secrets, sealed, sealed_value},
};

/// Whether the value of a key is a secret.
pub type IsSecret = fn(&str, &Value) -> bool;

/// Seals every secret of a record that is not sealed yet. `id` is the record's id.
///
/// # Errors
/// [`Error::Seal`]
pub fn seal_record(record: &mut impl Secrets, id: &str, is_secret: IsSecret, sealer: &Sealer) -> Result<(), Error> {
    let mut fields = record.secret_fields().into_iter();
    fields.try_for_each(|(path, fields)| seal_members(fields.as_map_mut(), &format!("{id}/{path}"), is_secret, sealer))
}

fn seal_members(
    members: &mut Map<String, Value>,
    place: &str,
    is_secret: IsSecret,
    sealer: &Sealer,
) -> Result<(), Error> {
    for (key, value) in members.iter_mut().filter(|(_, value)| sealed(value).is_none()) {
        let place = format!("{place}/{key}");
        if is_secret(key, value) {
            *value = sealed_value(&sealer.seal(&Place::specification(place), value.to_string().as_bytes())?);
        } else {
            seal_value(value, &place, is_secret, sealer)?;
        }
    }
    Ok(())
}

fn seal_value(value: &mut Value, place: &str, is_secret: IsSecret, sealer: &Sealer) -> Result<(), Error> {
    match value {
        Value::Object(members) => seal_members(members, place, is_secret, sealer),
        Value::Array(items) => {
            let mut items = items.iter_mut().enumerate();
            items.try_for_each(|(at, value)| seal_value(value, &format!("{place}/{at}"), is_secret, sealer))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// The text under a key of a dictionary, opened if it is sealed. `None` if there is none.
///
/// # Errors
/// [`Error::Seal`] if it was sealed with another key or for another place.
pub fn open_text(fields: &ExtraFields, place: &str, key: &str, sealer: &Sealer) -> Result<Option<Secret>, Error> {
    // The stock command line turns a password of digits into a number.
    let text = open_value(fields, place, key, sealer)?.and_then(|value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) if fields.sealed(key).is_some() => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    });
    Ok(text.map(|text| Secret::new(text.into_bytes())))
}

/// The value under a key of a dictionary, opened if it is sealed. `None` if there is none.
///
/// # Errors
/// [`Error::Seal`] if it was sealed with another key or for another place.
pub fn open_value(fields: &ExtraFields, place: &str, key: &str, sealer: &Sealer) -> Result<Option<Value>, Error> {
    let Some(sealed) = fields.sealed(key) else { return Ok(fields.as_map().get(key).cloned()) };
    let opened = sealer.open(&Place::specification(format!("{place}/{key}")), &sealed)?;
    Ok(serde_json::from_slice(opened.expose()).ok())
}

/// The text under a key of a node's `driver_info`, opened if it is sealed. A password may be the one that the node's intent
/// has: where a client of another API gave it, `driver_info` shows that one.
///
/// # Errors
/// As [`open_text`].
pub fn open_driver_info(
    info: &ExtraFields,
    (rack, node): (RackId, NodeId),
    key: &str,
    sealer: &Sealer,
) -> Result<Option<Secret>, Error> {
    match info.sealed(key).filter(|sealed| sealer.purpose(sealed) == Some(Purpose::Bmc)) {
        Some(sealed) => sealer.open(&Place::bmc_password(rack, node), &sealed).map(Some),
        None => open_text(info, &format!("{node}/driver_info"), key, sealer),
    }
}

/// Whether a value has the form of a sealed secret, anywhere in it. Clients must not send such values.
#[must_use]
pub fn has_sealed(value: &Value) -> bool {
    sealed(value).is_some()
        || match value {
            Value::Object(members) => members.values().any(has_sealed),
            Value::Array(items) => items.iter().any(has_sealed),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
}

/// Replaces sealed secrets by a mask, anywhere in a document.
pub fn mask(members: &mut Map<String, Value>, mask: &str) {
    members.values_mut().for_each(|value| mask_value(value, mask));
}

fn mask_value(value: &mut Value, text: &str) {
    if sealed(value).is_some() {
        *value = Value::from(text);
        return;
    }
    match value {
        Value::Object(members) => mask(members, text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask_value(item, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::value::NodeSpec;

    fn sealer() -> Sealer {
        super::super::tests::scheduler()
    }

    fn is_secret(key: &str, _: &Value) -> bool {
        key.contains("password") || key.contains("token")
    }

    #[test]
    fn a_password_of_digits_is_opened_as_it_was_typed() {
        for (sent, wanted) in [(json!("0123"), "0123"), (json!(12345), "12345")] {
            let mut node: NodeSpec = serde_json::from_value(json!({"driver_info": {"ipmi_password": sent}})).unwrap();
            seal_record(&mut node, "n", is_secret, &sealer()).unwrap();
            let opened = open_text(&node.driver_info.unwrap(), "n/driver_info", "ipmi_password", &sealer()).unwrap();
            assert_eq!(opened.unwrap().expose(), wanted.as_bytes());
        }
    }

    #[test]
    fn a_secret_is_sealed_for_its_place_masked_when_shown_and_opened_for_use() {
        let mut node: NodeSpec = serde_json::from_value(json!({
            "driver_info": {"ipmi_password": "p4ss", "ipmi_address": "h", "deep": {"list": [{"auth_token": "t0k"}]}},
            "extra": {"password": "s3cond", "contact": "all users may read this"},
        }))
        .unwrap();
        seal_record(&mut node, "n", is_secret, &sealer()).unwrap();
        let stored = serde_json::to_string(&node).unwrap();
        assert!(
            !stored.contains("p4ss")
                && !stored.contains("s3cond")
                && !stored.contains("t0k")
                && stored.contains("all users"),
            "{stored}"
        );
        let info = node.driver_info.clone().unwrap();
        let password = open_text(&info, "n/driver_info", "ipmi_password", &sealer()).unwrap().unwrap();
        assert_eq!(password.expose(), b"p4ss");
        assert!(open_text(&info, "other/driver_info", "ipmi_password", &sealer()).is_err());
        let before = node.clone();
        seal_record(&mut node, "n", is_secret, &sealer()).unwrap();
        assert_eq!(node, before, "what is sealed stays as it is");
        let mut document = serde_json::to_value(&node).unwrap();
        assert!(has_sealed(&document["driver_info"]) && has_sealed(&document["extra"]["password"]));
        mask(document.as_object_mut().unwrap(), "***");
        assert_eq!(document["driver_info"]["ipmi_password"], "***");
        assert_eq!(document["driver_info"]["deep"]["list"][0]["auth_token"], "***");
    }
}
