//! What is left to do for a node: from what is wanted and what was seen, at a given moment.
//!
//! A pass calls [`plan`] and carries out at most one act. Nothing is remembered between passes that is not in the
//! records, so whoever makes the next pass, after whatever crash, comes to the same remaining work.

mod thing;
mod turn;

use std::time::Duration;

pub use self::thing::{Thing, Waiting};

use crate::{
    course::{Course, Turn},
    failure::{Cause, Failure},
    generation::Generation,
    power::{Boot, BootDevice, BootMode, Persistence, PowerTarget},
    provision::{Event, Stage, State},
    time::Timestamp,
};

/// How long each thing may take before it counts as failed. Kept in the scheduler's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A BMC's first answer.
    pub verify: Duration,
    /// Image and boot files in the rack's cache.
    pub prepare: Duration,
    /// A power target reached.
    pub power: Duration,
    /// A boot without anything new on its timeline, and the report of an inspection.
    pub boot: Duration,
    /// An agent without a sign of itself.
    pub agent: Duration,
    /// Boots tried before giving up.
    pub boots: u32,
    /// How long each stage of the work on a machine that is not there takes: a boot, and what follows it.
    pub fake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            verify: Duration::from_secs(60),
            prepare: Duration::from_secs(30 * 60),
            power: Duration::from_secs(180),
            boot: Duration::from_secs(300),
            agent: Duration::from_secs(120),
            boots: 3,
            fake: Duration::ZERO,
        }
    }
}

/// The part of an agent's deadline for which a machine that was read off is left to show that it lives.
const QUIET: u32 = 4;

/// Who does the work on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hands {
    /// An agent that the machine boots.
    #[default]
    Agent,
    /// Nobody: the machine is not there, and its work is done by waiting.
    Fake,
}

/// What is wanted of the node now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where its life is.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// What instructions carry now.
    pub generation: Generation,
    /// The boot attempts of this operation that came to nothing.
    pub boots_lost: u32,
    /// Who does the work.
    pub hands: Hands,
    /// The steps that a person named, and how many of them are made.
    pub course: Course,
    /// Its firmware interface.
    pub boot_mode: BootMode,
    /// How long a deployed system may take to show life; `None`: it need not.
    pub wait_for_life: Option<Duration>,
}

/// How a leaf stands with the instruction of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Progress {
    /// Not asked, or nothing seen of it.
    #[default]
    Unknown,
    /// At it.
    Underway,
    /// Done, at this time.
    Done(Timestamp),
    /// It can not.
    Failed(Failure),
}

/// What was seen, as far as the present generation is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The BMC's answer to being asked.
    pub bmc: Progress,
    /// Power was last read off, at this time, whatever the generation.
    pub off_at: Option<Timestamp>,
    /// The power instruction.
    pub power_target: Progress,
    /// The boot decision is minted.
    pub minted: bool,
    /// It has the steps that are next.
    pub handed: bool,
    /// Images and boot files are in the rack's cache.
    pub images: Progress,
    /// The pxe-service answers the machine by the decision.
    pub boot: Progress,
    /// The agent is bound to the boot token since this time.
    pub agent_bound: Option<Timestamp>,
    /// The agent's work.
    pub work: Progress,
    /// The agent said by which steps of its own it would clean, and they are not the operation's yet.
    pub lists: bool,
    /// The agent said what the machine is made of.
    pub reported: bool,
    /// The agent's last sign of itself.
    pub agent_heard: Option<Timestamp>,
    /// The last thing on the running timeline.
    pub last_mark: Option<Timestamp>,
    /// The deployed system's first sign of life.
    pub life: Option<Timestamp>,
    /// What the timeline says about where a boot stopped.
    pub diagnosis: Option<(Cause, String)>,
}

/// One thing to do on the outside. Every act may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Ask the BMC who it is, and how power stands.
    AskBmc,
    /// Mint the boot decision with its token.
    Mint,
    /// Hand the agent that is there the steps that are next.
    Hand,
    /// Make the steps that the agent would clean by those of the operation.
    TakeSteps,
    /// Have the images in the rack's cache.
    EnsureImages,
    /// Have the pxe-service answer by the decision.
    EnsureBoot,
    /// Bring power to a target.
    EnsurePower(PowerTarget),
}

/// What a pass does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing is wanted.
    Rest,
    /// Nothing can be done now.
    Wait(Waiting),
    /// Do this, then look again; until the thing is there the node waits for it.
    Act(Act, Waiting),
    /// The life moves.
    Step(Event, Option<Failure>),
}

