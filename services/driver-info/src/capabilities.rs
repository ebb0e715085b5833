//! The capabilities that Ironic acts on, in `properties` and in `instance_info`. Others are notes for those who place
//! instances. Pure.

use keyspace::value::{ExtraFields, InstanceInfo};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error};

use crate::{keys::unsupported, values::FALSE};

/// Capabilities that are accepted and on which nothing depends, and the reason.
pub const KEPT: &[(&str, &str)] = &[
    ("disk_label", "the image of a disk has its own partition table"),
    ("boot_option", "Ironic 39 boots every deployed system from its disk, and so does this service"),
    ("iscsi_boot", "storage_interface cinder is not carried out"),
    ("fibre_channel_boot", "storage_interface cinder is not carried out"),
    ("raid_level", "raid_interface is no-raid"),
];

/// Checks the capabilities of a dictionary.
///
/// # Errors
/// 400 with the capability, the reason and what to do.
pub fn check(dictionary: &str, fields: &Map<String, Value>) -> Result<(), Error> {
    if let Some(value) = fields.get("capabilities") {
        let is_read = match value {
            Value::Null | Value::Object(_) | Value::String(_) => true,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
        };
        if !is_read {
            let text = format!("{dictionary}/capabilities must be a text such as boot_mode:uefi,raid:1, or an object");
            return Err(Class::Invalid.error(text));
        }
    }
    let fields = ExtraFields::from(fields.clone());
    for (name, value) in InstanceInfo::of(&fields).capabilities() {
        match name.trim() {
            "boot_mode" => check_boot_mode(&format!("{dictionary}/capabilities boot_mode"), Some(&value))?,
            "secure_boot" if !FALSE.contains(&value.trim().to_ascii_lowercase().as_str()) => {
                let why = "secure boot is not switched on; remove it, and switch it on in the firmware's setup";
                return Err(unsupported(dictionary, "capabilities", &format!("{name}:{value}"), why));
            }
            "trusted_boot" if !FALSE.contains(&value.trim().to_ascii_lowercase().as_str()) => {
                let why = "the boot is not measured; remove it";
                return Err(unsupported(dictionary, "capabilities", &format!("{name}:{value}"), why));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks the name of a firmware interface.
///
/// # Errors
/// 400 with the place and the valid names.
pub(crate) fn check_boot_mode(place: &str, mode: Option<&str>) -> Result<(), Error> {
    match mode.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "bios" | "uefi") => Ok(()),
        Some(other) => Err(Class::Invalid.error(format!("{place} must be bios or uefi, and is {other:?}"))),
    }
}
