//! A node's driver and its interfaces. Pure.

use domain::driver::{Driver, Interface};
use serde_json::{Map, Value};
use wire_ironic::error::{Class, Error, text};

use super::records::interface_field;

/// Parses a node's driver.
pub(super) fn driver(attributes: &Map<String, Value>) -> Result<Driver, Error> {
    let word = attributes.get("driver").and_then(Value::as_str).unwrap_or_default();
    let group = attributes.get("conductor_group").and_then(Value::as_str).unwrap_or_default();
    let driver = word.parse().ok().filter(|driver| Driver::SERVED.contains(driver));
    driver.ok_or_else(|| text::no_valid_host(word, group))
}

/// Checks that the driver has each selected interface implementation.
pub(super) fn check_interfaces(driver: Driver, attributes: &Map<String, Value>) -> Result<(), Error> {
    for interface in Interface::ALL.iter().copied() {
        let Some(name) = attributes.get(&interface_field(interface)).and_then(Value::as_str) else { continue };
        if driver.supports(interface, name) {
            continue;
        }
        let existing = interface.implementations();
        return Err(Class::Invalid.error(if existing.contains(&name) {
            format!("{interface} interface implementation '{name}' is not supported by hardware type {driver}.")
        } else {
            let valid: Vec<String> = existing.iter().map(|name| format!("'{name}'")).collect();
            format!(
                "Could not find the following interface in the 'ironic.hardware.interfaces.{interface}' entrypoint: \
                 {name}. Valid interfaces are [{}].",
                valid.join(", ")
            )
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn an_interface_of_another_driver_and_an_unknown_one_are_rejected() {
        let refused = |value| check_interfaces(Driver::Ipmi, &attributes(value)).unwrap_err().text;
        assert!(refused(json!({"deploy_interface": "nope"})).contains("entrypoint: nope"));
        assert!(refused(json!({"deploy_interface": "fake"})).contains("not supported by hardware type ipmi"));
        assert!(check_interfaces(Driver::Ipmi, &attributes(json!({"deploy_interface": "direct"}))).is_ok());
    }
}
