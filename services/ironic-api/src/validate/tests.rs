//! Compares the interfaces of each driver with `golden/matrix.txt`: the answers of a real Ironic 39.0.0 that has every
//! implementation enabled (`services/wire-ironic/record/matrix.py` records them).

use std::collections::BTreeSet;

use keyspace::value::NodeSpec;
use serde_json::{Map, Value, json};

use super::*;
use crate::{interfaces::check_interfaces, records::interface_field, test_node::node};

/// Default implementations that differ from Ironic's, because this service does not carry out Ironic's.
const OTHER_DEFAULTS: &[(&str, &str, &str, &str)] = &[
    ("ipmi", "console", "ipmitool-socat", "no-console"),
    ("manual-management", "power", "agent", "fake"),
    ("redfish", "console", "redfish-graphical", "no-console"),
    ("redfish", "firmware", "redfish", "no-firmware"),
    ("redfish", "inspect", "redfish", "agent"),
    ("redfish", "raid", "redfish", "no-raid"),
    ("redfish", "vendor", "redfish", "no-vendor"),
];

/// Valid here and invalid there: nothing boots a stand-in for an agent, as with `require_managed_boot = False` in Ironic's
/// section `[inspector]`.
const VALID_HERE: &[(&str, &str, &str, &str)] = &[(
    "fake-hardware",
    "inspect",
    "agent",
    "Driver fake-hardware does not support validate_inspection (disabled or not implemented).",
)];

/// Line of the recording.
struct Line {
    driver: Driver,
    interface: Interface,
    name: &'static str,
    is_default: bool,
    created: &'static str,
    changed: &'static str,
    valid: &'static str,
}

fn recorded() -> Vec<Line> {
    let text = include_str!("../../../wire-ironic/src/golden/matrix.txt");
    let line = |line: &'static str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let &[driver, interface, name, created, changed, valid] = columns.as_slice() else { panic!("{line}") };
        let interface = Interface::ALL.iter().copied().find(|one| one.name() == interface).unwrap();
        let is_default = name.ends_with('*');
        let (driver, name) = (driver.parse().unwrap(), name.trim_end_matches('*'));
        Line { driver, interface, name, is_default, created, changed, valid }
    };
    text.lines().map(line).collect()
}

fn fields(interface: Interface, name: &str) -> Map<String, Value> {
    Map::from_iter([(interface_field(interface), json!(name))])
}

/// A node of the driver that has an implementation, as `matrix.py` makes it.
fn view(line: &Line) -> NodeView {
    let driver_info = match line.driver {
        Driver::Ipmi => json!({"ipmi_address": "192.0.2.1"}),
        Driver::Redfish => {
            json!({"redfish_address": "https://192.0.2.1", "redfish_system_id": "/redfish/v1/Systems/1"})
        }
        Driver::FakeHardware | Driver::ManualManagement => json!({}),
    };
    let mut spec = fields(line.interface, line.name);
    spec.insert("driver_info".to_owned(), driver_info);
    let spec: NodeSpec = serde_json::from_value(Value::Object(spec)).unwrap();
    let mut view = node(7, "n1", spec);
    view.intent.driver = line.driver;
    view
}

#[test]
fn a_node_takes_the_implementations_that_ironic_takes_and_refuses_the_others_with_its_words() {
    let lines = recorded();
    assert_eq!(lines.len(), 316);
    for Line { driver, interface, name, created, changed, .. } in lines {
        let ours = check_interfaces(driver, &fields(interface, name));
        let ours = ours.map_or_else(|error| format!("{} {}", error.status, error.text), |()| "201".to_owned());
        // Ironic names the class of the implementation and of the hardware type.
        let theirs = match created.split_once("implementation '<") {
            None => created.to_owned(),
            Some((start, _)) => {
                format!("{start}implementation '{name}' is not supported by hardware type {driver}.")
            }
        };
        assert_eq!(ours, theirs, "{driver} {interface} {name}");
        assert!(changed == "=" || (created, changed) == ("201", "200"), "{driver} {interface} {name}: {changed}");
    }
}

#[test]
fn a_default_is_that_of_ironic_or_is_listed_as_another() {
    let text =
        |(driver, interface, theirs, ours): (&str, &str, &str, &str)| format!("{driver} {interface} {theirs} {ours}");
    let mut others: BTreeSet<_> = OTHER_DEFAULTS.iter().copied().map(text).collect();
    for line in recorded().iter().filter(|line| line.is_default) {
        let ours = line.driver.default_implementation(line.interface).unwrap();
        let (driver, interface) = (line.driver.to_string(), line.interface.name());
        if ours == line.name {
            continue;
        }
        assert!(!line.driver.carries_out(line.interface, line.name), "{driver} {interface} {}", line.name);
        let other = text((&driver, interface, line.name, ours));
        assert!(others.remove(&other), "{other}");
    }
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn an_implementation_that_is_not_carried_out_is_accepted_and_invalid_with_the_reason() {
    let (mut refused, mut valid_here) = (0, 0);
    for line in recorded().iter().filter(|line| line.created == "201" && line.interface != Interface::Vendor) {
        let (driver, interface, name) = (line.driver, line.interface, line.name);
        let ours = one(&view(line), interface).map_err(|why| why.to_string());
        if !driver.carries_out(interface, name) {
            let (why, view) = (ours.unwrap_err(), view(line));
            // The reason names what autodetect would switch to.
            let in_use = view.spec().implementation_in_use(interface, driver).unwrap();
            assert!(why.contains(in_use) && why.contains("is not carried out"), "{driver} {interface} {name}: {why}");
            refused += 1;
            continue;
        }
        let theirs = match line.valid.strip_prefix("false ") {
            None => Ok(()),
            Some(why) => Err(why.replace("UUID", &view(line).node.to_string())),
        };
        if let Err(why) = &theirs
            && VALID_HERE.contains(&(&*driver.to_string(), interface.name(), name, why))
        {
            valid_here += 1;
            assert_eq!(ours, Ok(()), "{driver} {interface} {name}");
            continue;
        }
        assert_eq!(ours, theirs, "{driver} {interface} {name}");
    }
    assert_eq!(valid_here, VALID_HERE.len());
    assert!(refused > 60, "{refused}");
}

#[test]
fn autodetect_is_what_it_would_switch_to() {
    for (info, detected, is_valid) in [
        (json!({"image_source": "debian"}), "direct", true),
        (json!({"image_source": "oci://registry/bootc"}), "bootc", false),
        (json!({"boot_iso": "http://h/i.iso", "ironic_ramdisk_deploy": true}), "ramdisk", false),
        (json!({"boot_iso": "http://h/i.iso", "image_source": "debian"}), "direct", true),
        (json!({"kernel": "k", "ramdisk": "r", "ironic_ramdisk_deploy": "True"}), "ramdisk", false),
        (json!({"kernel": "k", "ironic_ramdisk_deploy": true, "image_source": "debian"}), "direct", true),
        (json!({"kernel": "k", "ramdisk": "r", "ironic_ramdisk_deploy": false}), "direct", false),
    ] {
        let spec: NodeSpec = serde_json::from_value(json!({"instance_info": info})).unwrap();
        assert_eq!(spec.implementation_in_use(Interface::Deploy, Driver::Ipmi), Some(detected), "{info}");
        let view = node(7, "n1", spec);
        assert_eq!(one(&view, Interface::Deploy).is_ok(), is_valid, "{info}");
    }
}
