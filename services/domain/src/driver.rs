//! Drivers: Ironic's hardware types, their interfaces, and the implementations of each.

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

/// Implementations of an interface by a driver, the preferred one first.
struct Row(Interface, &'static [&'static str]);

/// Supported interfaces of each driver. Every listed implementation works.
static FAKE: &[Row] = &[
    Row(Interface::Bios, &["fake", "no-bios"]),
    Row(Interface::Boot, &["fake"]),
    Row(Interface::Console, &["fake", "no-console"]),
    Row(Interface::Deploy, &["fake"]),
    Row(Interface::Firmware, &["fake", "no-firmware"]),
    Row(Interface::Inspect, &["fake", "no-inspect"]),
    Row(Interface::Management, &["fake"]),
    Row(Interface::Network, &["noop"]),
    Row(Interface::Power, &["fake"]),
    Row(Interface::Raid, &["fake", "no-raid"]),
    Row(Interface::Rescue, &["fake", "no-rescue"]),
    Row(Interface::Storage, &["noop", "fake"]),
    Row(Interface::Vendor, &["fake", "no-vendor"]),
];
static IPMI: &[Row] = &[
    Row(Interface::Bios, &["no-bios"]),
    Row(Interface::Boot, &["ipxe"]),
    Row(Interface::Console, &["no-console"]),
    Row(Interface::Deploy, &["direct"]),
    Row(Interface::Firmware, &["no-firmware"]),
    Row(Interface::Inspect, &["agent", "no-inspect"]),
    Row(Interface::Management, &["ipmitool"]),
    Row(Interface::Network, &["noop"]),
    Row(Interface::Power, &["ipmitool"]),
    Row(Interface::Raid, &["no-raid"]),
    Row(Interface::Rescue, &["no-rescue"]),
    Row(Interface::Storage, &["noop"]),
    Row(Interface::Vendor, &["no-vendor"]),
];
static MANUAL: &[Row] = &[
    Row(Interface::Bios, &["no-bios"]),
    Row(Interface::Boot, &["ipxe"]),
    Row(Interface::Console, &["no-console"]),
    Row(Interface::Deploy, &["direct"]),
    Row(Interface::Firmware, &["no-firmware"]),
    Row(Interface::Inspect, &["agent", "no-inspect"]),
    // The operator who switches the machine also sets its boot order.
    Row(Interface::Management, &["noop", "fake"]),
    Row(Interface::Network, &["noop"]),
    Row(Interface::Power, &["fake"]),
    Row(Interface::Raid, &["no-raid"]),
    Row(Interface::Rescue, &["no-rescue"]),
    Row(Interface::Storage, &["noop"]),
    Row(Interface::Vendor, &["no-vendor"]),
];
static REDFISH: &[Row] = &[
    Row(Interface::Bios, &["redfish", "no-bios"]),
    Row(Interface::Boot, &["ipxe"]),
    Row(Interface::Console, &["no-console"]),
    Row(Interface::Deploy, &["direct"]),
    Row(Interface::Firmware, &["no-firmware"]),
    Row(Interface::Inspect, &["agent", "no-inspect"]),
    Row(Interface::Management, &["redfish"]),
    Row(Interface::Network, &["noop"]),
    Row(Interface::Power, &["redfish"]),
    Row(Interface::Raid, &["no-raid"]),
    Row(Interface::Rescue, &["no-rescue"]),
    Row(Interface::Storage, &["noop"]),
    Row(Interface::Vendor, &["no-vendor"]),
];

impl Driver {
    /// Drivers that nodes can have, by name.
    pub const SERVED: &'static [Self] = &[Self::FakeHardware, Self::Ipmi, Self::ManualManagement, Self::Redfish];

    const fn rows(self) -> &'static [Row] {
        match self {
            Self::FakeHardware => FAKE,
            Self::Ipmi => IPMI,
            Self::Redfish => REDFISH,
            Self::ManualManagement => MANUAL,
        }
    }

    /// Returns the supported implementations of an interface, the preferred one first.
    #[must_use]
    pub fn implementations(self, interface: Interface) -> &'static [&'static str] {
        let row = self.rows().iter().find(|Row(of, _)| *of == interface);
        row.map_or(&[], |Row(_, implementations)| implementations)
    }

    /// Returns the default implementation of an interface, if the driver supports the interface.
    #[must_use]
    pub fn default_implementation(self, interface: Interface) -> Option<&'static str> {
        self.implementations(interface).first().copied()
    }

    /// Returns whether the driver supports an implementation of an interface.
    #[must_use]
    pub fn supports(self, interface: Interface, implementation: &str) -> bool {
        self.implementations(interface).contains(&implementation)
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
        let managements = Driver::SERVED.iter().flat_map(|driver| driver.implementations(Interface::Management));
        for management in managements {
            assert!(boot_devices(management).contains(&BootDevice::Pxe), "{management}");
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
