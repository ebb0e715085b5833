//! Parses the Redfish properties of `driver_info`. Pure.

use domain::{id::NodeId, net::BmcAddr};
use keyspace::value::{Login, Redfish, Transport, Trust};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error};

use crate::values::{plain, truth};

/// Default path of the service root (DSP0266 §6.3).
const ROOT: &str = "/redfish/v1";
/// Maximum length of a path, in characters.
const MAX_PATH_CHARS: usize = 1024;
/// Maximum length of a value that is repeated in an error, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// Parses how to reach the Redfish service. `None` if `driver_info` has no address.
///
/// # Errors
/// The invalid property, in the words of Ironic.
pub fn parse(info: &Map<String, Value>) -> Result<Option<(BmcAddr, Redfish)>, InvalidProperty> {
    let value = match info.get("redfish_address") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(value) => value,
    };
    let wrong = || {
        InvalidProperty::new(format!("Invalid Redfish address {} set in driver_info/redfish_address", plain(value)), "")
    };
    let (transport, address, root) = value.as_str().and_then(address).ok_or_else(wrong)?;
    let (system, trust, login) = (system(info)?, trust(info)?, login(info)?);
    Ok(Some((address, Redfish { transport, root, system, trust, login })))
}

/// Error for an invalid property: the text before and after the node's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidProperty {
    what: String,
    hint: &'static str,
}

impl InvalidProperty {
    const fn new(what: String, hint: &'static str) -> Self {
        Self { what, hint }
    }

    fn of(&self, node: &str) -> String {
        format!("{} on node {node}{}", self.what, self.hint)
    }
}

/// Reason that a node's Redfish service cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRedfish {
    /// There is no address.
    #[error("Missing the following Redfish properties in node {node} driver_info: ['redfish_address']")]
    NoAddress {
        /// The node.
        node: NodeId,
    },
    /// A property is invalid.
    #[error("{}", property.of(&node.to_string()))]
    Property {
        /// The node.
        node: NodeId,
        /// The property.
        property: InvalidProperty,
    },
}

/// Checks that the properties of a node suffice to reach its BMC.
///
/// # Errors
/// [`InvalidRedfish`]
pub fn validate(node: NodeId, info: &Map<String, Value>) -> Result<(), InvalidRedfish> {
    match parse(info) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(InvalidRedfish::NoAddress { node }),
        Err(property) => Err(InvalidRedfish::Property { node, property }),
    }
}

fn address(text: &str) -> Option<(Transport, BmcAddr, String)> {
    let (scheme, rest) = text.trim().split_once("://").unwrap_or_else(|| ("https", text.trim()));
    let (transport, port) = match scheme.to_ascii_lowercase().as_str() {
        "https" => (Transport::Https, 443),
        "http" => (Transport::Http, 80),
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = if authority.contains(':') { authority.parse() } else { format!("{authority}:{port}").parse() };
    let root = path.trim_end_matches('/');
    let root = if root == ROOT { "" } else { root };
    is_path(root).then_some((transport, address.ok()?, root.to_owned()))
}

fn is_path(text: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b'?' | b'#');
    text.len() <= MAX_PATH_CHARS && !text.starts_with("//") && text.bytes().all(is_plain)
}

fn system(info: &Map<String, Value>) -> Result<String, InvalidProperty> {
    match info.get("redfish_system_id") {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) if is_path(text) => Ok(text.clone()),
        Some(other) => Err(InvalidProperty::new(
            format!("Invalid value \"{}\" set in driver_info/redfish_system_id", plain(other)),
            ". The value should be a path (string) to the resource that the driver will interact with. For example: \
             \"/redfish/v1/Systems/1\"",
        )),
    }
}

fn trust(info: &Map<String, Value>) -> Result<Trust, InvalidProperty> {
    let Some(value) = info.get("redfish_verify_ca").filter(|value| !value.is_null()) else {
        return Ok(Trust::default());
    };
    match truth(value) {
        Some(true) => Ok(Trust::Host),
        Some(false) => Ok(Trust::Anybody),
        None => value.as_str().and_then(Trust::named).filter(is_readable).ok_or_else(|| {
            let shown: String = plain(value).chars().take(MAX_SHOWN_CHARS).collect();
            InvalidProperty::new(
                format!("Invalid value type {shown:?} set in driver_info/redfish_verify_ca"),
                ". The value should be a Boolean, certificates as PEM text, or the name of a PEM file in the folder \
                 power.ca_folder of the power-service's host; a path is refused.",
            )
        }),
    }
}

/// Returns whether PEM text can be decoded and has a certificate. A file is checked by the power-service that has it.
fn is_readable(trust: &Trust) -> bool {
    match trust {
        Trust::Pem(text) => {
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            certificates.is_ok_and(|certificates| !certificates.is_empty())
        }
        Trust::Host | Trust::File(_) | Trust::Anybody => true,
    }
}

/// Checks the certificates that `driver_info` names, whatever the driver: what a client names must never be opened as a
/// path.
///
/// # Errors
/// 400 with the reason.
pub fn check_trust(node: NodeId, info: Option<&Value>) -> Result<(), Error> {
    let Some(info) = info.and_then(Value::as_object) else { return Ok(()) };
    trust(info).map(drop).map_err(|invalid| Class::Invalid.error(invalid.of(&node.to_string())))
}

