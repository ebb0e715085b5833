//! The interface of all BMC drivers. Commands that change something require a [`Permit`].

use std::collections::BTreeMap;

use domain::{
    failure::Cause,
    power::{BmcReset, Boot, BootDevice, BootMode, Persistence, Power, PowerTarget},
    raw_command::RawCommand,
};
use keyspace::value::BiosSetting;
use mesh::Permit;

use crate::retry::Verdict;

/// A command that changes something. All but those that are [sent once](Self::is_sent_once) are idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Switch power on.
    On,
    /// Switch power off immediately.
    Off,
    /// Ask the operating system to shut down.
    SoftOff,
    /// Interrupt the operating system (NMI). Sent again in the same instruction only if it was certainly not carried out.
    Interrupt,
    /// One step of setting the boot order, by its index.
    Boot(Boot, usize),
    /// Restart the BMC. Sent again as `Interrupt` is. The session is over when it is done.
    ResetBmc(BmcReset),
    /// Send a raw IPMI command, by [`Bmc::raw`]. Sent again as `Interrupt` is. Its data is not named: it may be a password.
    Raw {
        /// Network function.
        netfn: u8,
        /// Number of the command.
        command: u8,
    },
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
            Self::ResetBmc(reset) => format!("{reset} reset of the BMC"),
            Self::Raw { netfn, command } => format!("raw command {netfn:#04x} {command:#04x}"),
        }
    }

    /// Returns the command that a target sends once, if it has one. It is the only command of its instruction.
    pub(crate) const fn once_for(target: PowerTarget) -> Option<Self> {
        match target {
            PowerTarget::Interrupted { .. } => Some(Self::Interrupt),
            PowerTarget::BmcReset { reset, .. } => Some(Self::ResetBmc(reset)),
            PowerTarget::RawCommand { netfn, command, .. } => Some(Self::Raw { netfn, command }),
            PowerTarget::On
            | PowerTarget::Off
            | PowerTarget::SoftOff { .. }
            | PowerTarget::Booted { .. }
            | PowerTarget::SoftBooted { .. }
            | PowerTarget::BootOrder { .. } => None,
        }
    }

    /// Returns the name of a raw command.
    pub(crate) const fn of_raw(raw: &RawCommand) -> Self {
        Self::Raw { netfn: raw.netfn(), command: raw.command() }
    }

    /// Whether a repetition has a further effect, so that it gets one datagram and is not repeated if its outcome is unknown.
    pub(crate) const fn is_sent_once(self) -> bool {
        match self {
            Self::Interrupt | Self::ResetBmc(_) | Self::Raw { .. } => true,
            Self::On | Self::Off | Self::SoftOff | Self::Boot(..) => false,
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
    /// The command is refused for good, with the BMC's message.
    Refused(String),
    /// The command was not carried out now. The error says why, and whether it may be sent again.
    NotNow(BmcError),
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
    /// The BMC has another key K_G.
    #[error("the BMC at {0} has another key K_G than driver_info/ipmi_hex_kg_key, or has one where that is not set")]
    WrongKey(String),
    /// The BMC accepts the user and the password, but the user may not do what is needed.
    #[error(
        "the user {user:?} of the BMC at {address} may not have privilege {level}, or may not use this command with it \
         ({why}); give the user the privilege at the BMC, or set driver_info/ipmi_priv_level to one that it has: \
         OPERATOR suffices to switch power"
    )]
    Privilege {
        /// Address of the BMC.
        address: String,
        /// Name of the user.
        user: String,
        /// The privilege that was requested.
        level: &'static str,
        /// What the BMC answered, and to what.
        why: String,
    },
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
    /// The BMC ended the session, or does not know it.
    #[error("the BMC at {address} ended the session: {why}")]
    SessionLost {
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
    /// A refusal that is believed only when it is repeated.
    #[error(transparent)]
    Doubtful(Box<Self>),
    /// The permit expired before the command was sent.
    #[error("the permit to send the command expired")]
    NotPermitted,
    /// A command never left this host.
    #[error("a command to the BMC at {address} was not sent: this host cannot send to it ({why}); check its network")]
    NotSent {
        /// Address of the BMC.
        address: String,
        /// The error of the operating system.
        why: String,
    },
    /// A command was sent and not answered: it may have been executed.
    #[error("the BMC at {0} did not answer a command; it may have been executed")]
    Unknown(String),
}

impl BmcError {
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Silent(_) | Self::Unknown(_) | Self::NotPermitted | Self::NotSent { .. } => Cause::BmcSilent,
            Self::Password(_) | Self::WrongKey(_) => Cause::BmcPassword,
            Self::Privilege { .. } => Cause::BmcPrivilege,
            Self::NoSlot(_) => Cause::BmcNoSession,
            Self::Refused { .. } | Self::Busy { .. } | Self::SessionLost { .. } => Cause::BmcRefused,
            Self::Doubtful(refusal) => refusal.cause(),
        }
    }

    /// Returns whether and how the request is repeated.
    pub(crate) const fn verdict(&self) -> Verdict {
        match self {
            Self::Busy { .. } | Self::NotSent { .. } => Verdict::Later,
            Self::Silent(_) | Self::NoSlot(_) | Self::SessionLost { .. } | Self::NotPermitted | Self::Unknown(_) => {
                Verdict::NewSession
            }
            Self::Doubtful(_) => Verdict::Doubtful,
            Self::Password(_) | Self::WrongKey(_) => Verdict::WrongCredentials,
            Self::Refused { .. } | Self::Privilege { .. } => Verdict::Final,
        }
    }

    /// Whether a command with this error certainly never left this host.
    pub(crate) const fn is_not_sent(&self) -> bool {
        match self {
            Self::NotPermitted | Self::NotSent { .. } => true,
            Self::Silent(_)
            | Self::Password(_)
            | Self::WrongKey(_)
            | Self::Privilege { .. }
            | Self::NoSlot(_)
            | Self::Busy { .. }
            | Self::SessionLost { .. }
            | Self::Refused { .. }
            | Self::Doubtful(_)
            | Self::Unknown(_) => false,
        }
    }

    /// Returns the error of an answer with this verdict.
    pub(crate) fn of(verdict: Verdict, address: String, why: String) -> Self {
        match verdict {
            Verdict::Later => Self::Busy { address, why },
            Verdict::NewSession => Self::SessionLost { address, why },
            Verdict::Doubtful => Self::Doubtful(Box::new(Self::Refused { address, why })),
            Verdict::Final => Self::Refused { address, why },
            Verdict::WrongCredentials => Self::Password(address),
        }
    }

    /// Returns the refusal of which there is no doubt any more.
    pub(crate) fn believed(self) -> Self {
        if let Self::Doubtful(refusal) = self { *refusal } else { self }
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
    /// Sends a raw command, once, while the permit is valid.
    fn raw(&mut self, raw: &RawCommand, _: &Permit) -> impl Future<Output = Result<Reply, BmcError>> + Send {
        let command = Command::of_raw(raw);
        async move { Ok(Reply::Refused(format!("a {} needs IPMI", command.description()))) }
    }
    /// Returns the number of commands that set this boot order.
    fn boot_steps(&self, boot: Boot) -> usize;
    /// Closes another session, by its path if it has one. Returns whether it is confirmed to be closed.
    fn close_other(&mut self, session: u32, path: &str) -> impl Future<Output = Result<bool, BmcError>> + Send;
    /// Closes this session. Returns whether the BMC confirmed it.
    fn close(self) -> impl Future<Output = bool> + Send;
}
