//! Drivers: Ironic's hardware types, their interfaces, and the implementations of each.

mod matrix;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::power::BootDevice;

/// A hardware type. Persisted; add variants, never repurpose one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// No machine: all work is simulated by waiting.
    FakeHardware,
    /// A machine with an IPMI 2.0 BMC.
    #[default]
    Ipmi,
    /// A machine without a BMC: an operator switches its power, and sets the boot order to network first once.
    ManualManagement,
    /// A machine with a Redfish BMC.
    Redfish,
}

/// Hardware interface of a driver. Each one has its own implementations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// BIOS settings.
    Bios,
    /// Booting of an agent or an instance.
    Boot,
    /// Serial console.
    Console,
    /// Writing of images.
    Deploy,
    /// Firmware versions.
    Firmware,
    /// Inspection of the hardware.
    Inspect,
    /// Boot device and boot mode.
    Management,
    /// Tenant networks.
    Network,
    /// Power control.
    Power,
    /// RAID controllers.
    Raid,
    /// Rescue system.
    Rescue,
    /// Remote volumes.
    Storage,
    /// Vendor extensions.
    Vendor,
}

impl Driver {
    /// Drivers that nodes can have, by name.
    pub const SERVED: &'static [Self] = &[Self::FakeHardware, Self::Ipmi, Self::ManualManagement, Self::Redfish];

    /// Returns the implementations of an interface that fit the driver, Ironic's preferred one first. Nodes of
    /// `fake-hardware` take others as well.
    #[must_use]
    pub const fn implementations(self, interface: Interface) -> &'static [&'static str] {
        matrix::fitting(self, interface)
    }

    /// Returns the default implementation of an interface: the first fitting one that this service carries out.
    #[must_use]
    pub fn default_implementation(self, interface: Interface) -> Option<&'static str> {
        self.implementations(interface).iter().copied().find(|name| self.carries_out(interface, name))
    }

    /// Returns whether a node of the driver may have an implementation of an interface. `fake-hardware` takes every one
    /// that exists, as in Ironic.
    #[must_use]
    pub fn supports(self, interface: Interface, implementation: &str) -> bool {
        let fitting = match self {
            Self::FakeHardware => interface.implementations(),
            Self::Ipmi | Self::ManualManagement | Self::Redfish => self.implementations(interface),
        };
        fitting.contains(&implementation)
    }

    /// Returns whether this service does what an implementation of an interface stands for. Nodes may have others, but
    /// a verb that needs one is refused.
    #[must_use]
    pub fn carries_out(self, interface: Interface, implementation: &str) -> bool {
        matrix::is_carried_out(self, interface, implementation)
    }
}

/// Set of interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct InterfaceSet(u16);

impl InterfaceSet {
    /// Returns whether the interface is in the set.
    #[must_use]
    pub const fn contains(self, interface: Interface) -> bool {
        self.0 & interface.bit() != 0
    }

    /// Returns the interfaces that are in both sets, by name.
    pub fn common(self, other: Self) -> impl Iterator<Item = Interface> {
        Interface::ALL.iter().copied().filter(move |one| self.contains(*one) && other.contains(*one))
    }
}

impl FromIterator<Interface> for InterfaceSet {
    fn from_iter<I: IntoIterator<Item = Interface>>(interfaces: I) -> Self {
        Self(interfaces.into_iter().fold(0, |set, interface| set | interface.bit()))
    }
}

/// Supported boot devices, by management implementation.
#[must_use]
pub fn boot_devices(management: &str) -> &'static [BootDevice] {
    use BootDevice::{Bios, Cdrom, Disk, Pxe, Safe, UefiHttp};
    match management {
        "fake" => &[Pxe],
        "ipmitool" => &[Pxe, Disk, Cdrom, Bios, Safe],
        "noop" => &[Pxe, Disk],
        "redfish" => &[Pxe, Disk, Cdrom, Bios, UefiHttp],
        _ => &[],
    }
}

