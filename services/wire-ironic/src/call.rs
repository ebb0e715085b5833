//! Parsers for the bodies of calls below a node.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::argument;
use crate::error::{Class, Error, text};
use crate::fields::{check_trait, schema_error};
use crate::python;
use crate::version::Version;

/// Maximum number of traits of a node.
pub const MAX_TRAITS: usize = 50;
/// First minor version in which a VIF can name its port.
const VIF_PORT_SINCE: u16 = 67;
/// Kinds of virtual drives.
pub(crate) const DEVICE_TYPES: &[&str] = &["disk", "cdrom", "floppy"];
/// Ways in which a BMC gets an image.
pub(crate) const IMAGE_SOURCES: &[&str] = &["http", "local", "swift"];
/// Schemes of image URLs.
pub(crate) const IMAGE_URL_SCHEMES: &[&str] = &["http", "https", "file"];
/// Names of the boot modes.
pub(crate) const BOOT_MODES: &[&str] = &["bios", "uefi"];

/// Parses `PUT maintenance`: the reason.
///
/// # Errors
/// 400.
pub fn maintenance(body: &Map<String, Value>) -> Result<Option<String>, Error> {
    argument::only(body, &["reason"])?;
    argument::text(body, "reason")
}

/// Parses `PUT states/console`: on or off.
///
/// # Errors
/// 400.
pub fn console(body: &Map<String, Value>) -> Result<bool, Error> {
    argument::only(body, &["enabled"])?;
    argument::flag(body, "enabled")?.ok_or_else(|| argument::missing("enabled"))
}

/// Boot mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BootMode {
    /// `bios`.
    Bios,
    /// `uefi`.
    Uefi,
}

/// Parses `PUT states/boot_mode`.
///
/// # Errors
/// 400.
pub fn boot_mode(body: &Map<String, Value>) -> Result<BootMode, Error> {
    argument::only(body, &["target"])?;
    let target = argument::text(body, "target")?.ok_or_else(|| argument::missing("target"))?;
    match target.as_str() {
        "bios" => Ok(BootMode::Bios),
        "uefi" => Ok(BootMode::Uefi),
        _ => {
            let allowed = BOOT_MODES.join(", ");
            let message = format!("Invalid boot mode {target} requested for node. Allowed boot modes are: {allowed}");
            Err(Class::Invalid.error(message))
        }
    }
}

/// Parses `PUT states/secure_boot`: on or off.
///
/// # Errors
/// 400.
pub fn secure_boot(body: &Map<String, Value>) -> Result<bool, Error> {
    argument::only(body, &["target"])?;
    argument::flag(body, "target")?.ok_or_else(|| argument::missing("target"))
}

/// Parses `PUT management/boot_device`: the device, and whether it is persistent.
///
/// # Errors
/// 400 for an invalid body. The caller checks the device.
pub fn boot_device(body: &Map<String, Value>) -> Result<(String, bool), Error> {
    argument::only(body, &["boot_device", "persistent"])?;
    let device = argument::text(body, "boot_device")?.ok_or_else(|| argument::missing("boot_device"))?;
    Ok((device, argument::flag(body, "persistent")?.unwrap_or_default()))
}

/// Parses the arguments of the vendor method `bmc_reset`: whether the reset is warm, which it is by default.
///
/// # Errors
/// 400 if `warm` is not a boolean. Ironic takes any other word for a cold reset.
pub fn bmc_reset(arguments: &Map<String, Value>) -> Result<bool, Error> {
    Ok(argument::flag(arguments, "warm")?.unwrap_or(true))
}

/// Parses the arguments of the vendor method `send_raw`: the words of the command.
///
/// # Errors
/// 400 if `raw_bytes` is missing or not a string. It is not quoted, because it may be a password.
pub fn send_raw(arguments: &Map<String, Value>) -> Result<&str, Error> {
    match arguments.get("raw_bytes") {
        Some(Value::String(words)) if !words.is_empty() => Ok(words),
        None | Some(Value::Null | Value::String(_)) => {
            Err(Class::Invalid.error("Parameter raw_bytes (string of bytes) was not specified."))
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Class::Invalid.error("raw_bytes must be a string of bytes, such as \"0x00 0x01\"."))
        }
    }
}

