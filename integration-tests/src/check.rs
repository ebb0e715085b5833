//! The two-owner checker: did at most one owner change each node, and was every change journalled first (OWNERSHIP.md)?
//!
//! It judges a run by two independent records, not by reports of the participants: each BMC's log, in the order in
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
    /// State at the end of the run. `None` if the end is not checked.
    pub end: Option<End>,
}

/// One line of a BMC's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When the BMC did it.
    pub at: Timestamp,
    /// The BMC's id of the session that it came in.
    pub session: u32,
    /// Command.
    pub what: What,
}

/// Command to a BMC.
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

/// State of a node at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The last instruction that was accepted.
    pub asked: Generation,
    /// Last instruction that has ended, according to the store.
    pub ended: Generation,
    /// Why that one failed, where it did: then the node need not stand as wanted.
    pub failure: Option<Failure>,
    /// Intended power.
    pub wanted: Power,
    /// Actual power.
    pub is: Power,
}

/// Journal entry, and its position among the others.
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
    matches!(command, "reset" | "nmi") || command.ends_with(" reset of the BMC") || command.starts_with("raw command ")
}

#[cfg(test)]
mod tests;
