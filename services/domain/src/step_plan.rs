//! Plan for the steps of an operation: which one is next, and what executes it.

use std::time::Duration;

use crate::{
    power::PowerTarget,
    step::{ReservedStep, Step},
};

/// Maximum duration of a `wait` step.
pub const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Next step of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NextStep {
    /// The operation has no list of steps; its work is indivisible.
    #[default]
    Undivided,
    /// Stop until a user releases the node.
    Hold,
    /// Wait for this duration, or, if `None`, for the agent's next heartbeat.
    Pause(Option<Duration>),
    /// Change the power to this target.
    Power(PowerTarget),
    /// Stop in `service wait` until a user ends the operation, as one step of Ironic's fake hardware does.
    AwaitService,
    /// This many consecutive steps, sent together to the executor of the node's work.
    Work(usize),
    /// This many consecutive steps that are simulated although an agent executes others: those of the interfaces of a node
    /// without a machine.
    Simulated(usize),
    /// All steps are complete.
    Done,
}

impl NextStep {
    /// Returns the number of steps in the list that this covers.
    #[must_use]
    pub const fn step_count(self) -> usize {
        match self {
            Self::Undivided | Self::Done => 0,
            Self::Hold | Self::Pause(_) | Self::Power(_) | Self::AwaitService => 1,
            Self::Work(steps) | Self::Simulated(steps) => steps,
        }
    }
}

impl From<ReservedStep> for NextStep {
    fn from(step: ReservedStep) -> Self {
        match step {
            ReservedStep::Hold => Self::Hold,
            ReservedStep::Wait(pause) => Self::Pause(pause),
            ReservedStep::Power(target) => Self::Power(target),
        }
    }
}

/// The part of an operation's steps that [`crate::plan`] needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepPlan {
    /// Next step of an operation.
    pub next: NextStep,
    /// Whether at least one of the steps needs the machine to boot a ramdisk.
    pub ramdisk: bool,
    /// Whether an agent that has executed some steps can be sent more.
    pub agent_continues: bool,
}

impl StepPlan {
    /// Returns whether the machine boots nothing now, because no step needs a boot or another step comes first.
    #[must_use]
    pub const fn skips_boot(&self) -> bool {
        match self.next {
            NextStep::Undivided => false,
            NextStep::Work(_) | NextStep::Simulated(_) => !self.ramdisk,
            NextStep::Hold | NextStep::Pause(_) => !self.ramdisk || !self.agent_continues,
            NextStep::Power(_) | NextStep::AwaitService | NextStep::Done => true,
        }
    }

    /// Returns whether no step boots a ramdisk, so that the machine stays as the steps leave it (unless the operation
    /// ends by booting a system).
    #[must_use]
    pub const fn never_boots(&self) -> bool {
        !self.ramdisk && !matches!(self.next, NextStep::Undivided)
    }
}

/// Returns what follows once the first `completed` of these steps are complete. `is_simulated` decides which steps are
/// simulated although the node's work has another executor.
#[must_use]
pub fn next_step(steps: &[Step], completed: usize, is_simulated: impl Fn(&Step) -> bool) -> NextStep {
    if steps.is_empty() {
        return NextStep::Undivided;
    }
    let rest = steps.get(completed..).unwrap_or_default();
    let Some(first) = rest.first() else { return NextStep::Done };
    if first.awaits_service() {
        return NextStep::AwaitService;
    }
    if let Some(reserved) = first.reserved() {
        return reserved.into();
    }
    let simulated = is_simulated(first);
    let count = rest.iter().take_while(|step| step.is_work() && is_simulated(step) == simulated).count();
    if simulated { NextStep::Simulated(count) } else { NextStep::Work(count) }
}