/// Parses `PUT management/indicators/NAME`: the state of the indicator.
///
/// # Errors
/// 400 for an invalid body. The caller checks the indicator.
pub fn indicator(body: &Map<String, Value>) -> Result<String, Error> {
    argument::only(body, &["state"])?;
    argument::text(body, "state")?.ok_or_else(|| argument::missing("state"))
}

/// Parses `PUT traits`: all traits, sorted and without duplicates. `node` is for the error.
///
/// # Errors
/// 400.
pub fn traits(node: &str, body: &Map<String, Value>) -> Result<Vec<String>, Error> {
    let unknown: Vec<&String> = body.keys().filter(|name| *name != "traits").collect();
    if !unknown.is_empty() {
        let unknown = python::listed(&unknown);
        return Err(schema_error("body", &format!("Additional properties are not allowed ({unknown} was unexpected)")));
    }
    if !body.contains_key("traits") {
        return Err(Class::Invalid.error(
            "A single node trait may be added via PUT /v1/nodes/<node identifier>/traits/<trait> with no body, or all \
             node traits may be replaced via PUT /v1/nodes/<node identifier>/traits with the list of traits specified \
             in the request body.",
        ));
    }
    let mut traits = Vec::new();
    for item in argument::list(body, "traits")? {
        let text = item.as_str().unwrap_or_default();
        check_trait("body", text)?;
        traits.push(text.to_owned());
    }
    traits.sort_unstable();
    traits.dedup();
    check_trait_count(node, traits.len())?;
    Ok(traits)
}

/// Checks `PUT traits/<trait>`: one more trait; `has` is the resulting number of traits.
///
/// # Errors
/// 400.
pub fn one_trait(node: &str, text: &str, has: usize) -> Result<(), Error> {
    check_trait("trait", text)?;
    check_trait_count(node, has)
}

fn check_trait_count(node: &str, count: usize) -> Result<(), Error> {
    if count <= MAX_TRAITS {
        return Ok(());
    }
    Err(Class::Invalid.error(format!(
        "Could not modify traits for node {node} as it would exceed the maximum number of traits per node ({count} vs. \
         {MAX_TRAITS})"
    )))
}

/// Virtual interface of a network, attached to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vif {
    /// Id of the VIF.
    pub id: String,
    /// Port or port group, by UUID. `None` selects a free one.
    pub into: Option<Into>,
    /// Other members, kept for the network service.
    pub other: Map<String, Value>,
}

/// What a VIF is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Into {
    /// Port.
    Port(String),
    /// Port group.
    Portgroup(String),
}

/// Parses `POST vifs`.
///
/// # Errors
/// 400, or 406 for a port in a version without it.
pub fn vif(version: Version, body: &Map<String, Value>) -> Result<Vif, Error> {
    let id = argument::text(body, "id")?.ok_or_else(|| schema_error("vif", "'id' is a required property"))?;
    let into = match (argument::text(body, "port_uuid")?, argument::text(body, "portgroup_uuid")?) {
        (None, None) => None,
        _ if !version.has(VIF_PORT_SINCE) => return Err(text::not_acceptable()),
        (Some(port), None) => Some(Into::Port(port)),
        (None, Some(portgroup)) => Some(Into::Portgroup(portgroup)),
        (Some(_), Some(_)) => {
            return Err(Class::Invalid.error("Cannot specify both port_uuid and portgroup_uuid"));
        }
    };
    let known = |name: &str| matches!(name, "id" | "port_uuid" | "portgroup_uuid");
    let other = body.iter().filter(|(name, _)| !known(name)).map(|(name, value)| (name.clone(), value.clone()));
    Ok(Vif { id, into, other: other.collect() })
}

/// Image for a virtual drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// `cdrom`, `disk` or `floppy`.
    pub device_type: String,
    /// URL of the image.
    pub image_url: String,
    /// How the BMC gets the image: `local`, `http` or `swift`.
    pub source: String,
}

