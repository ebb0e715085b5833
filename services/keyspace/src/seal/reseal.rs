//! Seals the secrets of records again: with the present key, or for another rack.

use domain::id::{NodeId, RackId};
use serde_json::{Map, Value};

use super::{Place, Purpose, Sealer};
use crate::{
    Error,
    value::{Intent, NodeSpec, Sealed, Secrets, sealed, sealed_value},
};

/// Makes the place of a node's secret.
type PlaceOf = fn(RackId, NodeId) -> Place;

/// Seals a secret again if it was sealed with another key or for another place. Returns whether it has changed.
pub(super) fn reseal_one(value: &mut Sealed, from: &Place, to: &Place, sealer: &Sealer) -> Result<bool, Error> {
    if from == to && sealer.is_current(to, value) {
        return Ok(false);
    }
    *value = sealer.seal(to, sealer.open(from, value)?.expose())?;
    Ok(true)
}

/// Seals the secrets of a node's intent again: with the present keys, and for the rack `to` if the node moves there.
/// Returns whether one has changed.
///
/// # Errors
/// [`Error::Seal`] if one cannot be opened or sealed.
pub fn reseal_intent(
    intent: &mut Intent,
    node: NodeId,
    from: RackId,
    to: RackId,
    sealer: &Sealer,
) -> Result<bool, Error> {
    let mut secrets: Vec<(&mut Sealed, PlaceOf)> = Vec::new();
    if let Some(bmc) = &mut intent.bmc {
        secrets.push((&mut bmc.password, Place::bmc_password));
        secrets.extend(bmc.ipmi.key.as_mut().map(|key| (key, Place::bmc_key as PlaceOf)));
    }
    secrets.extend(intent.raw_data.as_mut().map(|raw| (&mut raw.data, Place::raw_data as PlaceOf)));
    let drive = intent.deployment.as_mut().and_then(|deployment| deployment.config_drive.as_mut());
    secrets.extend(drive.map(|drive| (drive, Place::config_drive as PlaceOf)));
    let mut has_changed = false;
    for (secret, place) in secrets {
        has_changed |= reseal_one(secret, &place(from, node), &place(to, node), sealer)?;
    }
    Ok(has_changed)
}

/// Seals the secrets of what clients specified of a node again. A password that was taken from the node's intent, and is
/// sealed for the BMC's rack, becomes a secret of the specification. Returns whether one has changed.
///
/// # Errors
/// [`Error::Seal`] if one cannot be opened or sealed.
pub fn reseal_spec(spec: &mut NodeSpec, node: NodeId, rack: RackId, sealer: &Sealer) -> Result<bool, Error> {
    let mut has_changed = false;
    for (key, value) in spec.driver_info.iter_mut().flat_map(|info| info.as_map_mut().iter_mut()) {
        let Some(copy) = sealed(value).filter(|sealed| sealer.purpose(sealed) == Some(Purpose::Bmc)) else { continue };
        let opened = sealer.open(&Place::bmc_password(rack, node), &copy)?;
        let text = Value::from(String::from_utf8_lossy(opened.expose())).to_string();
        let place = Place::specification(format!("{node}/driver_info/{key}"));
        *value = sealed_value(&sealer.seal(&place, text.as_bytes())?);
        has_changed = true;
    }
    Ok(reseal_record(spec, &node.to_string(), sealer)? || has_changed)
}

/// Seals the secrets of a record again. `id` is the record's id. Returns whether one has changed.
pub(super) fn reseal_record(record: &mut impl Secrets, id: &str, sealer: &Sealer) -> Result<bool, Error> {
    let mut has_changed = false;
    for (path, fields) in record.secret_fields() {
        has_changed |= reseal_members(fields.as_map_mut(), &format!("{id}/{path}"), sealer)?;
    }
    Ok(has_changed)
}

fn reseal_members(members: &mut Map<String, Value>, place: &str, sealer: &Sealer) -> Result<bool, Error> {
    let mut has_changed = false;
    for (key, value) in members {
        has_changed |= reseal_value(value, &format!("{place}/{key}"), sealer)?;
    }
    Ok(has_changed)
}

fn reseal_value(value: &mut Value, place: &str, sealer: &Sealer) -> Result<bool, Error> {
    if let Some(mut found) = sealed(value) {
        let place = Place::specification(place);
        let has_changed = reseal_one(&mut found, &place, &place, sealer)?;
        if has_changed {
            *value = sealed_value(&found);
        }
        return Ok(has_changed);
    }
    match value {
        Value::Object(members) => reseal_members(members, place, sealer),
        Value::Array(items) => {
            let mut has_changed = false;
            for (at, item) in items.iter_mut().enumerate() {
                has_changed |= reseal_value(item, &format!("{place}/{at}"), sealer)?;
            }
            Ok(has_changed)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(false),
    }
}
