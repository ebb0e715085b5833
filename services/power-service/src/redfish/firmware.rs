//! Parses the firmware settings that a Redfish service reports. Pure.
//!
//! Sources: DSP0268, `Bios`, `AttributeRegistry`, `SecureBoot`, and the responses of `sushy-emulator`.

use std::collections::BTreeMap;

use domain::power::BootMode;
use keyspace::value::BiosSetting;
use serde_json::Value;

use super::response::{System, link, path};

/// Maximum number of settings kept per machine; the largest machines have about 500.
const MAX_SETTINGS: usize = 2000;
/// Maximum length of a value, in characters.
const MAX_VALUE_CHARS: usize = 1024;
/// Maximum number of allowable values kept per setting.
const MAX_ALLOWABLE_VALUES: usize = 256;
/// Maximum number of registries that are read to find the right one.
pub(super) const MAX_REGISTRIES: usize = 4;

/// Returns the firmware interface that the system boots with (`Boot.BootSourceOverrideMode`).
pub(super) fn boot_mode(system: &System) -> Option<BootMode> {
    match system.body.pointer("/Boot/BootSourceOverrideMode").and_then(Value::as_str) {
        Some("UEFI") => Some(BootMode::Uefi),
        Some("Legacy") => Some(BootMode::Bios),
        Some(_) | None => None,
    }
}

/// Returns whether secure boot is enabled.
pub(super) fn secure_boot(resource: &Value) -> Option<bool> {
    resource.get("SecureBootEnable").and_then(Value::as_bool)
}

/// Returns the settings of a `Bios` resource, without the registry's details.
pub(super) fn settings(bios: &Value) -> BTreeMap<String, BiosSetting> {
    let attributes = bios.get("Attributes").and_then(Value::as_object).into_iter().flatten();
    let one = |(name, value): (&String, &Value)| {
        // Passwords are never stored, although their value should be null (DSP0268, `Attributes`).
        let is_secret = name.to_ascii_lowercase().contains("password");
        let value = text(value).filter(|text| !is_secret || text.is_empty());
        (name.clone(), BiosSetting { value, ..BiosSetting::default() })
    };
    attributes.filter(|(name, _)| name.len() <= MAX_VALUE_CHARS).take(MAX_SETTINGS).map(one).collect()
}

/// Formats a value as Ironic does. Returns `None` if it is not a scalar.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
    };
    Some(text.chars().take(MAX_VALUE_CHARS).collect())
}

/// Returns the paths of the registries that may be the one named by a `Bios` resource, the likeliest first.
pub(super) fn registries(bios: &Value, members: Vec<String>) -> Vec<String> {
    const GENERAL: &str = "BiosAttributeRegistry";
    let Some(named) = bios.get("AttributeRegistry").and_then(Value::as_str) else { return Vec::new() };
    let rank = |path: &String| {
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        match last {
            _ if last == named => 0,
            _ if named.starts_with(last) || last.starts_with(named) => 1,
            _ if last.starts_with(GENERAL) => 2,
            _ => 3,
        }
    };
    let mut likely: Vec<String> = members.into_iter().filter(|path| rank(path) < 3).collect();
    likely.sort_by_key(rank);
    likely.truncate(MAX_REGISTRIES);
    likely
}

/// Returns the location of a registry's file: the English one, or the first.
pub(super) fn location(file: &Value) -> Option<String> {
    let places = file.get("Location").and_then(Value::as_array)?;
    let is_english = |endpoint: &&Value| {
        endpoint.get("Language").and_then(Value::as_str).is_some_and(|language| language.starts_with("en"))
    };
    let endpoint = places.iter().find(is_english).or_else(|| places.first())?;
    // DSP0268 defines a string; some services have a link.
    endpoint.get("Uri").and_then(Value::as_str).and_then(path).or_else(|| link(endpoint, "/Uri"))
}

/// Adds the registry's details to the settings. Returns `false` if it is not the registry named by `bios`.
pub(super) fn apply_registry(settings: &mut BTreeMap<String, BiosSetting>, bios: &Value, registry: &Value) -> bool {
    let named = |resource: &Value, name: &str| resource.get(name).and_then(Value::as_str).map(str::to_owned);
    if named(registry, "Id").is_some_and(|id| Some(id) != named(bios, "AttributeRegistry")) {
        return false;
    }
    let Some(entries) = registry.pointer("/RegistryEntries/Attributes").and_then(Value::as_array) else { return false };
    for entry in entries {
        let Some(setting) = named(entry, "AttributeName").and_then(|name| settings.get_mut(&name)) else { continue };
        let (flag, number) = (
            |name: &str| entry.get(name).and_then(Value::as_bool),
            |name: &str| entry.get(name).and_then(Value::as_i64),
        );
        setting.attribute_type = named(entry, "Type");
        setting.allowable_values = entry.get("Value").and_then(Value::as_array).map(|values| choices(values));
        setting.lower_bound = number("LowerBound");
        setting.upper_bound = number("UpperBound");
        setting.min_length = number("MinLength");
        setting.max_length = number("MaxLength");
        setting.read_only = flag("ReadOnly");
        setting.reset_required = flag("ResetRequired");
        setting.unique = flag("IsSystemUniqueProperty");
        if setting.attribute_type.as_deref() == Some("Password") {
            setting.value = None;
        }
    }
    true
}

