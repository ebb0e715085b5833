//! RAID configuration: `PUT states/raid`, and a driver's logical disk properties.

use serde_json::{Map, Value, json};

use crate::error::{Class, Error};
use crate::python;

/// RAID levels.
const LEVELS: &[&str] = &["JBOD", "0", "1", "2", "5", "6", "1+0", "5+0", "6+0"];

/// Type of a logical disk's member.
enum MemberType {
    /// Text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Boolean.
    Flag,
    /// Size in GiB, or the remaining space.
    Size,
    /// Number of disks.
    Count,
    /// Disks, by name or by properties.
    Disks,
}

/// Members of a logical disk. Source: Ironic's JSON schema for RAID.
const MEMBERS: &[(&str, MemberType, &str)] = &[
    ("raid_level", MemberType::Word(LEVELS), "RAID level: JBOD, 0, 1, 2, 5, 6, 1+0, 5+0 or 6+0. Required."),
    ("size_gb", MemberType::Size, "Size in GiB, or MAX for all that is left. Required."),
    ("volume_name", MemberType::Text, "Name of the volume; one is made where none is given."),
    ("is_root_volume", MemberType::Flag, "Whether the system is put there; no by default."),
    (
        "share_physical_disks",
        MemberType::Flag,
        "Whether other logical disks may have the same physical ones; no by default.",
    ),
    ("disk_type", MemberType::Word(&["hdd", "ssd"]), "hdd or ssd; any by default."),
    ("interface_type", MemberType::Word(&["sata", "scsi", "sas"]), "sata, scsi or sas; any by default."),
    ("number_of_physical_disks", MemberType::Count, "Physical disks to take; as few as the level needs by default."),
    ("controller", MemberType::Text, "The RAID controller; one is chosen where none is given."),
    ("physical_disks", MemberType::Disks, "The physical disks; they are chosen where none are given."),
];
/// Required members of a logical disk.
const REQUIRED: [&str; 2] = ["raid_level", "size_gb"];

/// Encodes `GET drivers/*/raid/logical_disk_properties`: the members of a logical disk with their descriptions.
#[must_use]
pub fn properties() -> Value {
    MEMBERS.iter().map(|(name, _, meaning)| ((*name).to_owned(), json!(meaning))).collect::<Map<_, _>>().into()
}

/// JSON Schema of [`properties`].
pub(crate) fn properties_schema() -> Value {
    let names: Vec<&str> = MEMBERS.iter().map(|(name, ..)| *name).collect();
    json!({"type": "object", "additionalProperties": {"type": "string"}, "required": names})
}

/// JSON Schema for [`target`].
pub(crate) fn schema() -> Value {
    let members: Map<String, Value> =
        MEMBERS.iter().map(|(name, member_type, meaning)| ((*name).to_owned(), member_type.schema(meaning))).collect();
    let disk = json!({
        "type": "object",
        "properties": members,
        "required": REQUIRED,
        "dependentRequired": {"physical_disks": ["controller"]},
        "additionalProperties": false,
    });
    let disks = json!({"type": "array", "minItems": 1, "items": disk});
    let config = json!({
        "type": "object",
        "properties": {"logical_disks": disks},
        "required": ["logical_disks"],
        "additionalProperties": false,
    });
    json!({"anyOf": [{"type": "object", "maxProperties": 0}, config]})
}

impl MemberType {
    fn schema(&self, meaning: &str) -> Value {
        let mut schema = match self {
            Self::Text => json!({"type": "string"}),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Size => json!({"anyOf": [{"const": "MAX"}, {"type": "integer", "minimum": 0}]}),
            Self::Count => json!({"type": "integer", "minimum": 1}),
            Self::Disks => json!({"anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"type": "array", "items": {"type": "object"}, "minItems": 2},
            ]}),
        };
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), json!(meaning));
        }
        schema
    }
}

/// Parses `PUT states/raid`: the intended configuration. A missing or empty body clears it.
///
/// # Errors
/// 400.
pub fn target(body: &Value) -> Result<Map<String, Value>, Error> {
    let members = match body {
        Value::Null => return Ok(Map::new()),
        Value::Object(members) => members,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let quoted = python::quoted(body);
            return Err(Class::Invalid.error(format!("Expected types <class 'dict'> for target_raid_config: {quoted}")));
        }
    };
    if members.is_empty() {
        return Ok(Map::new());
    }
    check(members).map_err(|what| Class::Invalid.error(format!("RAID config validation error: {what}")))?;
    let disks = members.get("logical_disks").and_then(Value::as_array).into_iter().flatten();
    let roots = disks.filter(|disk| disk.get("is_root_volume") == Some(&Value::Bool(true))).count();
    if roots > 1 {
        return Err(Class::Invalid
            .error(format!("Raid config cannot have more than one root volume. {roots} root volumes were specified")));
    }
    Ok(members.clone())
}

fn check(members: &Map<String, Value>) -> Result<(), String> {
    let disks = members.get("logical_disks").ok_or_else(|| required("logical_disks"))?;
    only(members, |name| name == "logical_disks")?;
    let disks = disks.as_array().ok_or_else(|| wrong_type(disks, "'array'"))?;
    if disks.is_empty() {
        return Err("[] should be non-empty".to_owned());
    }
    disks.iter().try_for_each(check_disk)
}

