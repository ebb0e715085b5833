//! Firmware settings, as the BMC reports them.

use std::collections::BTreeMap;

use domain::{id::InstanceId, power::BootMode, time::Timestamp};
use serde::{Deserialize, Serialize};

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
}
