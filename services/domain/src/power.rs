//! Power and what a machine boots from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

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
    /// The local disk, in what its firmware calls safe mode.
    Safe,
    /// The network, by UEFI's own HTTP client.
    UefiHttp,
}

impl BootDevice {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Pxe, Self::Disk, Self::Cdrom, Self::Bios, Self::Safe, Self::UefiHttp];
}

impl fmt::Display for BootDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pxe => "pxe",
            Self::Disk => "disk",
            Self::Cdrom => "cdrom",
            Self::Bios => "bios",
            Self::Safe => "safe",
            Self::UefiHttp => "uefihttp",
        })
    }
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

/// Where power is wanted. Every target is absolute: asking twice is asking once. What is not so at a BMC, an
/// interrupt, is
/// sent once for each instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "target")]
pub enum PowerTarget {
    /// On; it does not matter since when.
    On,
    /// Off.
    Off,
    /// Asked to shut down by ACPI, and off.
    SoftOff {
        /// Until when it must have gone off by itself, or the instruction has failed; none: it is switched off where it
        /// does not within the rack's own time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Timestamp>,
    },
    /// On, and booted after this instruction was given: off, seen off, boot order, on.
    Booted {
        /// The boot order set while it is off, where one is wanted.
        boot: Option<Boot>,
    },
    /// On, and booted after this instruction was given, by its system's own will: asked to shut down by ACPI, seen off,
    /// on.
    SoftBooted {
        /// Until when it must have gone off by itself, or the instruction has failed.
        by: Timestamp,
    },
    /// Unchanged. Only the boot order is set, for a boot that is requested separately.
    BootOrder {
        /// Which.
        boot: Boot,
    },
    /// As it is. What is wanted is that its system is interrupted once (NMI), so that it says where it stands.
    Interrupted,
}

impl PowerTarget {
    /// The boot order that it takes to get there.
    #[must_use]
    pub const fn boot(self) -> Option<Boot> {
        match self {
            Self::Booted { boot } => boot,
            Self::BootOrder { boot } => Some(boot),
            Self::On | Self::Off | Self::SoftOff { .. } | Self::SoftBooted { .. } | Self::Interrupted => None,
        }
    }

    /// Until when the machine's own system has time for its part; none: it has none, or the rack's own time counts.
    #[must_use]
    pub const fn by(self) -> Option<Timestamp> {
        match self {
            Self::SoftOff { by } => by,
            Self::SoftBooted { by } => Some(by),
            Self::On | Self::Off | Self::Booted { .. } | Self::BootOrder { .. } | Self::Interrupted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_readable_and_one_that_was_stored_before_it_had_a_deadline_is_still_read() {
        let written = |target: PowerTarget| serde_json::to_string(&target).unwrap();
        assert_eq!(written(PowerTarget::SoftOff { by: None }), r#"{"target":"soft-off"}"#);
        assert_eq!(
            written(PowerTarget::SoftBooted { by: Timestamp::from_millis(0) }),
            r#"{"target":"soft-booted","by":"1970-01-01T00:00:00.000Z"}"#
        );
        let read: PowerTarget = serde_json::from_str(r#"{"target":"soft-off"}"#).unwrap();
        assert_eq!(read, PowerTarget::SoftOff { by: None });
    }
}
