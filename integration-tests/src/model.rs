//! The ownership protocol in a simulated world: `mesh` as it is shipped, over `keyspace`'s in-memory store and a paused
//! clock, with faults that a seed draws.
//!
//! A schedule is one seed: a few processes and nodes, users who request power changes, and faults that begin where a
//! process reaches a chosen point of the protocol. Then everything is repaired, all requests must end, and
//! [`crate::check`] checks the logs of the BMCs and the history of claims and journals. [`Rules`] can break one rule, to see
//! that the checker finds it. The same seed gives the same schedule, event by event.

mod bmc;
mod chance;
mod fault;
mod history;
mod inject;
mod link;
mod network;
mod places;
mod process;
mod rules;
mod session;
mod sim;
mod work;
mod world;

use std::{ops::AddAssign, time::Duration};

use anyhow::Result;
pub use rules::{Fences, Mutant, Rules};

use crate::check::{History, Violation};

/// Numbers of events of a schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Schedules.
    pub schedules: usize,
    /// Faults that happened to a process.
    pub faults: usize,
    /// Those that happened to an owner with a command outstanding.
    pub hits: usize,
    /// Claims that passed from one instance to another.
    pub takeovers: usize,
    /// Claims that were refused, by the rules or by the store.
    pub refused: usize,
    /// Memberships that ended and were followed by another one of the same process.
    pub fenced: usize,
    /// Rings.
    pub rings: usize,
    /// Processes killed.
    pub killed: usize,
    /// Processes that handed over and ended.
    pub stopped: usize,
    /// Commands that were to be journaled and sent.
    pub acts: usize,
    /// Commands that arrived through a closed session.
    pub refused_commands: usize,
    /// Points at which faults were to begin, and that no process reached.
    pub not_reached: usize,
    /// Simulated time.
    pub simulated: Duration,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.faults += other.faults;
        self.hits += other.hits;
        self.takeovers += other.takeovers;
        self.refused += other.refused;
        self.fenced += other.fenced;
        self.rings += other.rings;
        self.killed += other.killed;
        self.stopped += other.stopped;
        self.acts += other.acts;
        self.refused_commands += other.refused_commands;
        self.not_reached += other.not_reached;
        self.simulated += other.simulated;
    }
}

/// The result of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Numbers of events.
    pub tally: Tally,
    /// Violations that the checker found.
    pub violations: Vec<Violation>,
    /// Input of the checker.
    pub histories: Vec<History>,
    /// Events, one per line: time, process, event. Empty unless recorded.
    pub trace: Vec<String>,
}

/// Whether events are recorded, which takes longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Every event.
    Recorded,
    /// None.
    Off,
}

/// Runs one schedule.
///
/// # Errors
/// The runtime cannot be built.
pub fn run(seed: u64, rules: Rules, trace: Trace) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    // Without tokio's budget: all tasks of a schedule are one task to the runtime.
    Ok(runtime.block_on(tokio::task::unconstrained(world::World::run(seed, rules, trace))))
}