/// Returns the allowable values by their names, or by their display names if they have none.
fn choices(values: &[Value]) -> Vec<String> {
    let name = |value: &Value| {
        let named = ["ValueName", "ValueDisplayName"].iter().find_map(|name| value.get(name).and_then(text));
        named.filter(|name| !name.is_empty())
    };
    values.iter().filter_map(name).take(MAX_ALLOWABLE_VALUES).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bios(attributes: &Value) -> Value {
        json!({"AttributeRegistry": "Reg.v1_0_0", "Attributes": attributes})
    }

    #[test]
    fn settings_are_texts_and_no_password_is_among_them() {
        let read = settings(&bios(&json!({
            "BootMode": "Uefi", "Cores": 10, "Quiet": true, "SysPassword": "hunter2", "Odd": {"a": 1}, "None": null,
        })));
        let value = |name: &str| read[name].value.as_deref();
        assert_eq!((value("BootMode"), value("Cores"), value("Quiet")), (Some("Uefi"), Some("10"), Some("True")));
        assert_eq!((value("SysPassword"), value("Odd"), value("None")), (None, None, None));
        assert!(settings(&json!({"Attributes": [1, 2]})).is_empty() && settings(&Value::Null).is_empty());
    }

    #[test]
    fn a_registry_explains_the_settings_that_it_knows_and_another_one_explains_none() {
        let bios = bios(&json!({"BootMode": "Uefi", "Key": "x", "Cores": 2}));
        let mut read = settings(&bios);
        let entries = json!([
            {"AttributeName": "BootMode", "Type": "Enumeration", "ReadOnly": false, "ResetRequired": true,
             "Value": [{"ValueName": "Bios"}, {"ValueDisplayName": "UEFI"}, {}, 7]},
            {"AttributeName": "Cores", "Type": "Integer", "LowerBound": 1, "UpperBound": 64},
            {"AttributeName": "Key", "Type": "Password", "MinLength": 8}, {"AttributeName": "Unknown"}, 3,
        ]);
        let registry = |id: &str| json!({"Id": id, "RegistryEntries": {"Attributes": &entries}});
        assert!(!apply_registry(&mut read, &bios, &registry("Other.v1_0_0")));
        assert_eq!(read["BootMode"].attribute_type, None);
        assert!(apply_registry(&mut read, &bios, &registry("Reg.v1_0_0")));
        assert_eq!(read["BootMode"].allowable_values, Some(vec!["Bios".to_owned(), "UEFI".to_owned()]));
        assert_eq!((read["BootMode"].read_only, read["BootMode"].reset_required), (Some(false), Some(true)));
        assert_eq!((read["Cores"].lower_bound, read["Cores"].upper_bound), (Some(1), Some(64)));
        assert_eq!(read["Key"].value, None, "a password");
        assert!(!apply_registry(&mut read, &bios, &json!({"RegistryEntries": []})));
    }

    #[test]
    fn the_registry_is_found_by_its_name_and_its_file_by_its_language() {
        let paths = ["/r/Base.1.0", "/r/BiosAttributeRegistry.v1_0_0", "/r/Reg.v1_0_0"];
        let members = || paths.map(str::to_owned).to_vec();
        assert_eq!(registries(&bios(&json!({})), members()), ["/r/Reg.v1_0_0", "/r/BiosAttributeRegistry.v1_0_0"]);
        assert!(registries(&json!({}), members()).is_empty());
        let file = json!({"Location": [{"Language": "de", "Uri": "/de"}, {"Language": "en-US", "Uri": "/en"}]});
        assert_eq!(location(&file).as_deref(), Some("/en"));
        assert_eq!(location(&json!({"Location": [{"Uri": {"@odata.id": "/x"}}]})).as_deref(), Some("/x"));
        assert_eq!(location(&json!({})), None);
    }

    #[test]
    fn the_firmware_interface_is_read_in_the_schemas_words() {
        let system = |mode: Value| System {
            path: "/s".to_owned(),
            etags: crate::redfish::http_policy::Etags::default(),
            body: json!({"Boot": {"BootSourceOverrideMode": mode}}),
        };
        assert_eq!(boot_mode(&system(json!("UEFI"))), Some(BootMode::Uefi));
        assert_eq!(boot_mode(&system(json!("Legacy"))), Some(BootMode::Bios));
        assert_eq!(boot_mode(&system(Value::Null)), None);
        assert_eq!(secure_boot(&json!({"SecureBootEnable": true})), Some(true));
        assert_eq!(secure_boot(&json!({})), None);
    }
}