/// What is still to be done to bring a node from what is to what is wanted.
#[must_use]
pub fn plan(wanted: &Wanted, seen: &Seen, limits: &Limits, now: Timestamp) -> Plan {
    let at = Moment { wanted, seen, limits, now };
    match wanted.state {
        // A machine that is taken over runs its system: its BMC is asked, and told nothing.
        State::Verifying | State::Adopting => {
            at.reach(&seen.bmc, Act::AskBmc, Thing::Bmc, limits.verify, Cause::BmcSilent, Event::Answered)
        }
        State::Deleting => at.power(PowerTarget::Off, Event::Finished),
        State::Deploying { stage }
        | State::Cleaning { stage, .. }
        | State::Inspecting { stage }
        | State::Rescuing { stage }
        | State::Servicing { stage }
        | State::Unrescuing { stage } => match stage {
            Stage::Work if wanted.course.turn != Turn::Whole => at.turn(),
            Stage::Prepare | Stage::Boot | Stage::Work if wanted.hands == Hands::Fake => at.pretend(stage),
            Stage::Prepare => at.prepare(),
            Stage::Boot => at.boot(),
            Stage::Work if seen.lists => Plan::Act(Act::TakeSteps, at.waiting(Thing::Work, at.heard(), limits.agent)),
            Stage::Work => at.work(Event::Worked),
            // Nothing was booted: whatever the machine did, it goes on doing.
            Stage::Finish if wanted.course.is_beside_the_machine() => Plan::Step(Event::Finished, None),
            Stage::Finish if wanted.state.ends_in_use() => at.boot_from_disk(),
            Stage::Finish => at.power(PowerTarget::Off, Event::Finished),
        },
        State::Enroll
        | State::Manageable
        | State::Available
        | State::DeployHold
        | State::Active
        | State::CleanHold
        | State::Rescue
        | State::ServiceHold
        | State::Failed { .. } => Plan::Rest,
    }
}

struct Moment<'a> {
    wanted: &'a Wanted,
    seen: &'a Seen,
    limits: &'a Limits,
    now: Timestamp,
}