/// Parses `POST vmedia`.
///
/// # Errors
/// 400.
pub fn media(body: &Map<String, Value>) -> Result<Media, Error> {
    let required = |name: &str| {
        argument::text(body, name)?.ok_or_else(|| schema_error("vmedia", &format!("'{name}' is a required property")))
    };
    let (device_type, image_url) = (required("device_type")?, required("image_url")?);
    let source = argument::text(body, "image_download_source")?.unwrap_or_else(|| "local".to_owned());
    one_of(&device_type, DEVICE_TYPES)?;
    one_of(&source, IMAGE_SOURCES)?;
    let scheme = image_url.split_once("://").map_or("", |(scheme, _)| scheme);
    if !IMAGE_URL_SCHEMES.contains(&scheme) {
        return Err(Class::Invalid.error(format!("Unsupported or missing URL scheme: {scheme}")));
    }
    Ok(Media { device_type, image_url, source })
}

/// Parses `DELETE vmedia`: the drives. Empty for all.
///
/// # Errors
/// 400.
pub fn media_types(pairs: &[(String, String)]) -> Result<Vec<String>, Error> {
    argument::unexpected(pairs.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "device_types"))?;
    let types: Vec<String> =
        pairs.iter().flat_map(|(_, value)| value.split(',')).map(|word| word.trim().to_owned()).collect();
    let invalid: Vec<&str> = types.iter().map(String::as_str).filter(|word| !DEVICE_TYPES.contains(word)).collect();
    if invalid.is_empty() {
        return Ok(types);
    }
    let (invalid, valid) = (invalid.join(", "), DEVICE_TYPES.join(", "));
    Err(Class::Invalid.error(format!("Invalid device type(s) {invalid} (valid are {valid})")))
}

fn one_of(word: &str, words: &[&str]) -> Result<(), Error> {
    if words.contains(&word) {
        return Ok(());
    }
    let words = python::listed(words);
    Err(schema_error("vmedia", &format!("{} is not one of [{words}]", python::quoted_text(word))))
}

/// Encodes the response of `validate`: each interface with its result.
#[must_use]
pub fn validation<'a, E: fmt::Display>(interfaces: impl Iterator<Item = (&'a str, Result<(), E>)>) -> Value {
    let results = interfaces.map(|(name, result)| {
        let value = match result {
            Ok(()) => json!({"result": true}),
            Err(reason) => json!({"result": false, "reason": reason.to_string()}),
        };
        (name.to_owned(), value)
    });
    Value::Object(results.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn traits_are_sorted_and_unique() {
        let body = object(json!({"traits": ["HW_CPU_X86_VMX", "CUSTOM_B", "CUSTOM_A", "CUSTOM_B"]}));
        assert_eq!(traits("n", &body).unwrap(), ["CUSTOM_A", "CUSTOM_B", "HW_CPU_X86_VMX"]);
        let many: Vec<String> = (0..51).map(|number| format!("CUSTOM_{number}")).collect();
        assert_eq!(traits("n", &object(json!({"traits": many}))).unwrap_err().status, 400);
        assert_eq!(traits("n", &object(json!({"traits": [5]}))).unwrap_err().status, 400);
    }

    #[test]
    fn a_vif_can_name_its_port_from_67() {
        let body = object(json!({"id": "v", "port_uuid": "11111111-1111-4111-8111-000000000001", "more": 1}));
        assert_eq!(vif(Version::new(66).unwrap(), &body).unwrap_err().status, 406);
        let vif = vif(Version::MAX, &body).unwrap();
        assert!(matches!(vif.into, Some(Into::Port(_))) && vif.other.contains_key("more"));
    }

    #[test]
    fn virtual_media_require_a_url_that_a_bmc_can_load() {
        let parse = |url: &str| media(&object(json!({"device_type": "cdrom", "image_url": url})));
        assert_eq!(parse("https://h/i.iso").unwrap().source, "local");
        assert!(parse("gopher://h/i.iso").is_err() && parse("i.iso").is_err());
        assert!(media_types(&[("device_types".to_owned(), "cdrom,tape".to_owned())]).is_err());
    }

    #[test]
    fn the_error_names_a_missing_argument() {
        let none = Map::new();
        assert_eq!(console(&none).unwrap_err().text, "Missing mandatory parameter: enabled");
        assert_eq!(secure_boot(&none).unwrap_err().text, "Missing mandatory parameter: target");
        assert_eq!(maintenance(&none).unwrap(), None);
        assert_eq!(boot_device(&object(json!({"boot_device": "pxe"}))).unwrap(), ("pxe".to_owned(), false));
    }
}
