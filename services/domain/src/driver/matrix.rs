//! Ironic's matrix of hardware types, interfaces and implementations, and the part of it that this service carries out.
//!
//! Source: the classes of Ironic 39.0.0 (`ironic/drivers/{generic,fake_hardware,ipmi,redfish}.py`) and its entry points.
//! `services/wire-ironic/src/golden/matrix.txt` has the answers of a real Ironic to every combination.

use super::{Driver, Interface};

/// Implementations that exist for an interface, of any hardware type, sorted.
pub(super) const fn existing(interface: Interface) -> &'static [&'static str] {
    match interface {
        Interface::Bios => &["fake", "idrac-redfish", "no-bios", "redfish"],
        Interface::Boot => &[
            "fake",
            "http",
            "http-ipxe",
            "idrac-redfish-virtual-media",
            "ipxe",
            "pxe",
            "redfish-https",
            "redfish-virtual-media",
        ],
        Interface::Console => &["fake", "fake-graphical", "ipmitool-socat", "no-console", "redfish-graphical"],
        Interface::Deploy => {
            &["anaconda", "ansible", "autodetect", "bootc", "custom-agent", "direct", "fake", "noop", "ramdisk"]
        }
        Interface::Firmware => &["fake", "no-firmware", "redfish"],
        Interface::Inspect => &["agent", "fake", "idrac-redfish", "no-inspect", "redfish"],
        Interface::Management => &["fake", "idrac-redfish", "intel-ipmitool", "ipmitool", "noop", "redfish"],
        Interface::Network => &["flat", "ironic-networking", "neutron", "noop"],
        Interface::Power => &["agent", "fake", "idrac-redfish", "ipmitool", "redfish"],
        Interface::Raid => &["agent", "fake", "idrac-redfish", "no-raid", "redfish"],
        Interface::Rescue => &["agent", "fake", "no-rescue"],
        Interface::Storage => &["cinder", "external", "fake", "noop"],
        Interface::Vendor => &["fake", "idrac-redfish", "ipmitool", "no-vendor", "redfish"],
    }
}

/// Implementations that fit a hardware type, Ironic's preferred one first.
pub(super) const fn fitting(driver: Driver, interface: Interface) -> &'static [&'static str] {
    use Driver::{FakeHardware, Ipmi, ManualManagement, Redfish};
    match (interface, driver) {
        (Interface::Bios, FakeHardware) => &["fake", "no-bios"],
        (Interface::Bios, Redfish) => &["redfish", "no-bios"],
        (Interface::Bios, Ipmi | ManualManagement) => &["no-bios"],
        (Interface::Boot, FakeHardware) => &["fake", "ipxe", "pxe", "http-ipxe", "http"],
        (Interface::Boot, Redfish) => &["ipxe", "pxe", "http-ipxe", "http", "redfish-virtual-media", "redfish-https"],
        (Interface::Boot, Ipmi | ManualManagement) => &["ipxe", "pxe", "http-ipxe", "http"],
        (Interface::Console, FakeHardware) => &["fake", "no-console", "fake-graphical"],
        (Interface::Console, Ipmi) => &["ipmitool-socat", "no-console", "fake-graphical"],
        (Interface::Console, Redfish) => &["redfish-graphical", "ipmitool-socat", "no-console", "fake-graphical"],
        (Interface::Console, ManualManagement) => &["no-console", "fake-graphical"],
        (Interface::Deploy, FakeHardware) => {
            &["fake", "autodetect", "direct", "ansible", "ramdisk", "anaconda", "bootc", "custom-agent"]
        }
        (Interface::Deploy, ManualManagement) => {
            &["autodetect", "direct", "ansible", "ramdisk", "anaconda", "bootc", "custom-agent", "noop"]
        }
        (Interface::Deploy, Ipmi | Redfish) => {
            &["autodetect", "direct", "ansible", "ramdisk", "anaconda", "bootc", "custom-agent"]
        }
        (Interface::Firmware, FakeHardware) => &["fake", "no-firmware"],
        (Interface::Firmware, Redfish) => &["redfish", "no-firmware"],
        (Interface::Firmware, Ipmi | ManualManagement) => &["no-firmware"],
        (Interface::Inspect, FakeHardware) => &["fake", "agent", "no-inspect"],
        (Interface::Inspect, Redfish) => &["redfish", "agent", "no-inspect"],
        (Interface::Inspect, Ipmi | ManualManagement) => &["agent", "no-inspect"],
        (Interface::Management, FakeHardware) => &["fake"],
        (Interface::Management, Ipmi) => &["ipmitool", "noop"],
        (Interface::Management, Redfish) => &["redfish", "noop"],
        (Interface::Management, ManualManagement) => &["noop", "fake"],
        // Without OpenStack's network service `noop` comes first, as with default_network_interface.
        (Interface::Network, _) => &["noop", "flat", "neutron", "ironic-networking"],
        (Interface::Power, FakeHardware) => &["fake"],
        (Interface::Power, Ipmi) => &["ipmitool"],
        (Interface::Power, Redfish) => &["redfish"],
        (Interface::Power, ManualManagement) => &["agent", "fake"],
        (Interface::Raid, FakeHardware) => &["fake", "no-raid", "agent"],
        (Interface::Raid, Redfish) => &["redfish", "no-raid", "agent"],
        (Interface::Raid, Ipmi | ManualManagement) => &["no-raid", "agent"],
        (Interface::Rescue, FakeHardware) => &["fake", "no-rescue", "agent"],
        (Interface::Rescue, Ipmi | ManualManagement | Redfish) => &["no-rescue", "agent"],
        (Interface::Storage, FakeHardware) => &["noop", "fake", "cinder", "external"],
        (Interface::Storage, Ipmi | ManualManagement | Redfish) => &["noop", "cinder", "external"],
        (Interface::Vendor, FakeHardware) => &["fake", "no-vendor"],
        (Interface::Vendor, Ipmi) => &["ipmitool", "no-vendor"],
        (Interface::Vendor, Redfish) => &["redfish", "no-vendor"],
        (Interface::Vendor, ManualManagement) => &["no-vendor"],
    }
}

