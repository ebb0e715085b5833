//! Remaining work for a node, computed from its intended state and from what was observed.
//!
//! A pass of the reconcile loop calls [`plan`] and carries out at most one act. Passes keep no state outside the stored
//! records, so the next pass computes the same remaining work, whichever process makes it and whatever crashed before.

mod next_step;
mod thing;

use std::time::Duration;

pub use self::thing::{Thing, Waiting};

use crate::{
    driver::{Driver, Interface},
    failure::{Cause, Failure},
    generation::Generation,
    power::{Boot, BootDevice, BootMode, BootPersistence, PowerTarget},
    provision::{Event, Phase, Stage, State},
    step_plan::{NextStep, StepPlan},
    time::Timestamp,
};

/// Deadlines for each phase of an operation. They come from the scheduler's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time for a BMC to answer the first request.
    pub verify: Duration,
    /// Time for the image and the boot files to reach the rack's cache.
    pub prepare: Duration,
    /// Time for the power to reach its target.
    pub power: Duration,
    /// Time that a boot may take without a new entry on its timeline, and time for the report of an inspection.
    pub boot: Duration,
    /// Time that an agent may stay silent.
    pub agent: Duration,
    /// Number of boot attempts before the operation fails.
    pub boots: u32,
    /// Simulated duration of a boot, and of the work after it, for the `fake-hardware` driver.
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

/// Divisor of the agent's deadline: after that fraction of it, a machine that was read off and has given no sign of life
/// counts as having lost its power.
const POWER_LOSS_FRACTION: u32 = 4;

/// What executes the work of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Executor {
    /// An agent in the ramdisk that the machine boots.
    #[default]
    Agent,
    /// Nothing: there is no machine (driver `fake-hardware`), and its work is simulated by waiting.
    Fake,
    /// A program that calls as the agent of a node without a machine (driver `fake-hardware`) would. Nothing boots it.
    StandIn,
}

impl Executor {
    /// Returns what executes the work of a phase on a node with a driver. `chosen` returns the node's implementation of an
    /// interface.
    #[must_use]
    pub fn of<'n>(driver: Driver, phase: Phase, chosen: impl Fn(Interface) -> Option<&'n str>) -> Self {
        match driver {
            Driver::Ipmi | Driver::ManualManagement | Driver::Redfish => Self::Agent,
            Driver::FakeHardware => {
                let needs_agent =
                    |interface: Interface| chosen(interface).is_some_and(|name| interface.needs_agent(name));
                if phase.interface().is_some_and(needs_agent) { Self::StandIn } else { Self::Fake }
            }
        }
    }
}

/// Intended state of the node, and the settings that its operation depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Provision state.
    pub state: State,
    /// Time at which the node entered this state.
    pub since: Timestamp,
    /// Generation that instructions to the leaves carry.
    pub generation: Generation,
    /// Number of failed boot attempts of this operation.
    pub boots_lost: u32,
    /// What executes the operation's work.
    pub executor: Executor,
    /// Next of the operation's steps.
    pub step_plan: StepPlan,
    /// Firmware interface that the node boots with.
    pub boot_mode: BootMode,
    /// Which boot orders last longer than one boot.
    pub boot_persistence: BootPersistence,
    /// Whether the BMC is not told what to boot from, because an operator has set it.
    pub keeps_boot_order: bool,
    /// Time that a deployed system may take to show its first sign of life, or `None` to not wait for one.
    pub wait_for_life: Option<Duration>,
}

/// A leaf's progress with the instruction of the current generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Progress {
    /// The leaf was not instructed, or its progress is unknown.
    #[default]
    Unknown,
    /// In progress.
    Underway,
    /// Completed at this time.
    Done(Timestamp),
    /// Failed.
    Failed(Failure),
}

