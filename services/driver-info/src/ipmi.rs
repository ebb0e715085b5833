//! Parses the IPMI properties of `driver_info`. Pure.

use domain::{net::BmcAddr, secret::Secret};
use keyspace::value::{CipherSuite, Ipmi, IpmiPrivilege};
use serde_json::{Map, Value};

use crate::values::{given, plain, truth};

/// The property with the key K_G, which is a secret.
pub const KEY: &str = "ipmi_hex_kg_key";
/// Maximum length of the key K_G, in octets (IPMI 2.0 §13.20).
const MAX_KEY_BYTES: usize = 20;

/// An invalid IPMI property. The texts of the first two are Ironic's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIpmi {
    /// The privilege level is none of Ironic's.
    #[error(
        "Invalid privilege level value:{0}, the valid value can be one of ADMINISTRATOR, OPERATOR, USER, CALLBACK \
         (driver_info/ipmi_priv_level)"
    )]
    Privilege(String),
    /// The key K_G has half an octet.
    #[error("Number of ipmi_hex_kg_key characters is not even")]
    OddKey,
    /// The key K_G is no number, or too long.
    #[error("driver_info/ipmi_hex_kg_key must be a hexadecimal number of at most {} digits", MAX_KEY_BYTES * 2)]
    Key,
    /// Sessions with this cipher suite are not supported.
    #[error(
        "driver_info/ipmi_cipher_suite = {0} is not supported: use 17 or 3, or remove it, and 17 is used, or 3 with a BMC \
         that does not have 17"
    )]
    CipherSuite(String),
    /// The value is no Boolean.
    #[error("Invalid value {0} set in driver_info/ipmi_disable_boot_timeout. The value should be a Boolean")]
    BootTimeout(String),
    /// Address and port are no address of a BMC.
    #[error(
        "driver_info/ipmi_address = {address} with driver_info/ipmi_port = {port} is no address of a BMC: set ipmi_address \
         to an IPv4 address or a host name, and ipmi_port to a number from 1 to 65535"
    )]
    Address {
        /// The value of `ipmi_address`.
        address: String,
        /// The value of `ipmi_port`.
        port: String,
    },
}

/// Checks the properties.
///
/// # Errors
/// The first invalid one.
pub fn check(info: &Map<String, Value>) -> Result<(), InvalidIpmi> {
    if given(info, "ipmi_address").is_some() && address(info).is_none() {
        let shown = |key| given(info, key).map(plain).unwrap_or_default();
        return Err(InvalidIpmi::Address { address: shown("ipmi_address"), port: shown("ipmi_port") });
    }
    // A sealed key was checked before it was sealed.
    if let Some(key) = given(info, KEY).filter(|key| !key.is_object()) {
        octets(&plain(key))?;
    }
    parse(info).map(drop)
}

/// Parses how a session is opened. The result has no key K_G, which is a secret.
///
/// # Errors
/// The first invalid property.
pub fn parse(info: &Map<String, Value>) -> Result<Ipmi, InvalidIpmi> {
    let privilege = match given(info, "ipmi_priv_level").map(plain) {
        None => IpmiPrivilege::default(),
        Some(word) => word.parse().map_err(|_| InvalidIpmi::Privilege(word))?,
    };
    let cipher_suite = match given(info, "ipmi_cipher_suite").map(plain) {
        None => None,
        Some(number) => {
            let suite = number.trim().parse().ok().and_then(CipherSuite::of);
            Some(suite.ok_or(InvalidIpmi::CipherSuite(number))?)
        }
    };
    let keeps_boot_timeout = match given(info, "ipmi_disable_boot_timeout") {
        None => false,
        Some(value) => !truth(value).ok_or_else(|| InvalidIpmi::BootTimeout(plain(value)))?,
    };
    Ok(Ipmi { privilege, cipher_suite, key: None, keeps_boot_timeout })
}

/// Parses the address. `None` if there is none, or it is invalid.
#[must_use]
pub fn address(info: &Map<String, Value>) -> Option<BmcAddr> {
    let host = info.get("ipmi_address").and_then(Value::as_str).filter(|host| !host.is_empty())?;
    let port = given(info, "ipmi_port").map_or_else(|| domain::net::IPMI_PORT.to_string(), plain);
    format!("{host}:{port}").parse().ok()
}

/// The octets of the key K_G. `None` if it is empty or invalid.
#[must_use]
pub fn key_octets(key: &Secret) -> Option<Secret> {
    let text = std::str::from_utf8(key.expose()).ok()?;
    octets(text).ok().filter(|key| !key.expose().is_empty())
}

