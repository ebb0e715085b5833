//! Firmware settings, as the BMC reports them.

use std::collections::BTreeMap;

use domain::{id::InstanceId, power::BootMode, step::Step, time::Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a node's firmware boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareSeen {
    /// The boot mode. `None` if the BMC does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    /// Whether secure boot is on. `None` if the BMC does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// When it was read.
    pub seen_at: Timestamp,
    /// The instance that read it.
    pub seen_by: InstanceId,
}

/// A node's firmware settings by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bios {
    /// The settings.
    pub settings: BTreeMap<String, BiosSetting>,
}

impl Bios {
    /// The settings after a step of Ironic's fake BIOS interface: `apply_configuration` replaces them all by its
    /// arguments, `factory_reset` removes them (`ironic/drivers/modules/fake.py`). `None` for any other step, and for
    /// arguments that name no settings.
    #[must_use]
    pub fn after_fake_step(&self, step: &Step, now: Timestamp) -> Option<Self> {
        match (step.interface.as_str(), step.step.as_str()) {
            ("bios", "factory_reset") => Some(Self::default()),
            ("bios", "apply_configuration") => {
                let named = step.args.get("settings")?.as_array()?.iter();
                let settings = named.filter_map(|setting| {
                    let value = setting.get("value").map(text);
                    Some((setting.get("name")?.as_str()?.to_owned(), BiosSetting { value, ..BiosSetting::default() }))
                });
                Some(Self::read(Some(self), settings.collect(), now))
            }
            _ => None,
        }
    }
}

/// A value as Ironic's database stores it: text, in which `true` is `1`.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => u8::from(*flag).to_string(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A setting, with what the vendor's attribute registry says about it, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BiosSetting {
    /// Its value as text. `None` if the BMC does not report it, or it is a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `Enumeration`, `String`, `Integer`, `Boolean` or `Password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute_type: Option<String>,
    /// The values that it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowable_values: Option<Vec<String>>,
    /// The smallest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_bound: Option<i64>,
    /// The largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper_bound: Option<i64>,
    /// Length of the shortest text, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<i64>,
    /// Length of the longest text, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<i64>,
    /// Whether it is read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Whether a change requires a reboot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_required: Option<bool>,
    /// Whether it is unique to this machine, such as a serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<bool>,
    /// When it was first observed.
    pub created_at: Timestamp,
    /// When its value was observed to have changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

impl Bios {
    /// Combines what was read with the times of what was known before.
    #[must_use]
    pub fn read(before: Option<&Self>, settings: BTreeMap<String, BiosSetting>, now: Timestamp) -> Self {
        let dated = |(name, read): (String, BiosSetting)| {
            let dated = match before.and_then(|before| before.settings.get(&name)) {
                None => BiosSetting { created_at: now, updated_at: None, ..read },
                Some(known) => {
                    let same = BiosSetting { created_at: known.created_at, updated_at: known.updated_at, ..read };
                    if same == *known { same } else { BiosSetting { updated_at: Some(now), ..same } }
                }
            };
            (name, dated)
        };
        Self { settings: settings.into_iter().map(dated).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_setting_keeps_its_times_until_it_changes_and_one_that_is_gone_is_forgotten() {
        let at = Timestamp::from_millis;
        let read = |value: &str| {
            let setting = BiosSetting { value: Some(value.to_owned()), ..BiosSetting::default() };
            BTreeMap::from([("BootMode".to_owned(), setting)])
        };
        let first = Bios::read(None, read("Uefi"), at(1));
        assert_eq!(first, Bios::read(Some(&first), read("Uefi"), at(2)));
        let changed = Bios::read(Some(&first), read("Bios"), at(3));
        let setting = &changed.settings["BootMode"];
        assert_eq!((setting.created_at, setting.updated_at), (at(1), Some(at(3))));
        assert!(Bios::read(Some(&changed), BTreeMap::new(), at(4)).settings.is_empty());
    }

    #[test]
    fn fake_bios_settings_come_change_and_go_as_those_of_a_real_ironic() {
        let step = |step: &str, settings: Value| {
            let args = serde_json::from_value(json!({"settings": settings})).unwrap();
            Step { interface: "bios".to_owned(), step: step.to_owned(), args }
        };
        let at = Timestamp::from_millis;
        let apply = |bios: &Bios, settings, now| bios.after_fake_step(&step("apply_configuration", settings), at(now));
        let seen = |bios: &Bios| -> Vec<_> {
            let all = bios.settings.iter();
            all.map(|(name, one)| (name.clone(), one.value.clone().unwrap(), one.updated_at)).collect()
        };
        let first =
            apply(&Bios::default(), json!([{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]), 1).unwrap();
        assert_eq!(seen(&first), [("a".into(), "1".into(), None), ("b".into(), "2".into(), None)]);
        // What is not named any more goes.
        let second = apply(&first, json!([{"name": "b", "value": "3"}, {"name": "c", "value": true}]), 2).unwrap();
        assert_eq!(seen(&second), [("b".into(), "3".into(), Some(at(2))), ("c".into(), "1".into(), None)]);
        assert_eq!(second.settings["b"].created_at, at(1));
        let same = apply(&second, json!([{"name": "b", "value": "3"}]), 3).unwrap();
        assert_eq!(seen(&same), [("b".into(), "3".into(), Some(at(2)))]);
        assert_eq!(apply(&second, json!("no list"), 4), None);
        assert_eq!(apply(&second, json!([]), 4), Some(Bios::default()));
        assert_eq!(second.after_fake_step(&step("factory_reset", json!([])), at(5)), Some(Bios::default()));
        assert_eq!(second.after_fake_step(&step("other", json!([])), at(5)), None);
    }
}
