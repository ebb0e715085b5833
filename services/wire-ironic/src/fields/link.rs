//! `local_link_connection` of a port: the switch port that a NIC is connected to.
//!
//! Source: `LOCAL_LINK_CONN_SCHEMA` and `local_link_normalize` of `ironic/api/controllers/v1/utils.py`, Ironic 39.0.0.

use serde_json::{Map, Value};

use super::schema_error::schema_error;
use crate::error::{Class, Error};
use crate::python;

/// Members that a connection may have. All are text.
const MEMBERS: &[&str] =
    &["port_id", "switch_id", "hostname", "switch_info", "network_type", "vtep-logical-switch", "vtep-physical-switch"];

/// Checks a connection: none, a switch and its port, a smart NIC's host and port, an unmanaged switch, or a switch of OVN.
///
/// # Errors
/// 400 where it is none of these, where a member is unknown or not text, and for a switch's id that is neither a MAC nor
/// the id of an OpenFlow datapath.
pub(super) fn check(link: &Map<String, Value>) -> Result<(), Error> {
    if link.is_empty() {
        return Ok(());
    }
    let has = |name: &str| link.contains_key(name);
    let text = |name: &str| link.get(name).and_then(Value::as_str);
    let refused = |cause: &str| {
        let link = python::quoted(&Value::Object(link.clone()));
        let cause = if cause.is_empty() { String::new() } else { format!(". Possible root cause: {cause}") };
        schema_error("local_link_connection", &format!("{link} is not valid under any of the given schemas{cause}"))
    };
    let is_known = |(name, value): (&String, &Value)| MEMBERS.contains(&name.as_str()) && value.is_string();
    let is_network_type = text("network_type").is_none_or(|word| ["managed", "unmanaged"].contains(&word));
    let is_ovn = has("vtep-logical-switch") && has("vtep-physical-switch");
    let is_half_ovn = has("vtep-logical-switch") != has("vtep-physical-switch");
    if !link.iter().all(is_known) || !is_network_type || is_half_ovn {
        return Err(refused(""));
    }
    let is_unmanaged = text("network_type") == Some("unmanaged");
    if !is_unmanaged && !(has("port_id") && (has("switch_id") || has("hostname") || is_ovn)) {
        let missing = if has("port_id") { "switch_id" } else { "port_id" };
        return Err(refused(&format!("'{missing}' is a required property")));
    }
    match text("switch_id") {
        Some(id) if !is_switch(id) => {
            Err(Class::Invalid.error(format!("Expected a MAC address or OpenFlow datapath ID but received {id}.")))
        }
        _ => Ok(()),
    }
}

/// Returns whether a text is a MAC, or 16 hexadecimal digits.
fn is_switch(id: &str) -> bool {
    let is_hex = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let octets: Vec<&str> = id.split(':').collect();
    let is_mac = octets.len() == 6 && octets.iter().all(|octet| octet.len() == 2 && is_hex(octet));
    is_mac || id.len() == 16 && is_hex(id)
}

/// Converts the switch's id to lower case.
pub(super) fn normalize(members: &mut Map<String, Value>) {
    let link = members.get_mut("local_link_connection").and_then(Value::as_object_mut);
    if let Some(Value::String(id)) = link.and_then(|link| link.get_mut("switch_id")) {
        id.make_ascii_lowercase();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_connection_is_of_one_of_the_forms_that_ironic_takes() {
        for (link, why) in [
            (json!({}), None),
            (json!({"port_id": "Eth1", "switch_id": "0A:1b:2c:3d:4e:5f"}), None),
            (json!({"port_id": "Eth1", "switch_id": "0123456789ABCDEF", "switch_info": "s"}), None),
            (json!({"port_id": "rep0-0", "hostname": "host1"}), None),
            (json!({"network_type": "unmanaged"}), None),
            (json!({"network_type": "managed", "port_id": "1", "switch_id": "0a:1b:2c:3d:4e:5f"}), None),
            (json!({"port_id": "1", "vtep-logical-switch": "l", "vtep-physical-switch": "p"}), None),
            (json!({"port_id": "1", "switch_id": "0a:1b:2c:3d:4e:5f", "zz": "1"}), Some("not valid under any")),
            (json!({"zz": 1}), Some("not valid under any")),
            (json!({"port_id": 1, "switch_id": "0a:1b:2c:3d:4e:5f"}), Some("not valid under any")),
            (json!({"network_type": "other"}), Some("not valid under any")),
            (json!({"network_type": "managed"}), Some("'port_id' is a required property")),
            (json!({"port_id": "1"}), Some("'switch_id' is a required property")),
            (json!({"switch_id": "0a:1b:2c:3d:4e:5f"}), Some("'port_id' is a required property")),
            (json!({"port_id": "1", "vtep-logical-switch": "l"}), Some("not valid under any")),
            (json!({"network_type": "unmanaged", "x": "y"}), Some("not valid under any")),
            (json!({"port_id": "1", "switch_id": "sw1"}), Some("but received sw1.")),
            (json!({"port_id": "1", "switch_id": "0123456789abcdeg"}), Some("but received")),
        ] {
            let found = check(link.as_object().unwrap()).map_err(|error| error.text);
            match (why, found) {
                (None, found) => assert_eq!(found, Ok(()), "{link}"),
                (Some(why), found) => assert!(found.as_ref().is_err_and(|text| text.contains(why)), "{link} {found:?}"),
            }
        }
    }

    #[test]
    fn the_id_of_a_switch_is_stored_in_lower_case() {
        let mut port = json!({"local_link_connection": {"switch_id": "0A:1B:2C:3D:4E:5F", "port_id": "Eth1"}});
        normalize(port.as_object_mut().unwrap());
        let link = json!({"switch_id": "0a:1b:2c:3d:4e:5f", "port_id": "Eth1"});
        assert_eq!(port.get("local_link_connection"), Some(&link));
    }
}
