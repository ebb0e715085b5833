//! `properties`: what the hardware is and can do.

use domain::power::BootMode;
use serde_json::Value;

use super::ExtraFields;

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
        let value = self.0.as_map().get("capabilities");
        let pairs = value.and_then(Value::as_str).unwrap_or_default().split(',');
        let of_text = pairs.filter_map(|pair| pair.trim().split_once(':'));
        let members = value.and_then(Value::as_object).into_iter().flatten();
        of_text.chain(members.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))))
    }

    /// The firmware interface that the node is to boot with. `None` if the capability `boot_mode` names none.
    #[must_use]
    pub fn boot_mode(self) -> Option<BootMode> {
        match self.capabilities().find(|(name, _)| *name == "boot_mode")?.1 {
            "uefi" => Some(BootMode::Uefi),
            "bios" => Some(BootMode::Bios),
            _ => None,
        }
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
            ("", None),
        ] {
            let fields = properties(json!({"capabilities": capabilities}));
            assert_eq!(Properties::of(&fields).boot_mode(), mode, "{capabilities}");
        }
    }

    #[test]
    fn an_empty_power_domain_is_none() {
        assert_eq!(Properties::of(&properties(json!({"power_domain": "a"}))).power_domain(), Some("a"));
        assert_eq!(Properties::of(&properties(json!({"power_domain": ""}))).power_domain(), None);
        assert_eq!(Properties::of(&properties(json!({}))).power_domain(), None);
    }
}
