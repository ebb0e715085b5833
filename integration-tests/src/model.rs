//! The ownership protocol of OWNERSHIP.md in a simulated world: the real rules of `domain::ring` and the real values of
//! `keyspace`, driven as `mesh` and `power-service` drive them, among faults that a seed draws.
//!
//! A schedule is one seed: a few processes and nodes, people who ask for power changes, and faults that fall where a
//! process comes to a chosen point of the protocol. Then everything is mended, all that was asked must come to its
//! end, and [`crate::check`] judges what the BMCs and the journal's history say. [`Rules`] can leave one rule out, to
//! see that the checker catches it.
//!
//! `member.rs`, `owner.rs` and `work.rs` follow the services line by line; a change of `mesh::{live, leader,
//! acquire, journal}` or `power_service::work` is made there too.

mod bmc;
mod etcd;
mod fault;
mod member;
mod owner;
mod process;
mod rules;
mod sim;
mod work;
mod world;

use std::{ops::AddAssign, time::Duration};

pub use rules::{Fences, Mutant, Rules};

use crate::check::{History, Violation, check};

/// What happened, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Schedules.
    pub schedules: usize,
    /// Faults that fell on a process.
    pub faults: usize,
    /// Those that hit an owner with an act outstanding.
    pub hits: usize,
    /// Claims that passed from one instance to another.
    pub takeovers: usize,
    /// Claims that were refused, by the rules or by the store.
    pub refused: usize,
    /// Memberships that ended by a lost lease, a lost key or the fence.
    pub fenced: usize,
    /// Rings.
    pub rings: usize,
    /// Processes killed.
    pub killed: usize,
    /// Processes that handed over and ended.
    pub stopped: usize,
    /// Commands that were to be journalled and sent.
    pub acts: usize,
    /// Commands that came through a session which was closed.
    pub refused_commands: usize,
    /// Faults that never fell: no process came to their point.
    pub strikes_left: usize,
    /// Time that went by in the worlds.
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
        self.strikes_left += other.strikes_left;
        self.simulated += other.simulated;
    }
}

/// What came of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What happened, in numbers.
    pub tally: Tally,
    /// What the checker found.
    pub violations: Vec<Violation>,
    /// What the checker was given.
    pub histories: Vec<History>,
    /// What happened, line by line: time, who, what. Empty unless it was asked for.
    pub story: Vec<String>,
}

/// Whether a story is wanted: telling it takes most of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// Every event.
    Told,
    /// None.
    Untold,
}

/// Runs one schedule.
#[must_use]
pub fn run(seed: u64, rules: Rules, story: Story) -> Outcome {
    let world = world::World::new(seed, rules, story == Story::Told);
    world.run();
    let histories = world.histories();
    let tally = Tally { schedules: 1, ..world.count() };
    let story = world.sim.story();
    world.take_apart();
    Outcome { tally, violations: check(&histories), histories, story }
}
