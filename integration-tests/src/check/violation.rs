//! Violations that a run can have.

use std::fmt;

use domain::{
    generation::{Generation, InstructionVersion, Token},
    id::NodeId,
    power::Power,
    time::Timestamp,
};

/// One breach of the ownership protocol (services/mesh/OWNERSHIP.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// The history is impossible: its revisions do not increase.
    Disordered {
        /// The node.
        node: NodeId,
        /// The one before.
        before: i64,
        /// Version that is not later.
        revision: i64,
    },
    /// A claim took the place of another one than its writer had read.
    ClaimUnread {
        /// The node.
        node: NodeId,
        /// The claim's revision.
        revision: i64,
        /// Claim that its writer had read; `None` for no claim.
        read: Option<i64>,
        /// Actual claim.
        was: Option<i64>,
    },
    /// A journal was written with a token that no claim has.
    NoSuchClaim {
        /// The node.
        node: NodeId,
        /// The journal's revision.
        revision: i64,
        /// The token.
        token: Token,
    },
    /// A journal was written by an owner after the claim had passed on, or was broken.
    ClaimHadPassed {
        /// The node.
        node: NodeId,
        /// The journal's revision.
        revision: i64,
        /// The writer's token.
        token: Token,
        /// The claim's revision by then.
        newer: i64,
    },
    /// One session under two tokens.
    SessionOfTwo {
        /// The node.
        node: NodeId,
        /// The session.
        session: u32,
        /// The token that it was opened under.
        first: Token,
        /// The other one.
        second: Token,
        /// The journal's revision.
        revision: i64,
    },
    /// A session left the journal, and a command came through it afterwards.
    SessionForgotten {
        /// The node.
        node: NodeId,
        /// The session.
        session: u32,
        /// The journal's revision that does not name it any more.
        revision: i64,
        /// The command.
        command: String,
        /// When it was carried out.
        at: Timestamp,
    },
    /// A command that no journal entry names.
    Unjournalled {
        /// The node.
        node: NodeId,
        /// Its session.
        session: u32,
        /// The command.
        command: String,
        /// When it was carried out.
        at: Timestamp,
    },
    /// A command was carried out before its entry was written.
    BeforeItsEntry {
        /// The node.
        node: NodeId,
        /// Its session.
        session: u32,
        /// The command.
        command: String,
        /// When it was carried out.
        at: Timestamp,
        /// The entry.
        revision: i64,
        /// The entry was not written before.
        written: Timestamp,
    },
    /// A command of an older owner after one of a newer owner.
    OlderToken {
        /// The node.
        node: NodeId,
        /// Its session.
        session: u32,
        /// The command.
        command: String,
        /// When it was carried out.
        at: Timestamp,
        /// Its entry.
        revision: i64,
        /// Its token.
        token: Token,
        /// The entry of the command before it.
        newer: i64,
        /// The token of that.
        newer_token: Token,
    },
    /// A command of an older owner, or of an older session of the same one, after the newer one's deciding read.
    AfterDecidingRead {
        /// The node.
        node: NodeId,
        /// Its session.
        session: u32,
        /// The command.
        command: String,
        /// When it was carried out.
        at: Timestamp,
        /// Its entry.
        revision: i64,
        /// Its token.
        token: Token,
        /// The session of the read.
        reader: u32,
        /// The token of the read.
        newer_token: Token,
        /// When it was read.
        read_at: Timestamp,
    },
    /// A command was repeated after a later entry's command had been carried out.
    LateRepeat {
        /// The node.
        node: NodeId,
        /// Its session.
        session: u32,
        /// The command.
        command: String,
        /// When it was carried out.
        at: Timestamp,
        /// Its entry.
        revision: i64,
        /// The later entry.
        newer: i64,
    },
    /// A command that must not be repeated was carried out again.
    Twice {
        /// The node.
        node: NodeId,
        /// Its session.
        session: u32,
        /// The command.
        command: String,
        /// When it was carried out again.
        at: Timestamp,
        /// Its entry.
        revision: i64,
    },
    /// A command that must not be repeated got a second entry.
    ArmedTwice {
        /// The node.
        node: NodeId,
        /// The command.
        command: String,
        /// The instruction.
        version: InstructionVersion,
        /// The first entry.
        first: i64,
        /// The second one.
        second: i64,
    },
    /// An accepted instruction never came to an end.
    NotEnded {
        /// The node.
        node: NodeId,
        /// The last instruction.
        asked: Generation,
        /// Last ended instruction.
        ended: Generation,
    },
    /// All instructions ended, none failed, and the node does not stand where it was wanted.
    NotAsWanted {
        /// The node.
        node: NodeId,
        /// The last instruction.
        asked: Generation,
        /// Intended power.
        wanted: Power,
        /// Actual power.
        is: Power,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disordered { node, before, revision } => {
                write!(f, "node {node}: revision {revision} follows {before}")
            }
            Self::ClaimUnread { node, revision, read, was } => {
                let words =
                    |revision: &Option<i64>| revision.map_or("none".to_owned(), |revision| revision.to_string());
                let (read, was) = (words(read), words(was));
                write!(
                    f,
                    "node {node}: the claim at revision {revision} took the place of {was}, but its writer had read {read}"
                )
            }
            Self::NoSuchClaim { node, revision, token } => {
                write!(f, "node {node}: the journal at revision {revision} has token {token}, which no claim has")
            }
            Self::ClaimHadPassed { node, revision, token, newer } => write!(
                f,
                "node {node}: the journal at revision {revision} was written under token {token}, but the claim was \
                 at revision {newer}"
            ),
            Self::SessionOfTwo { node, session, first, second, revision } => write!(
                f,
                "node {node}: session {session:#010x} of token {first} has token {second} at revision {revision}"
            ),
            Self::SessionForgotten { node, session, revision, command, at } => write!(
                f,
                "node {node}: session {session:#010x} left the journal at revision {revision}, and then {command:?} \
                 came through it at {at}"
            ),
            Self::Unjournalled { node, session, command, at } => write!(
                f,
                "node {node}: no journal entry names {command:?} of session {session:#010x}, carried out at {at}"
            ),
            Self::BeforeItsEntry { node, session, command, at, revision, written } => write!(
                f,
                "node {node}: {command:?} of session {session:#010x} was carried out at {at}, before its entry \
                 (revision {revision}) was written at {written}"
            ),
            Self::OlderToken { node, session, command, at, revision, token, newer, newer_token } => write!(
                f,
                "node {node}: {command:?} of session {session:#010x} (revision {revision}, token {token}) was carried \
                 out at {at}, after one of revision {newer}, token {newer_token}"
            ),
            Self::AfterDecidingRead { node, session, command, at, revision, token, reader, newer_token, read_at } => {
                write!(
                    f,
                    "node {node}: {command:?} of session {session:#010x} (revision {revision}, token {token}) was \
                     carried out at {at}, after the deciding read of session {reader:#010x} (token {newer_token}) at \
                     {read_at}"
                )
            }
            Self::LateRepeat { node, session, command, at, revision, newer } => write!(
                f,
                "node {node}: {command:?} of session {session:#010x} (revision {revision}) was repeated at {at}, after \
                 a command of revision {newer}"
            ),
            Self::Twice { node, session, command, at, revision } => write!(
                f,
                "node {node}: {command:?} of session {session:#010x} (revision {revision}) was carried out again at {at}"
            ),
            Self::ArmedTwice { node, command, version, first, second } => write!(
                f,
                "node {node}: {command:?} of instruction {} has two entries, revisions {first} and {second}",
                version.generation
            ),
            Self::NotEnded { node, asked, ended } => {
                write!(f, "node {node}: instruction {asked} never ended; the last that did is {ended}")
            }
            Self::NotAsWanted { node, asked, wanted, is } => {
                write!(f, "node {node}: instruction {asked} wanted {wanted}, and it is {is}")
            }
        }
    }
}