impl Moment<'_> {
    /// What a machine that is not there does of itself.
    fn pretend(&self, stage: Stage) -> Plan {
        let waiting = self.waiting(Thing::Work, self.wanted.since, self.limits.fake);
        match stage {
            Stage::Prepare => Plan::Step(Event::Prepared, None),
            Stage::Boot if self.now < waiting.until => Plan::Wait(waiting),
            Stage::Boot => Plan::Step(Event::Called, None),
            Stage::Work if matches!(self.seen.work, Progress::Failed(_)) => self.work(Event::Worked),
            Stage::Work | Stage::Finish if self.now < waiting.until => Plan::Wait(waiting),
            Stage::Work | Stage::Finish => Plan::Step(Event::Worked, None),
        }
    }

    fn prepare(&self) -> Plan {
        let (seen, limit) = (self.seen, self.limits.prepare);
        if let Progress::Failed(failure) = &seen.work {
            return Plan::Step(Event::GaveUp, Some(failure.clone()));
        }
        if seen.agent_bound.is_some() || self.wanted.course.skips_boot() {
            return Plan::Step(Event::Called, None);
        }
        if !seen.minted {
            let waiting = self.waiting(Thing::BootFiles, self.wanted.since, limit);
            if self.now < waiting.until {
                return Plan::Act(Act::Mint, waiting);
            }
            let text = format!("what to boot could not be decided within {} s", limit.as_secs());
            return self.give_up(Cause::RamdiskMissing, text);
        }
        let images =
            self.reach(&seen.images, Act::EnsureImages, Thing::Images, limit, Cause::ImageUnreachable, Event::Prepared);
        if !matches!(images, Plan::Step(Event::Prepared, _)) {
            return images;
        }
        self.reach(&seen.boot, Act::EnsureBoot, Thing::BootFiles, limit, Cause::RamdiskMissing, Event::Prepared)
    }

    fn boot(&self) -> Plan {
        if self.seen.agent_bound.is_some() {
            return Plan::Step(Event::Called, None);
        }
        let network = Boot { device: BootDevice::Pxe, persistence: Persistence::Once, mode: self.wanted.boot_mode };
        let on = match self.power_reached(PowerTarget::Booted { boot: Some(network) }) {
            Ok(at) => at,
            Err(plan) => return plan,
        };
        let progress = self.seen.last_mark.map_or(on, |mark| mark.max(on));
        let lost_at = self.power_lost_at(progress);
        let mut waiting = self.waiting(Thing::Agent, progress, self.limits.boot);
        waiting.until = lost_at.map_or(waiting.until, |lost| lost.min(waiting.until));
        if self.now < waiting.until {
            return Plan::Wait(waiting);
        }
        if self.wanted.boots_lost + 1 < self.limits.boots {
            return Plan::Step(Event::Again, None);
        }
        let (cause, text) = if lost_at.is_some_and(|lost| lost <= self.now) {
            (Cause::PowerLost, "the machine lost its power while it booted".to_owned())
        } else {
            self.seen.diagnosis.clone().unwrap_or_else(|| {
                (Cause::Deadline, "the machine was told to boot and its agent never called".to_owned())
            })
        };
        self.give_up(cause, format!("{text} (after {} boots)", self.limits.boots))
    }

    fn work(&self, then: Event) -> Plan {
        match &self.seen.work {
            Progress::Done(_) if self.inspects() && !self.seen.reported => {
                let text = "the agent says that it is done, and never said what the machine is made of".to_owned();
                return self.give_up(Cause::NoReport, text);
            }
            Progress::Done(_) => return Plan::Step(then, None),
            Progress::Failed(failure) => return Plan::Step(Event::GaveUp, Some(failure.clone())),
            Progress::Unknown | Progress::Underway => {}
        }
        let heard = self.heard();
        let lost_at = self.power_lost_at(heard);
        let mut waiting = self.waiting(Thing::Work, heard, self.limits.agent);
        let report_by = self.inspects().then(|| self.wanted.since.plus(self.limits.boot));
        for sooner in [lost_at, report_by].into_iter().flatten() {
            waiting.until = waiting.until.min(sooner);
        }
        if self.now < waiting.until {
            return Plan::Wait(waiting);
        }
        if lost_at.is_some_and(|lost| lost <= self.now) {
            return self.give_up(Cause::PowerLost, "the machine lost its power while its agent was at work".to_owned());
        }
        if self.now < heard.plus(self.limits.agent) {
            let text = format!("the agent is heard and gave no report within {} s", self.limits.boot.as_secs());
            return self.give_up(Cause::NoReport, text);
        }
        let text = format!("the agent was last heard {} s ago, at {heard}", self.now.since(heard).as_secs());
        self.give_up(Cause::AgentLost, text)
    }

    /// When the agent was last heard. It counts from the stage's beginning too: a scheduler that has just taken over has
    /// heard nothing yet.
    fn heard(&self) -> Timestamp {
        self.seen.agent_heard.map_or(self.wanted.since, |heard| heard.max(self.wanted.since))
    }

    /// A report is a matter of seconds: an agent that is heard and gives none is not waited for without end, as one is
    /// that writes a disk.
    fn inspects(&self) -> bool {
        matches!(self.wanted.state, State::Inspecting { .. })
    }

    fn boot_from_disk(&self) -> Plan {
        let disk = Boot { device: BootDevice::Disk, persistence: Persistence::Persistent, mode: self.wanted.boot_mode };
        let on = match self.power_reached(PowerTarget::Booted { boot: Some(disk) }) {
            Ok(at) => at,
            Err(plan) => return plan,
        };
        let deploys = matches!(self.wanted.state, State::Deploying { .. });
        let Some(patience) = self.wanted.wait_for_life.filter(|_| deploys) else {
            return Plan::Step(Event::Finished, None);
        };
        if self.seen.life.is_some() {
            return Plan::Step(Event::Finished, None);
        }
        let waiting = self.waiting(Thing::Life, on, patience);
        if self.now < waiting.until {
            return Plan::Wait(waiting);
        }
        let text = format!("the deployed system gave no sign of life within {} s", patience.as_secs());
        self.give_up(Cause::NoLife, text)
    }

    /// From when on a machine that was read off counts as one that lost its power. A sign of life since then says that
    /// the BMC is wrong, and firmware may be off for a moment of its own.
    fn power_lost_at(&self, alive: Timestamp) -> Option<Timestamp> {
        Some(self.seen.off_at?.max(alive).plus(self.limits.agent / QUIET))
    }

    fn power(&self, target: PowerTarget, then: Event) -> Plan {
        match self.power_reached(target) {
            Ok(_) => Plan::Step(then, None),
            Err(plan) => plan,
        }
    }

    fn power_reached(&self, target: PowerTarget) -> Result<Timestamp, Plan> {
        if let Progress::Done(at) = self.seen.power_target {
            return Ok(at);
        }
        let act = Act::EnsurePower(target);
        Err(self.reach(
            &self.seen.power_target,
            act,
            Thing::Power,
            self.limits.power,
            Cause::PowerStuck,
            Event::Finished,
        ))
    }

    /// Acts until the thing is done, for as long as the limit allows; then the life moves on, or has failed.
    fn reach(&self, progress: &Progress, act: Act, thing: Thing, limit: Duration, late: Cause, then: Event) -> Plan {
        let waiting = self.waiting(thing, self.wanted.since, limit);
        match progress {
            Progress::Done(_) => Plan::Step(then, None),
            Progress::Failed(failure) => Plan::Step(Event::GaveUp, Some(failure.clone())),
            Progress::Unknown | Progress::Underway if self.now >= waiting.until => {
                self.give_up(late, format!("waited {} s for {} in vain", limit.as_secs(), thing.words()))
            }
            // A leaf that is at it may have died since: asking again costs one call, and it may be repeated.
            Progress::Unknown | Progress::Underway => Plan::Act(act, waiting),
        }
    }

    fn waiting(&self, thing: Thing, since: Timestamp, limit: Duration) -> Waiting {
        Waiting { thing, since, until: since.plus(limit) }
    }

    fn give_up(&self, cause: Cause, text: String) -> Plan {
        Plan::Step(Event::GaveUp, Some(Failure { cause, text, at: self.now }))
    }
}

#[cfg(test)]
mod tests;
