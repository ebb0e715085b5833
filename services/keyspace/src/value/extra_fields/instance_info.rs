//! `instance_info`: what is deployed for an instance.

use std::collections::BTreeMap;

use domain::power::BootMode;
use serde_json::Value;

use super::{ExtraFields, all_capabilities, disk_hints, properties::boot_mode};

const TRAITS: &str = "traits";

/// Reads `instance_info`.
#[derive(Debug, Clone, Copy)]
pub struct InstanceInfo<'a>(&'a ExtraFields);

impl<'a> InstanceInfo<'a> {
    /// The key of the config drive: a URL, an image in base64, or its parts. Its value is sealed.
    pub const CONFIG_DRIVE: &'static str = "configdrive";

    /// Reads a node's `instance_info`.
    #[must_use]
    pub const fn of(fields: &'a ExtraFields) -> Self {
        Self(fields)
    }

    /// The text under a key, without white space around it. `None` if there is none, or it is empty.
    fn text(self, key: &str) -> Option<&'a str> {
        self.0.text(key).map(str::trim).filter(|text| !text.is_empty())
    }

    /// The image: the URL, name or id.
    #[must_use]
    pub fn image_source(self) -> Option<&'a str> {
        self.text("image_source")
    }

    /// The digest of the image, or a URL of a list of them. It may name its algorithm.
    #[must_use]
    pub fn image_checksum(self) -> Option<&'a str> {
        self.text("image_checksum")
    }

    /// The algorithm and the value of the image's digest, if both are named.
    #[must_use]
    pub fn image_os_hash(self) -> Option<(&'a str, &'a str)> {
        self.text("image_os_hash_algo").zip(self.text("image_os_hash_value"))
    }

    /// The format of the image.
    #[must_use]
    pub fn image_disk_format(self) -> Option<&'a str> {
        self.0.text("image_disk_format")
    }

    /// What the image is packed in.
    #[must_use]
    pub fn image_container_format(self) -> Option<&'a str> {
        self.0.text("image_container_format")
    }

    /// Arguments of the agent's kernel.
    #[must_use]
    pub fn kernel_append_params(self) -> Option<&'a str> {
        self.0.text("kernel_append_params").filter(|text| !text.is_empty())
    }

    /// The traits that the instance asked for. They name deploy templates.
    pub fn traits(self) -> impl Iterator<Item = &'a str> {
        self.0.texts(TRAITS)
    }

    /// The capabilities that the instance asked for and their values: as in `properties`, or an object as JSON text
    /// (`ironic/common/utils.py`, `parse_instance_info_capabilities`).
    #[must_use]
    pub fn capabilities(self) -> Vec<(String, String)> {
        all_capabilities(self.0)
    }

    /// The firmware interface that the instance boots with, by its capability or by the older key `deploy_boot_mode`.
    #[must_use]
    pub fn boot_mode(self) -> Option<BootMode> {
        let mut capabilities = self.capabilities().into_iter();
        let capability = capabilities.find(|(name, _)| name == "boot_mode").map(|(_, mode)| mode);
        capability.as_deref().or_else(|| self.text("deploy_boot_mode")).and_then(boot_mode)
    }

    /// Hints for the disk that the image is written to, by name. Empty if there are none. They have precedence over those of
    /// `properties`.
    #[must_use]
    pub fn root_device(self) -> BTreeMap<String, String> {
        self.0.as_map().get("root_device").map(disk_hints).unwrap_or_default()
    }

    /// Returns whether a ramdisk is to run instead of an image (`ironic/drivers/modules/ramdisk.py`).
    #[must_use]
    pub fn wants_ramdisk(self) -> bool {
        let is_wanted = self.0.as_map().get("ironic_ramdisk_deploy").is_some_and(|value| {
            value.as_bool().unwrap_or(true) && value.as_str().is_none_or(|word| !word.eq_ignore_ascii_case("false"))
        });
        let has = |name: &str| self.text(name).is_some();
        is_wanted && (has("boot_iso") || has("kernel") && has("ramdisk"))
    }
}

/// Sets the traits that the instance asked for.
pub fn set_traits(info: &mut ExtraFields, traits: &[String]) {
    info.as_map_mut().insert(TRAITS.to_owned(), traits.into());
}

/// Removes the traits that the instance asked for.
pub fn clear_traits(info: &mut ExtraFields) {
    info.remove(TRAITS);
}

/// Sets the config drive: a URL, an image in base64, or its parts. It is a secret and still to be sealed.
pub fn set_config_drive(info: &mut ExtraFields, drive: Value) {
    info.as_map_mut().insert(InstanceInfo::CONFIG_DRIVE.to_owned(), drive);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_boot_mode_of_an_instance_is_read_in_every_form_of_ironic() {
        for (info, mode) in [
            (json!({"capabilities": {"boot_mode": "bios"}}), Some(BootMode::Bios)),
            (json!({"capabilities": "{\"boot_mode\": \"bios\"}"}), Some(BootMode::Bios)),
            (json!({"capabilities": "boot_mode:bios,raid:1"}), Some(BootMode::Bios)),
            (json!({"capabilities": {"boot_mode": "UEFI"}}), Some(BootMode::Uefi)),
            (json!({"deploy_boot_mode": "bios"}), Some(BootMode::Bios)),
            (json!({"deploy_boot_mode": "bios", "capabilities": {"boot_mode": "uefi"}}), Some(BootMode::Uefi)),
            (json!({"capabilities": {"secure_boot": true}}), None),
            (json!({}), None),
        ] {
            let fields: ExtraFields = serde_json::from_value(info.clone()).unwrap();
            assert_eq!(InstanceInfo::of(&fields).boot_mode(), mode, "{info}");
        }
        let fields: ExtraFields = serde_json::from_value(json!({"capabilities": {"secure_boot": true}})).unwrap();
        assert_eq!(InstanceInfo::of(&fields).capabilities(), [("secure_boot".to_owned(), "true".to_owned())]);
    }
}
