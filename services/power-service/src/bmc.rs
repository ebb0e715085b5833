//! The seam: what we ask of any BMC. Whatever changes something asks for a [`Permit`].

use std::collections::BTreeMap;

use domain::{
    failure::Cause,
    power::{Boot, BootDevice, BootMode, Persistence, Power},
};
use keyspace::value::BiosSetting;
use mesh::Permit;

/// A command that changes something. Each is absolute, twice as good as once, but for an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Main power on.
    On,
    /// Main power off, at once.
    Off,
    /// The operating system is asked to shut down.
    SoftOff,
    /// The operating system is interrupted (NMI). Sent once for an instruction, whatever became of it.
    Interrupt,
    /// One of the steps that set a boot order, by its number.
    Boot(Boot, usize),
}

impl Command {
    /// In words, for the journal.
    pub(crate) fn words(self) -> String {
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

/// What a BMC tells its machine to boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BootOrder {
    /// What is tried first; none: nothing in particular, or what has no name here.
    pub(crate) device: Option<BootDevice>,
    /// For how long; none: it does not say.
    pub(crate) persistence: Option<Persistence>,
}

/// What a machine's firmware is set to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Firmware {
    /// The interface that it boots with, where the BMC says it.
    pub(crate) boot_mode: Option<BootMode>,
    /// Whether it boots signed systems alone, where the BMC says it.
    pub(crate) secure_boot: Option<bool>,
    /// Its settings; none: they could not be read.
    pub(crate) settings: Option<BTreeMap<String, BiosSetting>>,
}

/// What a BMC says to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Yes.
    Done,
    /// No; its words.
    Refused(String),
}

/// Why a BMC is of no use now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BmcError {
    /// No answer.
    #[error("the BMC at {0} does not answer")]
    Silent(String),
    /// Not with these credentials.
    #[error("the BMC at {0} refuses the user or the password")]
    Password(String),
    /// No room.
    #[error("the BMC at {0} has no free session slot")]
    NoSlot(String),
    /// It may do it in a moment.
    #[error("the BMC at {address} can not do it now: {why}")]
    Busy {
        /// Where.
        address: String,
        /// Its words, or ours about it.
        why: String,
    },
    /// It answers what we can not use.
    #[error("the BMC at {address} refuses: {why}")]
    Refused {
        /// Where.
        address: String,
        /// Its words, or ours about it.
        why: String,
    },
    /// The permit ran out before a datagram could leave; nothing was sent since.
    #[error("the right to send ran out")]
    NotPermitted,
    /// A command was sent and not answered: it may have been carried out.
    #[error("the BMC at {0} did not answer a command; it may have been carried out")]
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

    /// Whether trying again soon may help.
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            Self::Silent(_) | Self::NoSlot(_) | Self::NotPermitted | Self::Unknown(_) | Self::Busy { .. } => true,
            Self::Password(_) | Self::Refused { .. } => false,
        }
    }
}

/// A session with a BMC.
pub(crate) trait Bmc: Send {
    /// The BMC's own id of the session; a number of ours where it has none.
    fn session(&self) -> u32;
    /// What a successor closes the session by, where that is not its id.
    fn path(&self) -> &str {
        ""
    }
    /// Reads whether power is on. Changes nothing.
    fn power(&mut self) -> impl Future<Output = Result<Power, BmcError>> + Send;
    /// Says what the BMC is, in words. Changes nothing.
    fn describe(&mut self) -> impl Future<Output = Result<String, BmcError>> + Send;
    /// Reads what the machine is told to boot from. Changes nothing.
    fn boot_order(&mut self) -> impl Future<Output = Result<BootOrder, BmcError>> + Send;
    /// Reads what the machine's firmware is set to, as far as it can; none: this kind of BMC does not say. Changes nothing.
    fn firmware(&mut self) -> impl Future<Output = Result<Option<Firmware>, BmcError>> + Send {
        async { Ok(None) }
    }
    /// Does what a command needs and needs no permit, before a permit's time runs. Changes nothing.
    fn prepare(&mut self) -> impl Future<Output = Result<(), BmcError>> + Send {
        async { Ok(()) }
    }
    /// Sends one command, as long as the permit allows.
    fn command(&mut self, command: Command, permit: &Permit) -> impl Future<Output = Result<Reply, BmcError>> + Send;
    /// How many steps setting this boot order takes.
    fn boot_steps(&self, boot: Boot) -> usize;
    /// Closes another session, by its path where it has one; true: it is confirmed to be closed.
    fn close_other(&mut self, session: u32, path: &str) -> impl Future<Output = Result<bool, BmcError>> + Send;
    /// Closes this one; true: confirmed.
    fn close(self) -> impl Future<Output = bool> + Send;
}