/// Observations of the node. All but `off_at` and `agent_heard` belong to the current generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Progress of the request that checks the BMC.
    pub bmc: Progress,
    /// Time at which the power was last read as off, in any generation.
    pub off_at: Option<Timestamp>,
    /// Progress of the power instruction.
    pub power_target: Progress,
    /// Whether the boot decision is minted.
    pub minted: bool,
    /// Whether the boot decision contains the next steps.
    pub steps_sent: bool,
    /// Progress of fetching images and boot files into the rack's cache.
    pub images: Progress,
    /// Progress of the pxe-service in preparing to answer the machine.
    pub boot: Progress,
    /// Time at which the agent was bound to the boot token.
    pub agent_bound: Option<Timestamp>,
    /// Progress of the agent's work.
    pub work: Progress,
    /// Whether the agent has listed its own clean steps, and the operation has not adopted them yet.
    pub has_agent_steps: bool,
    /// Whether the agent has reported the hardware.
    pub reported: bool,
    /// Time of the agent's last call, in any generation.
    pub agent_heard: Option<Timestamp>,
    /// Time of the last entry on the running timeline.
    pub last_mark: Option<Timestamp>,
    /// Time of the deployed system's first sign of life.
    pub life: Option<Timestamp>,
    /// Where a boot stopped, as the timeline shows it.
    pub diagnosis: Option<(Cause, String)>,
}

/// An action on a leaf or on the store. Every act may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Query the BMC's identity and the power state.
    AskBmc,
    /// Mint the boot decision with its boot token.
    MintBootDecision,
    /// Send the next steps to the agent that is running.
    SendSteps,
    /// Make the clean steps that the agent listed those of the operation.
    AdoptAgentSteps,
    /// Fetch the images into the rack's cache.
    EnsureImages,
    /// Instruct the pxe-service to answer the machine according to the boot decision.
    EnsureBoot,
    /// Bring the power to a target.
    EnsurePower(PowerTarget),
}

/// Action of one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The node is in its intended state.
    Rest,
    /// The node waits; nothing can be done now.
    Wait(Waiting),
    /// Carry out this act, then plan again. Until the act takes effect the node shows this wait.
    Act(Act, Waiting),
    /// Apply this event to the provision state, with the failure to store, if any.
    Step(Event, Option<Failure>),
}

/// Returns the next action that brings a node from its observed to its intended state.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, limits: &Limits, now: Timestamp) -> Plan {
    let at = Moment { desired, observed, limits, now };
    match desired.state {
        // An adopted machine runs its system: its BMC is queried, and nothing is changed.
        State::Verifying | State::Adopting => {
            at.pursue(&Goal::new(&observed.bmc, Act::AskBmc, limits.verify), Event::Answered)
        }
        State::Deleting => at.power(PowerTarget::Off, Event::Finished),
        State::Deploying { stage }
        | State::Cleaning { stage, .. }
        | State::Inspecting { stage }
        | State::Rescuing { stage }
        | State::Servicing { stage }
        | State::Unrescuing { stage } => match stage {
            Stage::Work if desired.step_plan.next != NextStep::Undivided => at.next_step(),
            Stage::Boot if desired.executor != Executor::Agent && desired.step_plan.next == NextStep::AwaitService => {
                at.await_service()
            }
            Stage::Prepare | Stage::Boot | Stage::Work if desired.executor == Executor::Fake => at.simulate(stage),
            Stage::Prepare => at.prepare(),
            Stage::Boot => at.boot(),
            Stage::Work if observed.has_agent_steps => {
                Plan::Act(Act::AdoptAgentSteps, at.waiting(Thing::Work, at.heard(), limits.agent))
            }
            Stage::Work => at.work(Event::Worked),
            // No step booted a ramdisk, so the machine keeps running what it ran before.
            Stage::Finish if desired.step_plan.never_boots() => Plan::Step(Event::Finished, None),
            Stage::Finish if desired.state.ends_in_use() => at.boot_from_disk(),
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

/// An act that is repeated until its effect is observed.
struct Goal<'p> {
    progress: &'p Progress,
    act: Act,
    thing: Thing,
    limit: Duration,
    /// Cause of the failure if the limit passes.
    late: Cause,
}

impl<'p> Goal<'p> {
    const fn new(progress: &'p Progress, act: Act, limit: Duration) -> Self {
        let (thing, late) = match act {
            Act::AskBmc => (Thing::Bmc, Cause::BmcSilent),
            Act::EnsureImages => (Thing::Images, Cause::ImageUnreachable),
            Act::MintBootDecision => (Thing::Images, Cause::ImageSlow),
            Act::EnsureBoot => (Thing::BootFiles, Cause::RamdiskMissing),
            Act::EnsurePower(_) => (Thing::Power, Cause::PowerStuck),
            Act::SendSteps | Act::AdoptAgentSteps => (Thing::Work, Cause::Deadline),
        };
        Self { progress, act, thing, limit, late }
    }
}

/// The inputs of one call of [`plan`].
struct Moment<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    limits: &'a Limits,
    now: Timestamp,
}

