//! Outputs of a session.

use crate::cipher::Suite;
use crate::meaning::{Meaning, raise_meaning};
use crate::message::Completion;
use crate::rakp::Status;

/// Identifier of a request, chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Whether a datagram needs a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// It does not change the machine: handshake, reading, keep-alive, closing.
    Free,
    /// It belongs to this mutating request. Send it only with a permit; without one, drop it and
    /// [`cancel`](crate::Session::cancel) the ticket.
    Mutating(Ticket),
}

/// Next action or event for the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// Datagram.
        bytes: Vec<u8>,
        /// Whether it needs a permit; set on every retransmission too.
        guard: Guard,
    },
    /// The session is open. Requests are sent from now on.
    Opened {
        /// The BMC's session id, for the journal and for closing the session from another one.
        bmc_session: u32,
        /// Cipher suite.
        suite: Suite,
        /// GUID that the BMC claims. The handshake proves only that it knows the password.
        guid: [u8; 16],
    },
    /// A response was received. It may follow [`Output::Lost`] while the session is open.
    Answer {
        /// Ticket of the request.
        ticket: Ticket,
        /// Completion code.
        completion: Completion,
        /// Data of the response. It may be longer than specified.
        data: Vec<u8>,
    },
    /// No response to any try of a request, or the session ended before. It is unknown whether the BMC executed the request.
    Lost {
        /// Ticket of the request.
        ticket: Ticket,
    },
    /// The BMC confirmed that the session is closed, or it was never open. This is the last output.
    Closed,
    /// The session ended without that confirmation. This is the last output.
    Failed(Reason),
}

/// Reason why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The BMC's proof did not match the password in two attempts: the password is wrong, or another device responds.
    #[error("the password is wrong")]
    WrongPassword,
    /// The user name is unknown, or does not have the privilege.
    #[error("the user is not known")]
    UnknownUser,
    /// The user is not allowed to have the requested privilege.
    #[error("the user may not have that privilege")]
    NoPrivilege,
    /// The BMC reports that it has no free session.
    #[error("the BMC has no free session slot")]
    NoSlot,
    /// The BMC supports none of the accepted cipher suites.
    #[error("the BMC refuses the cipher suites")]
    NoSuite,
    /// The proof of the session key did not match in two attempts: K_G differs, or the response is forged.
    #[error("the BMC's key K_G is another")]
    WrongKey,
    /// The handshake was refused with another status.
    #[error("the BMC refused the login with RMCP+ status {:#04x}", .0.0)]
    Refused(Status),
    /// *Set Session Privilege Level* failed with this completion code, several times unless it can never succeed.
    #[error("the BMC did not raise the privilege: completion code {:#04x}", .0.0)]
    Unraised(Completion),
    /// *Close Session* failed with this completion code, so the session may still be open.
    #[error("the BMC did not close the session: completion code {:#04x}", .0.0)]
    Unclosed(Completion),
    /// No response to any try.
    #[error("the BMC does not answer")]
    Silent,
    /// Responses were received, but none could be authenticated.
    #[error("the BMC's answers are forged")]
    Forged,
}

impl Reason {
    /// Returns the meaning of the end of a session.
    #[must_use]
    pub const fn meaning(self) -> Meaning {
        match self {
            Self::WrongPassword | Self::UnknownUser | Self::WrongKey => Meaning::WrongCredentials,
            Self::NoPrivilege => Meaning::NoPrivilege,
            Self::NoSlot => Meaning::NotNow,
            Self::NoSuite => Meaning::Never,
            Self::Refused(status) => status.meaning(),
            Self::Unraised(completion) => raise_meaning(completion),
            Self::Unclosed(_) | Self::Silent | Self::Forged => Meaning::Unclear,
        }
    }
}

/// State of a cancelled request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// No datagram of it was sent.
    Unsent,
    /// This number of datagrams was sent, and no more will be. A response is still reported.
    HandedOut(u32),
    /// The ticket is unknown: the request has ended, or never existed.
    Unknown,
}

/// Reason why a request was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The session is closing or over.
    #[error("the session is over")]
    Over,
    /// Too many requests are queued.
    #[error("too many requests wait")]
    Full,
    /// The ticket is in use.
    #[error("the ticket is in use")]
    Repeated,
    /// The command has more than [`MAX_DATA`](crate::MAX_DATA) octets, or an invalid network function.
    #[error("the command cannot be spelled")]
    Unspeakable,
}