fn octets(text: &str) -> Result<Secret, InvalidIpmi> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if !digits.len().is_multiple_of(2) {
        return Err(InvalidIpmi::OddKey);
    }
    let octets = hex::decode(digits).ok().filter(|octets| octets.len() <= MAX_KEY_BYTES);
    octets.map(Secret::new).ok_or(InvalidIpmi::Key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn the_port_is_optional_and_may_be_text_or_number() {
        let at = |value| address(&info(value)).map(|address| address.to_string());
        assert_eq!(at(json!({"ipmi_address": "10.0.0.5"})).as_deref(), Some("10.0.0.5:623"));
        assert_eq!(at(json!({"ipmi_address": "bmc", "ipmi_port": "1623"})).as_deref(), Some("bmc:1623"));
        assert_eq!(at(json!({"ipmi_address": "bmc", "ipmi_port": 1623})).as_deref(), Some("bmc:1623"));
        assert_eq!(at(json!({"ipmi_address": "bmc", "ipmi_port": null})).as_deref(), Some("bmc:623"));
        assert_eq!(at(json!({"ipmi_address": "no host", "ipmi_port": 1})), None);
        assert_eq!(at(json!({})), None);
        for wrong in [json!(0), json!("x"), json!(65_536), json!(-1), json!("1 2")] {
            let refused = check(&info(json!({"ipmi_address": "bmc", "ipmi_port": wrong}))).unwrap_err().to_string();
            assert!(refused.contains("driver_info/ipmi_port"), "{refused}");
        }
    }

    #[test]
    fn properties_are_accepted_in_every_form_that_clients_use() {
        let of = |value| parse(&info(value));
        assert_eq!(of(json!({})), Ok(Ipmi::default()));
        for level in IpmiPrivilege::ALL {
            assert_eq!(of(json!({"ipmi_priv_level": level.word()})).unwrap().privilege, level);
        }
        for (value, wanted) in [
            (json!(17), Some(CipherSuite::Seventeen)),
            (json!("17"), Some(CipherSuite::Seventeen)),
            (json!(3), Some(CipherSuite::Three)),
            (json!("3"), Some(CipherSuite::Three)),
            (json!(null), None),
            (json!(""), None),
        ] {
            assert_eq!(of(json!({"ipmi_cipher_suite": value})).unwrap().cipher_suite, wanted, "{value}");
        }
        for (value, keeps) in [(json!(false), true), (json!("False"), true), (json!(true), false), (json!("1"), false)]
        {
            assert_eq!(of(json!({"ipmi_disable_boot_timeout": value})).unwrap().keeps_boot_timeout, keeps, "{value}");
        }
    }

    #[test]
    fn an_invalid_property_is_refused_with_its_name_and_what_is_valid() {
        for (key, value, wanted) in [
            ("ipmi_cipher_suite", json!(8), "use 17 or 3"),
            ("ipmi_cipher_suite", json!("seventeen"), "use 17 or 3"),
            ("ipmi_cipher_suite", json!(-3), "use 17 or 3"),
            ("ipmi_priv_level", json!("administrator"), "ADMINISTRATOR"),
            ("ipmi_priv_level", json!("OEM"), "ADMINISTRATOR"),
            ("ipmi_disable_boot_timeout", json!("maybe"), "Boolean"),
            ("ipmi_hex_kg_key", json!("abc"), "not even"),
            ("ipmi_hex_kg_key", json!("xy"), "hexadecimal"),
            ("ipmi_hex_kg_key", json!("00".repeat(21)), "at most 40 digits"),
        ] {
            let refused = check(&info(json!({key: value}))).unwrap_err().to_string();
            assert!(refused.contains(key) && refused.contains(wanted), "{key} = {value}: {refused}");
        }
        assert_eq!(check(&info(json!({"ipmi_hex_kg_key": {"sealed": {}}}))), Ok(()), "checked before it was sealed");
    }

    #[test]
    fn the_key_is_read_as_octets() {
        let of = |text: &str| key_octets(&Secret::new(text.as_bytes().to_vec())).map(|key| key.expose().to_vec());
        assert_eq!(of("6B67"), Some(vec![0x6b, 0x67]));
        assert_eq!(of("0x0012"), Some(vec![0x00, 0x12]));
        assert_eq!(of(""), None);
        assert_eq!(of("x"), None);
    }
}