fn check_disk(disk: &Value) -> Result<(), String> {
    let members = disk.as_object().ok_or_else(|| wrong_type(disk, "'object'"))?;
    for (name, member_type, _) in MEMBERS {
        if let Some(value) = members.get(*name) {
            check_member(member_type, value)?;
        }
    }
    if let Some(missing) = REQUIRED.iter().find(|name| !members.contains_key(**name)) {
        return Err(required(missing));
    }
    only(members, |name| MEMBERS.iter().any(|(known, ..)| *known == name))?;
    if members.contains_key("physical_disks") && !members.contains_key("controller") {
        return Err("'controller' is a dependency of 'physical_disks'".to_owned());
    }
    Ok(())
}

fn check_member(member_type: &MemberType, value: &Value) -> Result<(), String> {
    let one_of = |words: &[&str]| format!("{} is not one of [{}]", python::quoted(value), python::listed(words));
    match member_type {
        MemberType::Text if value.is_string() => Ok(()),
        MemberType::Text => Err(wrong_type(value, "'string'")),
        MemberType::Word(words) if value.as_str().is_some_and(|word| words.contains(&word)) => Ok(()),
        MemberType::Word(_) if !value.is_string() => Err(wrong_type(value, "'string'")),
        MemberType::Word(words) => Err(one_of(words)),
        MemberType::Flag if value.is_boolean() => Ok(()),
        MemberType::Flag => Err(wrong_type(value, "'boolean'")),
        MemberType::Size if value.as_str() == Some("MAX") || value.is_u64() => Ok(()),
        MemberType::Size if value.is_i64() => Err(format!("{value} is less than the minimum of 0")),
        MemberType::Size => Err(one_of(&["MAX"])),
        MemberType::Count if value.as_u64().is_some_and(|count| count > 0) => Ok(()),
        MemberType::Count if value.is_i64() => Err(format!("{value} is less than or equal to the minimum of 0")),
        MemberType::Count => Err(wrong_type(value, "'integer'")),
        MemberType::Disks => {
            let disks = value.as_array().ok_or_else(|| wrong_type(value, "'array'"))?;
            let are_names = disks.iter().all(Value::is_string);
            let are_objects = disks.len() >= 2 && disks.iter().all(Value::is_object);
            let wrong = || format!("{} is not valid under any of the given schemas", python::quoted(value));
            if are_names || are_objects { Ok(()) } else { Err(wrong()) }
        }
    }
}

fn only(members: &Map<String, Value>, known: impl Fn(&str) -> bool) -> Result<(), String> {
    let unknown: Vec<&String> = members.keys().filter(|name| !known(name)).collect();
    let was = if unknown.len() == 1 { "was" } else { "were" };
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!("Additional properties are not allowed ({} {was} unexpected)", python::listed(&unknown)))
}

fn required(name: &str) -> String {
    format!("'{name}' is a required property")
}

fn wrong_type(value: &Value, types: &str) -> String {
    format!("{} is not of type {types}", python::quoted(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_text(body: &Value) -> String {
        target(body).unwrap_err().text
    }

    #[test]
    fn an_empty_body_clears_the_configuration() {
        assert_eq!(target(&Value::Null), Ok(Map::new()));
        assert_eq!(target(&json!({})), Ok(Map::new()));
    }

    #[test]
    fn a_logical_disk_has_a_size_a_level_and_only_known_members() {
        let with = |more: Value| {
            let mut disk = json!({"size_gb": 100, "raid_level": "1"}).as_object().cloned().unwrap();
            disk.extend(more.as_object().cloned().unwrap());
            json!({"logical_disks": [disk]})
        };
        assert!(target(&with(json!({"size_gb": "MAX", "is_root_volume": true, "controller": "c"}))).is_ok());
        for (more, why) in [
            (json!({"size_gb": "x"}), "'x' is not one of ['MAX']"),
            (json!({"size_gb": -1}), "-1 is less than the minimum of 0"),
            (json!({"raid_level": "7"}), "'7' is not one of ['JBOD', '0', '1', '2', '5', '6', '1+0', '5+0', '6+0']"),
            (json!({"bogus": 1}), "Additional properties are not allowed ('bogus' was unexpected)"),
            (json!({"disk_type": "xx"}), "'xx' is not one of ['hdd', 'ssd']"),
            (json!({"physical_disks": ["a"]}), "'controller' is a dependency of 'physical_disks'"),
        ] {
            assert_eq!(error_text(&with(more)), format!("RAID config validation error: {why}"));
        }
        assert!(error_text(&json!([])).starts_with("Expected types <class 'dict'>"));
        assert!(error_text(&json!({"logical_disks": []})).ends_with("[] should be non-empty"));
        assert!(error_text(&json!({"x": 1})).contains("'logical_disks' is a required property"));
    }

    #[test]
    fn at_most_one_disk_is_the_root_volume() {
        let root = json!({"size_gb": 5, "raid_level": "1", "is_root_volume": true});
        let two = json!({"logical_disks": [root, root]});
        assert!(error_text(&two).starts_with("Raid config cannot have more than one root volume. 2 "));
    }
}
