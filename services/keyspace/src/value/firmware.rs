//! What a machine's firmware is set to, as its BMC says.

use std::collections::BTreeMap;

use domain::{id::InstanceId, power::BootMode, time::Timestamp};
use serde::{Deserialize, Serialize};

/// How a node's firmware boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareSeen {
    /// Which of its interfaces; none: its BMC does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    /// Whether signed systems alone; none: its BMC does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// When it was read.
    pub seen_at: Timestamp,
    /// By whom.
    pub seen_by: InstanceId,
}

/// The settings of a node's firmware by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bios {
    /// The settings.
    pub settings: BTreeMap<String, BiosSetting>,
}

/// One setting, and what the registry of the machine's maker says of it, where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BiosSetting {
    /// What it is set to, as a text; none: it says nothing, or it is a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `Enumeration`, `String`, `Integer`, `Boolean` or `Password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute_type: Option<String>,
    /// What it may be set to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowable_values: Option<Vec<String>>,
    /// The least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_bound: Option<i64>,
    /// The greatest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper_bound: Option<i64>,
    /// Characters of the shortest text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<i64>,
    /// Of the longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<i64>,
    /// Whether it can not be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Whether a change of it needs a reboot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_required: Option<bool>,
    /// Whether it is this machine's alone, such as a serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<bool>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When it was first seen to be as it is, where it was otherwise before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

impl Bios {
    /// What was read, with the times of what was known before.
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
