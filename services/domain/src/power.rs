//! Power states, boot devices and power targets.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Time that a command that is sent once may wait until its BMC gets it: for a power-service that starts or is replaced, and
/// for a BMC that is busy. A command that comes later than its sender expects does more harm than one that does not come.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(120);

/// Power state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// On.
    On,
    /// Off: only the BMC has power.
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

/// Boot device that the firmware tries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootDevice {
    /// The network.
    Pxe,
    /// The local disk.
    Disk,
    /// An optical drive or virtual media.
    Cdrom,
    /// Firmware setup.
    Bios,
    /// The local disk, in the firmware's safe mode.
    Safe,
    /// The network, by UEFI's own HTTP client.
    UefiHttp,
}

impl BootDevice {
    /// All boot devices.
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

/// Firmware interface for the boot.
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

/// Duration of a boot order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// For the next boot.
    Once,
    /// Until it is changed.
    Persistent,
}

/// Which boot orders of an operation last longer than one boot (Ironic's `driver_info/force_persistent_boot_device`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootPersistence {
    /// The last one, from the disk.
    #[default]
    Default,
    /// All, for BMCs that do not forget a boot order after one boot, or forget it too early.
    Always,
    /// None.
    Never,
}

impl BootPersistence {
    /// Whether this is the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::Default
    }

    /// Returns the duration of a boot order: of the last one of an operation, or of one before it.
    #[must_use]
    pub const fn of(self, is_last: bool) -> Persistence {
        match (self, is_last) {
            (Self::Default, true) | (Self::Always, _) => Persistence::Persistent,
            (Self::Default, false) | (Self::Never, _) => Persistence::Once,
        }
    }
}

/// Boot order that is set at the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Boot {
    /// Boot device.
    pub device: BootDevice,
    /// Duration.
    pub persistence: Persistence,
    /// Firmware interface.
    pub mode: BootMode,
}

/// Intended power. Every target is absolute, so repeating a request has no further effect. An interrupt, a reset of the BMC
/// and a raw command, which are not absolute at the BMC, are sent once per instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "target")]
pub enum PowerTarget {
    /// On, without a reboot.
    On,
    /// Off.
    Off,
    /// Off after a graceful shutdown (ACPI).
    SoftOff {
        /// Deadline of the shutdown, after which the instruction fails. `None` switches the machine off after the rack's own
        /// timeout.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Timestamp>,
    },
    /// On, and booted after this instruction: switch off, observe that it is off, set the boot order, switch on.
    Booted {
        /// Boot order that is set while it is off, if any.
        boot: Option<Boot>,
    },
    /// On, and booted after this instruction, with a graceful shutdown (ACPI): shut down, observe that it is off, switch on.
    SoftBooted {
        /// Deadline of the shutdown, after which the instruction fails.
        by: Timestamp,
    },
    /// Unchanged. Only the boot order is set, for a boot that is requested separately.
    BootOrder {
        /// Boot order.
        boot: Boot,
    },
    /// Unchanged. The system is interrupted once (NMI), for example to write a crash dump.
    Interrupted {
        /// Deadline, after which it is not sent any more. `None` until the request is accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Timestamp>,
    },
    /// Unchanged. The BMC is restarted, once. Every session with it ends.
    BmcReset {
        /// How it is restarted.
        reset: BmcReset,
        /// Deadline, after which it is not sent any more. `None` until the request is accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Timestamp>,
    },
    /// Unchanged by us. The BMC gets this raw IPMI command, once. What the command does is not known. Its data, which may be a
    /// secret, is sealed in the node's intent.
    RawCommand {
        /// Network function of the request.
        netfn: u8,
        /// Number of the command.
        command: u8,
        /// Deadline, after which it is not sent any more. `None` until the request is accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Timestamp>,
    },
}

/// How a BMC is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BmcReset {
    /// With its initial settings, as after power was applied (IPMI 2.0 §20.2).
    Cold,
    /// With its present settings (IPMI 2.0 §20.3).
    Warm,
}

impl fmt::Display for BmcReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        })
    }
}

impl PowerTarget {
    /// Returns the boot order that is set for the target, if any.
    #[must_use]
    pub const fn boot(self) -> Option<Boot> {
        match self {
            Self::Booted { boot } => boot,
            Self::BootOrder { boot } => Some(boot),
            Self::On
            | Self::Off
            | Self::SoftOff { .. }
            | Self::SoftBooted { .. }
            | Self::Interrupted { .. }
            | Self::BmcReset { .. }
            | Self::RawCommand { .. } => None,
        }
    }

    /// Whether it is a command for the BMC itself, of IPMI alone.
    #[must_use]
    pub const fn is_ipmi_command(self) -> bool {
        matches!(self, Self::BmcReset { .. } | Self::RawCommand { .. })
    }

    /// Whether it must not replace an earlier request that has not ended: its client waits for it, or it is sent once.
    #[must_use]
    pub const fn waits_for_earlier(self) -> bool {
        match self {
            Self::BootOrder { .. } | Self::Interrupted { .. } | Self::BmcReset { .. } | Self::RawCommand { .. } => true,
            Self::On | Self::Off | Self::SoftOff { .. } | Self::Booted { .. } | Self::SoftBooted { .. } => false,
        }
    }

