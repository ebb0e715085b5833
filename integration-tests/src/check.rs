//! The two-owner checker: did at most one owner change each node, and was every change journalled first (OWNERSHIP.md)?
//!
//! It judges a run by what two witnesses wrote down, not by what participants report: each BMC's log, in the order in
//! which the BMC acted, and *every* revision of the node's claim and journal, recorded by a watch from before the run.
//! Each command is mapped through its session to a journal entry and so to a token. It is pure; the model and runs
//! over real processes hand it the same [`History`].

mod machine;
mod violation;
mod walk;

use domain::{
    failure::Failure,
    generation::{Generation, InstructionVersion, Token},
    id::NodeId,
    power::Power,
    time::Timestamp,
};
use keyspace::value::{Claim, Journal};
use serde::{Deserialize, Serialize};

pub use machine::{done, words};
pub use violation::Violation;

/// All that is known of one node's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The node.
    pub node: NodeId,
    /// Its BMC's log, in the order in which the BMC acted.
    pub bmc: Vec<Deed>,
    /// Every revision of its claim key, in order.
    pub claims: Vec<Revision<Claim>>,
    /// Every revision of its journal key, in order.
    pub journal: Vec<Revision<Journal>>,
    /// How it stood when the run was over; none: the run is not judged by its end.
    pub end: Option<End>,
}

/// One line of a BMC's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When the BMC did it.
    pub at: Timestamp,
    /// The BMC's id of the session that it came in.
    pub session: u32,
    /// What was asked.
    pub what: What,
}

/// What a BMC was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The session was opened.
    Login,
    /// The session was closed, by itself or another.
    Close,
    /// The node's state was read.
    Read,
    /// Something was to be changed.
    Command {
        /// As the journal has it; a boot order without its step.
        words: String,
        /// The BMC carried it out, and did not refuse it.
        executed: bool,
    },
}

/// One revision of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision<V> {
    /// The revision; greater is later.
    pub revision: i64,
    /// It was certainly not written before this. None where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// It was certainly written by then. None where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// The value; none: deleted.
    pub value: Option<V>,
}

/// How a node stood when the run was over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The last instruction that was accepted.
    pub asked: Generation,
    /// The last one that came to an end, as the store has it.
    pub ended: Generation,
    /// Why that one failed, where it did: then the node need not stand as wanted.
    pub failure: Option<Failure>,
    /// Where power was wanted.
    pub wanted: Power,
    /// Where it is.
    pub is: Power,
}

/// One journal entry, and where it stands among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    revision: i64,
    not_before: Option<Timestamp>,
    version: InstructionVersion,
    token: Token,
    session: u32,
    command: String,
}

/// Everything that is wrong with these nodes' runs.
#[must_use]
pub fn check<'a>(histories: impl IntoIterator<Item = &'a History>) -> Vec<Violation> {
    histories.into_iter().flat_map(walk::judge).collect()
}

/// Whether a command must never be repeated: it changes something each time that it is carried out.
#[must_use]
pub fn is_once(command: &str) -> bool {
    matches!(command, "reset" | "nmi")
}

#[cfg(test)]
mod tests;