/// Returns how many of an operation's steps are complete once an agent has executed the first `executed` of those that it was
/// sent: the steps for which `is_sent` holds, from index `from` on. The agent does not count the steps between them.
#[must_use]
pub fn completed_steps(steps: &[Step], from: usize, executed: usize, is_sent: impl Fn(&Step) -> bool) -> usize {
    let Some(last) = executed.checked_sub(1) else { return from };
    let mut sent = steps.iter().enumerate().skip(from).filter(|(_, step)| is_sent(step));
    sent.nth(last).map_or(steps.len(), |(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provision::Phase;

    fn step(name: &str, args: serde_json::Value) -> Step {
        Step { interface: "deploy".to_owned(), step: name.to_owned(), args: serde_json::from_value(args).unwrap() }
    }

    #[test]
    fn consecutive_steps_of_one_agent_are_sent_together_and_the_others_one_at_a_time() {
        let steps = [
            step("erase_devices_metadata", json!({})),
            step("erase_devices", json!({})),
            step("hold", json!({})),
            step("wait", json!({"seconds": 7})),
            step("wait", json!({})),
            step("power_off", json!({})),
            step("erase_devices", json!({})),
        ];
        let (mut completed, mut found) = (0, vec![]);
        loop {
            let next = next_step(&steps, completed, |_| false);
            found.push(next);
            if next == NextStep::Done {
                break;
            }
            completed += next.step_count();
        }
        let wanted = [
            NextStep::Work(2),
            NextStep::Hold,
            NextStep::Pause(Some(Duration::from_secs(7))),
            NextStep::Pause(None),
            NextStep::Power(PowerTarget::Off),
            NextStep::Work(1),
            NextStep::Done,
        ];
        assert_eq!(found, wanted);
        assert_eq!(next_step(&[], 0, |_| false), NextStep::Undivided);
    }

    #[test]
    fn steps_that_are_simulated_and_those_of_the_agent_are_told_apart() {
        let of = |interface: &str, name: &str| Step { interface: interface.to_owned(), ..step(name, json!({})) };
        let steps = [
            of("bios", "apply_configuration"),
            of("raid", "create_configuration"),
            of("deploy", "erase_devices"),
            of("bios", "unknown"),
            of("firmware", "update"),
            of("power", "reboot"),
            of("vendor", "trigger_servicewait"),
        ];
        let simulated = |step: &Step| step.is_simulated_beside_agent(Phase::ManualClean);
        for (completed, right) in [
            (0, NextStep::Simulated(2)),
            (2, NextStep::Work(2)),
            (4, NextStep::Simulated(1)),
            (5, NextStep::Power(PowerTarget::Booted { boot: None })),
            (6, NextStep::AwaitService),
            (7, NextStep::Done),
        ] {
            assert_eq!(next_step(&steps, completed, simulated), right, "{completed}");
        }
        assert_eq!(next_step(&steps, 0, |_| false), NextStep::Work(5), "an agent that has them all");
    }

    #[test]
    fn what_an_agent_has_executed_is_counted_in_the_steps_of_the_operation() {
        let work = || step("erase_devices", json!({}));
        let bios = || Step { interface: "bios".to_owned(), ..step("apply_configuration", json!({})) };
        let (hold, wait) = (|| step("hold", json!({})), || step("wait", json!({"seconds": 7})));
        let sent = |step: &Step| step.is_work() && !step.is_simulated_beside_agent(Phase::ManualClean);
        for (what, steps, from, executed, right) in [
            ("nothing", vec![work(), work()], 0, 0, 0),
            ("the first", vec![work(), work()], 0, 1, 1),
            ("both", vec![work(), work()], 0, 2, 2),
            ("in a later boot", vec![work(), work(), work()], 1, 1, 2),
            ("nothing in a later boot", vec![work(), hold(), work()], 2, 0, 2),
            ("after a hold", vec![work(), hold(), work(), work()], 0, 2, 3),
            ("before a hold", vec![work(), hold(), work()], 0, 1, 1),
            ("after a hold and a wait", vec![work(), hold(), wait(), work()], 0, 2, 4),
            ("after simulated steps", vec![bios(), bios(), work(), work()], 0, 1, 3),
            ("in a boot after simulated steps", vec![bios(), bios(), work(), work()], 2, 1, 3),
            ("between simulated steps", vec![work(), bios(), work(), bios(), work()], 0, 2, 3),
            ("more than it was sent", vec![work(), bios()], 0, 2, 2),
        ] {
            assert_eq!(completed_steps(&steps, from, executed, sent), right, "{what}");
        }
    }

    #[test]
    fn the_machine_boots_only_when_the_next_step_needs_an_agent() {
        let plan = |next, ramdisk, agent_continues| StepPlan { next, ramdisk, agent_continues };
        assert!(!plan(NextStep::Undivided, false, false).skips_boot());
        assert!(!plan(NextStep::Work(1), true, false).skips_boot());
        assert!(plan(NextStep::Hold, false, true).skips_boot());
        // An agent that accepts no further steps would have to boot again after the hold.
        assert!(plan(NextStep::Hold, true, false).skips_boot() && !plan(NextStep::Hold, true, true).skips_boot());
        assert!(plan(NextStep::Power(PowerTarget::Off), true, true).skips_boot());
    }
}
