//! The interface of all BMC drivers. Commands that change something require a [`Permit`].

use std::collections::BTreeMap;

use domain::{
    failure::Cause,
    power::{Boot, BootDevice, BootMode, Persistence, Power},
};
use keyspace::value::BiosSetting;
use mesh::Permit;

/// A command that changes something. All but `Interrupt` are idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Switch power on.
    On,
    /// Switch power off immediately.
    Off,
    /// Ask the operating system to shut down.
    SoftOff,
    /// Interrupt the operating system (NMI). Sent at most once per instruction.
    Interrupt,
    /// One step of setting the boot order, by its index.
    Boot(Boot, usize),
}

impl Command {
    /// Returns the command as text, for the journal.
    pub(crate) fn description(self) -> String {
        match self {
            Self::On => "power on".to_owned(),
            Self::Off => "power off".to_owned(),
            Self::SoftOff => "soft off".to_owned(),
            Self::Interrupt => "nmi".to_owned(),
            Self::Boot(boot, step) => {
                format!("boot {:?} {:?} {}, step {step}", boot.device, boot.persistence, boot.mode)
            }
        }
    }
}

/// The boot device override of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BootOrder {
    /// The device; `None` if there is no override, or a device that we have no name for.
    pub(crate) device: Option<BootDevice>,
    /// The duration; `None` if the BMC does not report it.
    pub(crate) persistence: Option<Persistence>,
}

/// Firmware settings of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Firmware {
    /// Firmware interface that the machine boots with, if the BMC reports it.
    pub(crate) boot_mode: Option<BootMode>,
    /// Whether secure boot is enabled, if the BMC reports it.
    pub(crate) secure_boot: Option<bool>,
    /// The BIOS settings; `None` if they cannot be read.
    pub(crate) settings: Option<BTreeMap<String, BiosSetting>>,
}

/// Reply of a BMC to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The command was accepted.
    Done,
    /// The command was refused, with the BMC's message.
    Refused(String),
}

/// Reason a BMC request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BmcError {
    /// The BMC did not answer.
    #[error("the BMC at {0} does not answer")]
    Silent(String),
    /// The BMC refused the credentials.
    #[error("the BMC at {0} rejected the user or the password")]
    Password(String),
    /// The BMC has no free session.
    #[error("the BMC at {0} has no free session slot")]
    NoSlot(String),
    /// The BMC is busy; a retry may succeed.
    #[error("the BMC at {address} is busy: {why}")]
    Busy {
        /// Address of the BMC.
        address: String,
        /// The BMC's message, or ours.
        why: String,
    },
    /// The BMC refused the request, or its answer cannot be used.
    #[error("the BMC at {address} cannot be used: {why}")]
    Refused {
        /// Address of the BMC.
        address: String,
        /// The BMC's message, or ours.
        why: String,
    },
    /// The permit expired before the command was sent.
    #[error("the permit to send the command expired")]
    NotPermitted,
    /// A command was sent and not answered: it may have been executed.
    #[error("the BMC at {0} did not answer a command; it may have been executed")]
    Unknown(String),
}

impl BmcError {
    pub(crate) const fn cause(&self) -> Cause {
        match self {
            Self::Silent(_) | Self::Unknown(_) | Self::NotPermitted => Cause::BmcSilent,
            Self::Password(_) => Cause::BmcPassword,
            Self::NoSlot(_) => Cause::BmcNoSession,
            Self::Refused { .. } | Self::Busy { .. } => Cause::BmcRefused,
        }
    }

    /// Returns whether a retry may succeed.
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            Self::Silent(_) | Self::NoSlot(_) | Self::NotPermitted | Self::Unknown(_) | Self::Busy { .. } => true,
            Self::Password(_) | Self::Refused { .. } => false,
        }
    }
}

/// A session with a BMC.
pub(crate) trait Bmc: Send {
    /// Returns the BMC's id of the session, or a random number if the protocol has none.
    fn session(&self) -> u32;
    /// Returns the resource path of the session, for protocols that close sessions by path.
    fn path(&self) -> &str {
        ""
    }
    /// Reads the power state. Read-only.
    fn power(&mut self) -> impl Future<Output = Result<Power, BmcError>> + Send;
    /// Returns a description of the BMC. Read-only.
    fn describe(&mut self) -> impl Future<Output = Result<String, BmcError>> + Send;
    /// Reads the boot device override. Read-only.
    fn boot_order(&mut self) -> impl Future<Output = Result<BootOrder, BmcError>> + Send;
    /// Reads the firmware settings. Returns `None` if this kind of BMC does not report them. Read-only.
    fn firmware(&mut self) -> impl Future<Output = Result<Option<Firmware>, BmcError>> + Send {
        async { Ok(None) }
    }
    /// Prepares to send a command, so that it takes no time of the permit. Read-only.
    fn prepare(&mut self) -> impl Future<Output = Result<(), BmcError>> + Send {
        async { Ok(()) }
    }
    /// Sends one command while the permit is valid.
    fn command(&mut self, command: Command, permit: &Permit) -> impl Future<Output = Result<Reply, BmcError>> + Send;
    /// Returns the number of commands that set this boot order.
    fn boot_steps(&self, boot: Boot) -> usize;
    /// Closes another session, by its path if it has one. Returns whether it is confirmed to be closed.
    fn close_other(&mut self, session: u32, path: &str) -> impl Future<Output = Result<bool, BmcError>> + Send;
    /// Closes this session. Returns whether the BMC confirmed it.
    fn close(self) -> impl Future<Output = bool> + Send;
}
