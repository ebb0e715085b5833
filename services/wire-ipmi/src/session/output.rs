//! What a session tells its driver.

use crate::cipher::Suite;
use crate::message::Completion;
use crate::rakp::Status;

/// The caller's name for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Whether a datagram changes anything at the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// It does not: handshake, reading, keep-alive, closing.
    Free,
    /// It carries this request, which does. Send it only with a permit; without, drop it and
    /// [`cancel`](crate::Session::cancel) the ticket.
    Mutating(Ticket),
}

/// What the driver must do or know next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Put these bytes on the wire.
    Send {
        /// The datagram.
        bytes: Vec<u8>,
        /// Whether a permit is needed; also for every retransmission.
        guard: Guard,
    },
    /// Logged in: requests are sent from now on.
    Opened {
        /// The BMC's id of this session, for the journal, and for others to close it by.
        bmc_session: u32,
        /// What protects it.
        suite: Suite,
        /// Which BMC it is (as it says itself; a proof only that it knows the password).
        guid: [u8; 16],
    },
    /// A request was answered. After [`Output::Lost`] this may still come, for as long as the session lives.
    Answer {
        /// Which.
        ticket: Ticket,
        /// How it ended.
        completion: Completion,
        /// What it brought; may be longer than the command's answer should be.
        data: Vec<u8>,
    },
    /// All tries of a request went unanswered, or the session ended first: it was carried out or it was not.
    Lost {
        /// Which.
        ticket: Ticket,
    },
    /// The BMC confirmed that the session is closed, or it never was opened. Nothing follows.
    Closed,
    /// The session is over without that confirmation. Nothing follows.
    Failed(Reason),
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The BMC's proof does not fit our password, twice: the password is wrong, or another device answers.
    #[error("the password is wrong")]
    WrongPassword,
    /// The BMC does not know the name, or not at that privilege.
    #[error("the user is not known")]
    UnknownUser,
    /// The user may not have the privilege that was asked for.
    #[error("the user may not have that privilege")]
    NoPrivilege,
    /// The BMC has no session left, or says so.
    #[error("the BMC has no free session slot")]
    NoSlot,
    /// The BMC speaks neither of the suites that were allowed.
    #[error("the BMC refuses the cipher suites")]
    NoSuite,
    /// The proof of the session key does not fit, twice: K_G differs, or the answer is forged.
    #[error("the BMC's key K_G is another")]
    WrongKey,
    /// The handshake was refused with another status.
    #[error("the BMC refused the login with RMCP+ status {:#04x}", .0.0)]
    Refused(Status),
    /// *Set Session Privilege Level* failed with this completion code.
    #[error("the BMC did not raise the privilege: completion code {:#04x}", .0.0)]
    Unraised(Completion),
    /// *Close Session* failed with this completion code, so the session may still be open.
    #[error("the BMC did not close the session: completion code {:#04x}", .0.0)]
    Unclosed(Completion),
    /// No answer to any try.
    #[error("the BMC does not answer")]
    Silent,
    /// Answers came, but none that could be authenticated.
    #[error("the BMC's answers are forged")]
    Forged,
}

/// What became of a request that was withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// No datagram of it was ever handed out.
    Unsent,
    /// So many were, and no more will be. An answer is still reported when one comes.
    HandedOut(u32),
    /// The ticket is not known: answered, given up, or never asked.
    Unknown,
}

/// A request that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The session is closing or over.
    #[error("the session is over")]
    Over,
    /// As many requests wait as may.
    #[error("too many requests wait")]
    Full,
    /// The ticket is in use.
    #[error("the ticket is in use")]
    Repeated,
    /// More than [`MAX_DATA`](crate::MAX_DATA) octets, or an odd or too high network function.
    #[error("the command cannot be spelled")]
    Unspeakable,
}