/// Returns whether an agent does the work of an implementation that is carried out.
pub(super) fn needs_agent(interface: Interface, implementation: &str) -> bool {
    match interface {
        Interface::Deploy => matches!(implementation, "autodetect" | "direct"),
        Interface::Inspect => implementation == "agent",
        Interface::Bios
        | Interface::Boot
        | Interface::Console
        | Interface::Firmware
        | Interface::Management
        | Interface::Network
        | Interface::Power
        | Interface::Raid
        | Interface::Rescue
        | Interface::Storage
        | Interface::Vendor => false,
    }
}

/// Returns whether this service does what an implementation stands for. That none is chosen (`no-…`) needs no work.
pub(super) fn is_carried_out(driver: Driver, interface: Interface, implementation: &str) -> bool {
    use Driver::{FakeHardware, Ipmi, ManualManagement, Redfish};
    if implementation.starts_with("no-") {
        return true;
    }
    let carried_out: &[&str] = match (interface, driver) {
        (Interface::Bios | Interface::Firmware | Interface::Raid | Interface::Rescue, FakeHardware) => &["fake"],
        // There is no machine: every way to boot it from the network is the same.
        (Interface::Boot, FakeHardware) => &["fake", "ipxe", "pxe", "http-ipxe", "http"],
        (Interface::Management, FakeHardware) => &["fake", "noop"],
        (Interface::Console | Interface::Power | Interface::Vendor, FakeHardware) => &["fake"],
        // A stand-in for an agent carries them out.
        (Interface::Deploy, FakeHardware) => &["fake", "autodetect", "direct"],
        (Interface::Inspect, FakeHardware) => &["fake", "agent"],
        (Interface::Storage, FakeHardware) => &["noop", "fake"],
        (Interface::Bios, Redfish) => &["redfish"],
        (Interface::Boot, Ipmi | ManualManagement | Redfish) => &["ipxe"],
        (Interface::Deploy, Ipmi | ManualManagement | Redfish) => &["autodetect", "direct"],
        (Interface::Inspect, Ipmi | ManualManagement | Redfish) => &["agent"],
        (Interface::Management, Ipmi) => &["ipmitool", "noop"],
        (Interface::Vendor, Ipmi) => &["ipmitool"],
        (Interface::Management, Redfish) => &["redfish", "noop"],
        (Interface::Management, ManualManagement) => &["noop", "fake"],
        (Interface::Power, Ipmi) => &["ipmitool"],
        (Interface::Power, Redfish) => &["redfish"],
        // An operator switches the machine.
        (Interface::Power, ManualManagement) => &["fake"],
        (Interface::Network, _) | (Interface::Storage, Ipmi | ManualManagement | Redfish) => &["noop"],
        (
            Interface::Bios | Interface::Console | Interface::Firmware | Interface::Raid | Interface::Rescue,
            Ipmi | ManualManagement | Redfish,
        )
        | (Interface::Vendor, ManualManagement | Redfish) => &[],
    };
    carried_out.contains(&implementation)
}