fn login(info: &Map<String, Value>) -> Result<Login, InvalidProperty> {
    let Some(value) = info.get("redfish_auth_type").filter(|value| !value.is_null()) else {
        return Ok(Login::Auto);
    };
    match plain(value).trim().to_ascii_lowercase().as_str() {
        "auto" => Ok(Login::Auto),
        "session" => Ok(Login::Session),
        "basic" => Ok(Login::Basic),
        _ => Err(InvalidProperty::new(
            format!("Invalid value \"{}\" set in driver_info/redfish_auth_type", plain(value)),
            ". The value should be one of ['auto', 'basic', 'session'].",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(info: Value) -> Result<Option<(BmcAddr, Redfish)>, InvalidProperty> {
        parse(&info.as_object().cloned().unwrap())
    }

    fn at(address: &str) -> Option<(String, Redfish)> {
        let parsed = of(json!({"redfish_address": address})).ok()??;
        Some((parsed.0.to_string(), parsed.1))
    }

    #[test]
    fn an_address_may_leave_out_the_scheme_the_port_and_the_root() {
        let (plain, tls) = (Redfish { transport: Transport::Http, ..Redfish::default() }, Redfish::default());
        let rooted = Redfish { root: "/rack7/redfish/v1".to_owned(), ..Redfish::default() };
        assert_eq!(at("bmc7"), Some(("bmc7:443".to_owned(), tls.clone())));
        assert_eq!(at(" https://10.0.0.5:8443/redfish/v1/ "), Some(("10.0.0.5:8443".to_owned(), tls.clone())));
        assert_eq!(at("HTTP://BMC7/"), Some(("bmc7:80".to_owned(), plain)));
        assert_eq!(at("bmc7/rack7/redfish/v1"), Some(("bmc7:443".to_owned(), rooted)));
        for wrong in ["ftp://bmc", "https://", "https://user@bmc", "bmc:port", "bmc/a b", "bmc/x?y", "bmc//x"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        assert_eq!(of(json!({})), Ok(None));
        assert!(of(json!({"redfish_address": 7})).is_err());
    }

    #[test]
    fn optional_properties_are_accepted_in_every_form_that_clients_use() {
        let of = |more: Value| {
            let mut info = json!({"redfish_address": "bmc"});
            info.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            of(info).map(|parsed| parsed.unwrap().1)
        };
        assert_eq!(of(json!({"redfish_verify_ca": "False"})).unwrap().trust, Trust::Anybody);
        assert_eq!(of(json!({"redfish_verify_ca": true})).unwrap().trust, Trust::Host);
        assert_eq!(of(json!({"redfish_verify_ca": "ca.pem"})).unwrap().trust, Trust::File("ca.pem".to_owned()));
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert_eq!(of(json!({"redfish_verify_ca": pem})).unwrap().trust, Trust::Pem(pem.to_owned()));
        assert_eq!(of(json!({"redfish_auth_type": "session"})).unwrap().login, Login::Session);
        assert!(
            of(json!({"redfish_auth_type": "magic"})).unwrap_err().of("n").contains("['auto', 'basic', 'session']")
        );
        assert_eq!(of(json!({"redfish_system_id": "/redfish/v1/Systems/1"})).unwrap().system, "/redfish/v1/Systems/1");
        assert!(of(json!({"redfish_system_id": 1})).unwrap_err().of("n").contains("redfish_system_id on node n"));
    }

    #[test]
    fn certificates_that_are_named_by_a_path_or_cannot_be_decoded_are_refused() {
        let node = NodeId::new(uuid::Uuid::nil());
        let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        for wrong in [
            json!("/dev/zero"),
            json!("/etc/ca.pem"),
            json!("../ca.pem"),
            json!("sub/ca.pem"),
            json!(".ca.pem"),
            json!(cut),
            json!(broken),
            json!({"path": "/etc/ca.pem"}),
            json!(7),
        ] {
            let error = check_trust(node, Some(&json!({"redfish_verify_ca": wrong}))).unwrap_err();
            assert_eq!(error.status, 400, "{wrong}");
            assert!(error.text.contains("redfish_verify_ca on node"), "{}", error.text);
        }
        for right in [json!(null), json!(true), json!("no"), json!("ca.pem")] {
            assert!(check_trust(node, Some(&json!({"redfish_verify_ca": right}))).is_ok(), "{right}");
        }
        assert!(check_trust(node, None).is_ok());
    }

    #[test]
    fn a_missing_address_is_reported_in_the_words_of_ironic() {
        let node = NodeId::new(uuid::Uuid::nil());
        let why = "Missing the following Redfish properties in node 00000000-0000-0000-0000-000000000000 driver_info: \
                   ['redfish_address']";
        assert_eq!(validate(node, &Map::new()).unwrap_err().to_string(), why);
    }

    #[test]
    fn a_parsed_address_formats_to_the_same_url() {
        let parse = |text: &str| of(json!({"redfish_address": text})).unwrap().unwrap();
        for text in ["https://bmc:8443/rack7", "http://bmc:80"] {
            let (address, redfish) = parse(text);
            assert_eq!(redfish.url(&address), text);
        }
    }
}
