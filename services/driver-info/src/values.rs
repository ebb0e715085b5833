//! Values in every form that clients of Ironic send. The stock command line turns digits into numbers.

use domain::{image::checksum::is_url, power::BootPersistence, url_text};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error};

/// Words for false, as oslo.utils `strutils.bool_from_string` has them.
pub(crate) const FALSE: &[&str] = &["false", "0", "f", "off", "n", "no"];
/// Words for true.
pub(crate) const TRUE: &[&str] = &["true", "1", "t", "on", "y", "yes"];

/// The value of a key. `None` if it is missing, null or empty.
pub(crate) fn given<'a>(info: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    info.get(key).filter(|value| !value.is_null() && value.as_str() != Some(""))
}

/// A value as text. The stock command line turns digits into a number.
#[must_use]
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Checks the values that are URLs, not names, among those of these keys.
///
/// # Errors
/// 400 with the key, the reason and what to do.
pub(crate) fn check_urls(dictionary: &str, keys: &[&str], info: &Map<String, Value>) -> Result<(), Error> {
    let urls = keys.iter().filter_map(|key| Some((key, info.get(*key)?.as_str()?)));
    for (key, url) in urls.filter(|(_, text)| is_url(text)) {
        let checked = url_text::check(url);
        checked.map_err(|error| Class::Invalid.error(format!("{dictionary}/{key} is invalid: {error}")))?;
    }
    Ok(())
}

/// A value as a Boolean, in each form that Ironic accepts.
pub(crate) fn truth(value: &Value) -> Option<bool> {
    let word = plain(value).trim().to_ascii_lowercase();
    let word = word.as_str();
    if TRUE.contains(&word) { Some(true) } else { FALSE.contains(&word).then_some(false) }
}

/// The value of `force_persistent_boot_device`. Ironic accepts the old values True and False as Always and Default.
pub(crate) fn boot_persistence(value: &Value) -> Option<BootPersistence> {
    match plain(value).trim().to_ascii_lowercase().as_str() {
        "default" => Some(BootPersistence::Default),
        "always" => Some(BootPersistence::Always),
        "never" => Some(BootPersistence::Never),
        _ => truth(value).map(|is_on| if is_on { BootPersistence::Always } else { BootPersistence::Default }),
    }
}
