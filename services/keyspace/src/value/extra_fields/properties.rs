//! `properties`: what the hardware is and can do.

use std::collections::BTreeMap;

use domain::power::BootMode;
use serde_json::Value;

use super::{ExtraFields, all_capabilities, capabilities, disk_hints};

/// Reads `properties`.
#[derive(Debug, Clone, Copy)]
pub struct Properties<'a>(&'a ExtraFields);

impl<'a> Properties<'a> {
    /// Reads a node's `properties`.
    #[must_use]
    pub const fn of(fields: &'a ExtraFields) -> Self {
        Self(fields)
    }

    /// The power domain. `None` if none is named.
    #[must_use]
    pub fn power_domain(self) -> Option<&'a str> {
        self.0.text("power_domain").filter(|domain| !domain.is_empty())
    }

    /// The capabilities and their values, in one of the two forms that Ironic accepts: a text `name:value,name:value` or an
    /// object. Leaves out a value of an object that is not a text. Of two values of one name, the first counts.
    pub fn capabilities(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        capabilities(self.0)
    }

    /// The firmware interface that the node is to boot with. `None` if the capability `boot_mode` names none.
    #[must_use]
    pub fn boot_mode(self) -> Option<BootMode> {
        let capabilities = all_capabilities(self.0);
        boot_mode(&capabilities.iter().find(|(name, _)| name == "boot_mode")?.1)
    }

    /// Hints for the disk that an image is written to, by name. Empty if there are none.
    #[must_use]
    pub fn root_device(self) -> BTreeMap<String, String> {
        self.0.as_map().get("root_device").map(disk_hints).unwrap_or_default()
    }

    /// Hints for the disks that are left as they are, for each.
    #[must_use]
    pub fn skipped_disks(self) -> Vec<BTreeMap<String, String>> {
        match self.0.as_map().get("skip_block_devices") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(disks)) => disks.iter().map(disk_hints).filter(|hints| !hints.is_empty()).collect(),
            Some(other) => vec![disk_hints(other)].into_iter().filter(|hints| !hints.is_empty()).collect(),
        }
    }
}

/// The firmware interface of a name, in any case of letters.
pub(super) fn boot_mode(name: &str) -> Option<BootMode> {
    match name.to_ascii_lowercase().as_str() {
        "uefi" => Some(BootMode::Uefi),
        "bios" => Some(BootMode::Bios),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn properties(value: Value) -> ExtraFields {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn capabilities_are_a_text_or_an_object() {
        for (capabilities, pairs) in [
            (json!("boot_option:local, raid:1,raid:5"), vec![("boot_option", "local"), ("raid", "1"), ("raid", "5")]),
            (json!({"boot_option": "local", "raid": "1"}), vec![("boot_option", "local"), ("raid", "1")]),
            (json!({"boot_option": "local", "raid": 1}), vec![("boot_option", "local")]),
            (json!("raid"), vec![]),
            (json!(7), vec![]),
            (json!(null), vec![]),
            (json!(["raid:1"]), vec![]),
        ] {
            let fields = properties(json!({"capabilities": capabilities}));
            assert_eq!(Properties::of(&fields).capabilities().collect::<Vec<_>>(), pairs, "{capabilities}");
        }
        assert_eq!(Properties::of(&ExtraFields::new()).capabilities().next(), None);
    }

    #[test]
    fn the_firmware_is_a_capability() {
        for (capabilities, mode) in [
            ("boot_option:local,boot_mode:bios", Some(BootMode::Bios)),
            ("boot_mode:uefi", Some(BootMode::Uefi)),
            ("boot_mode:other", None),
            ("{\"boot_mode\": \"bios\"}", Some(BootMode::Bios)),
            ("", None),
        ] {
            let fields = properties(json!({"capabilities": capabilities}));
            assert_eq!(Properties::of(&fields).boot_mode(), mode, "{capabilities}");
        }
    }

    #[test]
    fn hints_for_disks_are_read_in_every_form_and_none_is_lost() {
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        for (value, hints) in [
            (json!({"size": 100}), one("size", "100")),
            (json!({"rotational": false}), one("rotational", "false")),
            (json!({"name": "s== /dev/sda"}), one("name", "s== /dev/sda")),
            (json!({}), BTreeMap::new()),
            (json!(null), BTreeMap::new()),
            (json!(""), BTreeMap::new()),
            // No hint is called so, and it is refused.
            (json!("/dev/sda"), one("\"/dev/sda\"", "")),
            (json!(["size"]), one("[\"size\"]", "")),
        ] {
            let fields = properties(json!({"root_device": value, "skip_block_devices": [value]}));
            assert_eq!(Properties::of(&fields).root_device(), hints, "{value}");
            let skipped: Vec<_> = [hints].into_iter().filter(|hints| !hints.is_empty()).collect();
            assert_eq!(Properties::of(&fields).skipped_disks(), skipped, "{value}");
        }
        let fields = properties(json!({"skip_block_devices": {"size": 1}}));
        assert_eq!(Properties::of(&fields).skipped_disks(), [one("size", "1")]);
    }

    #[test]
    fn an_empty_power_domain_is_none() {
        assert_eq!(Properties::of(&properties(json!({"power_domain": "a"}))).power_domain(), Some("a"));
        assert_eq!(Properties::of(&properties(json!({"power_domain": ""}))).power_domain(), None);
        assert_eq!(Properties::of(&properties(json!({}))).power_domain(), None);
    }
}