impl Moment<'_> {
    /// Simulates the work of the `fake-hardware` driver.
    fn simulate(&self, stage: Stage) -> Plan {
        let waiting = self.waiting(Thing::Work, self.desired.since, self.limits.fake);
        match stage {
            Stage::Prepare => Plan::Step(Event::Prepared, None),
            Stage::Boot if self.now < waiting.until => Plan::Wait(waiting),
            Stage::Boot => Plan::Step(Event::Called, None),
            Stage::Work if matches!(self.observed.work, Progress::Failed(_)) => self.work(Event::Worked),
            Stage::Work | Stage::Finish if self.now < waiting.until => Plan::Wait(waiting),
            Stage::Work | Stage::Finish => Plan::Step(Event::Worked, None),
        }
    }

    fn prepare(&self) -> Plan {
        let (observed, limit) = (self.observed, self.limits.prepare);
        if let Progress::Failed(failure) = &observed.work {
            return Plan::Step(Event::GaveUp, Some(failure.clone()));
        }
        if observed.agent_bound.is_some() || self.desired.step_plan.skips_boot() {
            return Plan::Step(Event::Called, None);
        }
        if !observed.minted {
            let waiting = self.waiting(Thing::Images, self.desired.since, limit);
            if self.now < waiting.until {
                return Plan::Act(Act::MintBootDecision, waiting);
            }
            // It waits for files whose digests are not known: those that are named by URL, and converted images.
            let text = format!(
                "kernel, ramdisk or image were not downloaded and converted within {} s by the rack's storage-service, or \
                 it does not answer",
                limit.as_secs()
            );
            return self.give_up(Cause::ImageSlow, text);
        }
        let images = self.pursue(&Goal::new(&observed.images, Act::EnsureImages, limit), Event::Prepared);
        // Nothing boots a stand-in, so the pxe-service has no part in it.
        if !matches!(images, Plan::Step(Event::Prepared, _)) || self.desired.executor == Executor::StandIn {
            return images;
        }
        self.pursue(&Goal::new(&observed.boot, Act::EnsureBoot, limit), Event::Prepared)
    }

    fn boot(&self) -> Plan {
        let has_called = self.observed.agent_bound.is_some();
        // Nothing boots a stand-in, so it can call before the power is on.
        if has_called && self.desired.executor != Executor::StandIn {
            return Plan::Step(Event::Called, None);
        }
        let on = match self.power_reached(self.booted(BootDevice::Pxe, false)) {
            Ok(at) => at,
            Err(plan) => return plan,
        };
        if has_called {
            return Plan::Step(Event::Called, None);
        }
        let progress = self.observed.last_mark.map_or(on, |mark| mark.max(on));
        let lost_at = self.power_lost_at(progress);
        let mut waiting = self.waiting(Thing::Agent, progress, self.limits.boot);
        waiting.until = lost_at.map_or(waiting.until, |lost| lost.min(waiting.until));
        if self.now < waiting.until {
            return Plan::Wait(waiting);
        }
        if self.desired.boots_lost + 1 < self.limits.boots {
            return Plan::Step(Event::Again, None);
        }
        let (cause, text) = if lost_at.is_some_and(|lost| lost <= self.now) {
            (Cause::PowerLost, "the machine lost power during its boot".to_owned())
        } else {
            self.observed.diagnosis.clone().unwrap_or_else(|| {
                (Cause::Deadline, "the machine was told to boot, but its agent never called".to_owned())
            })
        };
        self.give_up(cause, format!("{text} (after {} boots)", self.limits.boots))
    }

    fn work(&self, then: Event) -> Plan {
        match &self.observed.work {
            Progress::Done(_) if self.inspects() && !self.observed.reported => {
                let text = "the agent reported that it is done, but sent no hardware report".to_owned();
                return self.give_up(Cause::NoReport, text);
            }
            Progress::Done(_) => return Plan::Step(then, None),
            Progress::Failed(failure) => return Plan::Step(Event::GaveUp, Some(failure.clone())),
            Progress::Unknown | Progress::Underway => {}
        }
        let heard = self.heard();
        let lost_at = self.power_lost_at(heard);
        let mut waiting = self.waiting(Thing::Work, heard, self.limits.agent);
        let report_by = self.inspects().then(|| self.desired.since.plus(self.limits.boot));
        for sooner in [lost_at, report_by].into_iter().flatten() {
            waiting.until = waiting.until.min(sooner);
        }
        if self.now < waiting.until {
            return Plan::Wait(waiting);
        }
        if lost_at.is_some_and(|lost| lost <= self.now) {
            return self.give_up(Cause::PowerLost, "the machine lost power while its agent was working".to_owned());
        }
        if self.now < heard.plus(self.limits.agent) {
            let text =
                format!("the agent is running, but sent no hardware report within {} s", self.limits.boot.as_secs());
            return self.give_up(Cause::NoReport, text);
        }
        let text = format!("the agent was last heard {} s ago, at {heard}", self.now.since(heard).as_secs());
        self.give_up(Cause::AgentLost, text)
    }

    /// Returns the time of the agent's last call, but not before the beginning of the stage: a scheduler that has just
    /// taken over has received no call yet.
    fn heard(&self) -> Timestamp {
        self.observed.agent_heard.map_or(self.desired.since, |heard| heard.max(self.desired.since))
    }

    /// Returns whether the operation is an inspection. A report takes seconds, so an agent that keeps calling without
    /// sending one gets a deadline; an agent that writes a disk does not.
    fn inspects(&self) -> bool {
        matches!(self.desired.state, State::Inspecting { .. })
    }

    fn boot_order(&self, device: BootDevice, is_last: bool) -> Boot {
        Boot { device, persistence: self.desired.boot_persistence.of(is_last), mode: self.desired.boot_mode }
    }

    fn boot_from_disk(&self) -> Plan {
        let on = match self.power_reached(self.booted(BootDevice::Disk, true)) {
            Ok(at) => at,
            Err(plan) => return plan,
        };
        let deploys = matches!(self.desired.state, State::Deploying { .. });
        let Some(limit) = self.desired.wait_for_life.filter(|_| deploys) else {
            return Plan::Step(Event::Finished, None);
        };
        if self.observed.life.is_some() {
            return Plan::Step(Event::Finished, None);
        }
        let waiting = self.waiting(Thing::Life, on, limit);
        if self.now < waiting.until {
            return Plan::Wait(waiting);
        }
        let text = format!("the deployed system gave no sign of life within {} s", limit.as_secs());
        self.give_up(Cause::NoLife, text)
    }

    /// Returns the power target that boots the machine from a device, or from what its operator has set.
    fn booted(&self, device: BootDevice, is_last: bool) -> PowerTarget {
        let boot = (!self.desired.keeps_boot_order).then(|| self.boot_order(device, is_last));
        PowerTarget::Booted { boot }
    }

    /// Returns when a machine that was read as off counts as having lost its power. The delay exists because a sign of
    /// life after the reading proves the BMC wrong, and because firmware may switch a machine off for a moment.
    fn power_lost_at(&self, alive: Timestamp) -> Option<Timestamp> {
        Some(self.observed.off_at?.max(alive).plus(self.limits.agent / POWER_LOSS_FRACTION))
    }

    fn power(&self, target: PowerTarget, then: Event) -> Plan {
        match self.power_reached(target) {
            Ok(_) => Plan::Step(then, None),
            Err(plan) => plan,
        }
    }

    fn power_reached(&self, target: PowerTarget) -> Result<Timestamp, Plan> {
        if let Progress::Done(at) = self.observed.power_target {
            return Ok(at);
        }
        let goal = Goal::new(&self.observed.power_target, Act::EnsurePower(target), self.limits.power);
        Err(self.pursue(&goal, Event::Finished))
    }

    /// Repeats the goal's act until it is done, and then applies the event. The operation fails after the time limit.
    fn pursue(&self, goal: &Goal<'_>, then: Event) -> Plan {
        let waiting = self.waiting(goal.thing, self.desired.since, goal.limit);
        match goal.progress {
            Progress::Done(_) => Plan::Step(then, None),
            Progress::Failed(failure) => Plan::Step(Event::GaveUp, Some(failure.clone())),
            Progress::Unknown | Progress::Underway if self.now >= waiting.until => {
                let text = format!("waited {} s for {} without success", goal.limit.as_secs(), goal.thing.words());
                self.give_up(goal.late, text)
            }
            // A leaf that reported progress may have died since. Repeating the call is cheap and safe.
            Progress::Unknown | Progress::Underway => Plan::Act(goal.act, waiting),
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