    /// Returns until when it may be sent, if it is sent once and was accepted. `None` if it is absolute.
    #[must_use]
    pub const fn send_by(self) -> Option<Timestamp> {
        match self {
            Self::Interrupted { by } | Self::BmcReset { by, .. } | Self::RawCommand { by, .. } => by,
            Self::On
            | Self::Off
            | Self::SoftOff { .. }
            | Self::SoftBooted { .. }
            | Self::Booted { .. }
            | Self::BootOrder { .. } => None,
        }
    }

    /// Whether it is a command that is not sent any more.
    #[must_use]
    pub fn is_too_late(self, now: Timestamp) -> bool {
        self.send_by().is_some_and(|by| now >= by)
    }

    /// Returns the target of a request that is accepted now: a command that is sent once gets a deadline, of at most
    /// [`SEND_TIMEOUT`].
    #[must_use]
    pub fn accepted(self, now: Timestamp) -> Self {
        let latest = now.plus(SEND_TIMEOUT);
        let within = |by: Option<Timestamp>| Some(by.map_or(latest, |by| by.min(latest)));
        match self {
            Self::Interrupted { by } => Self::Interrupted { by: within(by) },
            Self::BmcReset { reset, by } => Self::BmcReset { reset, by: within(by) },
            Self::RawCommand { netfn, command, by } => Self::RawCommand { netfn, command, by: within(by) },
            absolute @ (Self::On
            | Self::Off
            | Self::SoftOff { .. }
            | Self::SoftBooted { .. }
            | Self::Booted { .. }
            | Self::BootOrder { .. }) => absolute,
        }
    }

    /// Returns the deadline of the graceful shutdown. Returns `None` if there is no shutdown or if the rack's own timeout
    /// applies.
    #[must_use]
    pub const fn by(self) -> Option<Timestamp> {
        match self {
            Self::SoftOff { by } => by,
            Self::SoftBooted { by } => Some(by),
            Self::On
            | Self::Off
            | Self::Booted { .. }
            | Self::BootOrder { .. }
            | Self::Interrupted { .. }
            | Self::BmcReset { .. }
            | Self::RawCommand { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_readable_and_one_stored_without_a_deadline_is_still_parsed() {
        let written = |target: PowerTarget| serde_json::to_string(&target).unwrap();
        assert_eq!(written(PowerTarget::SoftOff { by: None }), r#"{"target":"soft-off"}"#);
        assert_eq!(
            written(PowerTarget::SoftBooted { by: Timestamp::from_millis(0) }),
            r#"{"target":"soft-booted","by":"1970-01-01T00:00:00.000Z"}"#
        );
        assert_eq!(
            written(PowerTarget::BmcReset { reset: BmcReset::Warm, by: None }),
            r#"{"target":"bmc-reset","reset":"warm"}"#
        );
        assert_eq!(
            written(PowerTarget::RawCommand { netfn: 6, command: 0x47, by: None }),
            r#"{"target":"raw-command","netfn":6,"command":71}"#
        );
        assert_eq!(
            written(PowerTarget::Interrupted { by: Some(Timestamp::from_millis(0)) }),
            r#"{"target":"interrupted","by":"1970-01-01T00:00:00.000Z"}"#
        );
        let read: PowerTarget = serde_json::from_str(r#"{"target":"soft-off"}"#).unwrap();
        assert_eq!(read, PowerTarget::SoftOff { by: None });
    }

    #[test]
    fn a_command_that_is_sent_once_has_a_deadline_from_when_it_is_accepted() {
        let now = Timestamp::from_millis(1_000_000);
        let latest = now.plus(SEND_TIMEOUT);
        let (soon, never) = (now.plus(Duration::from_secs(1)), now.plus(Duration::from_secs(86_400)));
        let reset = |by| PowerTarget::BmcReset { reset: BmcReset::Cold, by };
        let raw = |by| PowerTarget::RawCommand { netfn: 6, command: 1, by };
        let interrupted = |by| PowerTarget::Interrupted { by };
        for (given, right, source) in [
            (reset(None), Some(latest), "its own deadline"),
            (raw(None), Some(latest), "its own deadline"),
            (interrupted(None), Some(latest), "its own deadline"),
            (interrupted(Some(soon)), Some(soon), "an earlier one, of a client of gRPC"),
            (interrupted(Some(never)), Some(latest), "a client cannot have it sent tomorrow"),
            (raw(Some(latest)), Some(latest), "accepted twice"),
            (PowerTarget::On, None, "absolute"),
            (PowerTarget::SoftOff { by: Some(soon) }, None, "the deadline is that of the shutdown"),
        ] {
            let accepted = given.accepted(now);
            assert_eq!(accepted.send_by(), right, "{given:?}: {source}");
            assert!(!accepted.is_too_late(now), "{given:?}: {source}");
            assert_eq!(accepted.is_too_late(latest), right.is_some(), "{given:?}: {source}");
        }
    }
}
