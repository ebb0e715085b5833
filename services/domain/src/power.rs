//! Power and what a machine boots from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a node's main power is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// Running, or trying to.
    On,
    /// In standby: only the BMC runs.
    Off,
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "power on",
            Self::Off => "power off",
        })
    }
}

/// What the firmware tries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootDevice {
    /// The network.
    Pxe,
    /// The local disk.
    Disk,
    /// An optical drive or virtual media.
    Cdrom,
    /// The firmware's set-up.
    Bios,
}

/// Which firmware interface the machine boots with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// PC BIOS, or its emulation.
    Bios,
    /// UEFI.
    #[default]
    Uefi,
}

impl fmt::Display for BootMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        })
    }
}

/// How long a boot device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// For the next boot.
    Once,
    /// Until it is changed.
    Persistent,
}

/// A boot order to be set at the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Boot {
    /// What is tried first.
    pub device: BootDevice,
    /// For how long.
    pub persistence: Persistence,
    /// With which firmware interface.
    pub mode: BootMode,
}

/// Where power is wanted. Every target is absolute: asking twice is asking once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "target")]
pub enum PowerTarget {
    /// On; it does not matter since when.
    On,
    /// Off.
    Off,
    /// Asked to shut down by ACPI, then off.
    SoftOff,
    /// On, and booted after this instruction was given: off, seen off, boot order, on.
    Booted {
        /// The boot order set while it is off, where one is wanted.
        boot: Option<Boot>,
    },
}