impl Interface {
    /// All interfaces, by name.
    pub const ALL: &'static [Self] = &[
        Self::Bios,
        Self::Boot,
        Self::Console,
        Self::Deploy,
        Self::Firmware,
        Self::Inspect,
        Self::Management,
        Self::Network,
        Self::Power,
        Self::Raid,
        Self::Rescue,
        Self::Storage,
        Self::Vendor,
    ];

    /// Returns all implementations that exist for the interface, sorted.
    #[must_use]
    pub const fn implementations(self) -> &'static [&'static str] {
        matrix::existing(self)
    }

    /// Returns whether an agent does the work of an implementation of the interface.
    #[must_use]
    pub fn needs_agent(self, implementation: &str) -> bool {
        matrix::needs_agent(self, implementation)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FakeHardware => "fake-hardware",
            Self::Ipmi => "ipmi",
            Self::ManualManagement => "manual-management",
            Self::Redfish => "redfish",
        })
    }
}

impl Interface {
    /// Ironic's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Boot => "boot",
            Self::Console => "console",
            Self::Deploy => "deploy",
            Self::Firmware => "firmware",
            Self::Inspect => "inspect",
            Self::Management => "management",
            Self::Network => "network",
            Self::Power => "power",
            Self::Raid => "raid",
            Self::Rescue => "rescue",
            Self::Storage => "storage",
            Self::Vendor => "vendor",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Error for a text that is not the name of a hardware type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a hardware type")]
pub struct ParseDriverError(String);

impl FromStr for Driver {
    type Err = ParseDriverError;
    fn from_str(text: &str) -> Result<Self, ParseDriverError> {
        Self::SERVED
            .iter()
            .copied()
            .find(|one| one.to_string() == text)
            .ok_or_else(|| ParseDriverError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_driver_has_an_implementation_of_every_interface() {
        for driver in Driver::SERVED {
            for interface in Interface::ALL {
                assert!(driver.default_implementation(*interface).is_some(), "{driver} {interface}");
            }
        }
    }

    #[test]
    fn every_driver_supports_booting_from_the_network() {
        let all = |driver: &'static Driver| {
            driver.implementations(Interface::Management).iter().map(move |name| (*driver, *name))
        };
        for (driver, management) in Driver::SERVED.iter().flat_map(all) {
            assert!(driver.carries_out(Interface::Management, management), "{driver} {management}");
            assert!(boot_devices(management).contains(&BootDevice::Pxe), "{management}");
        }
    }

    #[test]
    fn a_node_without_a_machine_has_the_interfaces_of_an_agent_that_machines_have() {
        for (driver, interface, name, is_carried_out, needs_agent) in [
            (Driver::FakeHardware, Interface::Deploy, "fake", true, false),
            (Driver::FakeHardware, Interface::Deploy, "direct", true, true),
            (Driver::FakeHardware, Interface::Deploy, "autodetect", true, true),
            (Driver::FakeHardware, Interface::Deploy, "custom-agent", false, false),
            (Driver::FakeHardware, Interface::Deploy, "ramdisk", false, false),
            (Driver::FakeHardware, Interface::Deploy, "noop", false, false),
            (Driver::FakeHardware, Interface::Inspect, "agent", true, true),
            (Driver::FakeHardware, Interface::Inspect, "fake", true, false),
            (Driver::FakeHardware, Interface::Inspect, "no-inspect", true, false),
            (Driver::FakeHardware, Interface::Raid, "agent", false, false),
            (Driver::FakeHardware, Interface::Rescue, "agent", false, false),
            (Driver::Ipmi, Interface::Deploy, "direct", true, true),
            (Driver::Ipmi, Interface::Deploy, "fake", false, false),
            (Driver::Redfish, Interface::Inspect, "agent", true, true),
            (Driver::ManualManagement, Interface::Inspect, "fake", false, false),
        ] {
            let (carried_out, agent) = (driver.carries_out(interface, name), interface.needs_agent(name));
            assert_eq!((carried_out, agent), (is_carried_out, needs_agent), "{driver} {interface} {name}");
        }
    }

    #[test]
    fn a_driver_is_parsed_from_its_name() {
        for driver in Driver::SERVED {
            assert_eq!(driver.to_string().parse(), Ok(*driver));
            assert_eq!(serde_json::to_string(driver).unwrap(), format!("\"{driver}\""));
        }
        assert!("nope".parse::<Driver>().is_err());
    }
}
