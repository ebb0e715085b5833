//! `properties`: what the hardware is and can do.

use domain::{capabilities::Capabilities, power::BootMode};

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

    /// The capabilities.
    #[must_use]
    pub fn capabilities(self) -> Capabilities<'a> {
        self.0.as_map().get("capabilities").map(Capabilities::read).unwrap_or_default()
    }

    /// The firmware interface that the node is to boot with. `None` if the capability `boot_mode` names none.
    #[must_use]
    pub fn boot_mode(self) -> Option<BootMode> {
        match self.capabilities().get("boot_mode")? {
            "uefi" => Some(BootMode::Uefi),
            "bios" => Some(BootMode::Bios),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn properties(value: Value) -> ExtraFields {
        serde_json::from_value(value).unwrap()
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
