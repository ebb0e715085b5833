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

    /// The value of a capability. Capabilities are a text (`name:value,name:value`) or an object.
    #[must_use]
    pub fn capability(self, name: &str) -> Option<&'a str> {
        match self.0.as_map().get("capabilities")? {
            Value::String(all) => {
                let pairs = all.split(',').filter_map(|pair| pair.trim().split_once(':'));
                pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.get(name)?.as_str()
            }
        }
    }

    /// The firmware interface that the node is to boot with. `None` if the capability `boot_mode` names none.
    #[must_use]
    pub fn boot_mode(self) -> Option<BootMode> {
        match self.capability("boot_mode")? {
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
        for value in [json!("boot_option:local, raid:1"), json!({"boot_option": "local", "raid": "1"})] {
            let fields = properties(json!({"capabilities": value}));
            assert_eq!(Properties::of(&fields).capability("raid"), Some("1"), "{fields:?}");
            assert_eq!(Properties::of(&fields).capability("rai"), None, "{fields:?}");
        }
        for value in [json!(7), json!(null), json!(["raid:1"])] {
            assert_eq!(Properties::of(&properties(json!({"capabilities": value}))).capability("raid"), None);
        }
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
