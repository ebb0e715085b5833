//! `instance_info`: what is deployed for an instance.

use serde_json::Value;

use super::ExtraFields;

const TRAITS: &str = "traits";
const CONFIG_DRIVE: &str = "configdrive";

/// The traits that the instance asked for. They name deploy templates.
pub fn traits(info: &ExtraFields) -> impl Iterator<Item = &str> {
    info.texts(TRAITS)
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
    info.as_map_mut().insert(CONFIG_DRIVE.to_owned(), drive);
}
