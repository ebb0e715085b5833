//! Remaining work of an operation that has a list of steps.

use std::time::Duration;

use super::{Act, Executor, Moment, Plan, Progress, Thing};
use crate::{
    failure::Cause,
    provision::{Event, Stage},
    step_plan::NextStep,
};

impl Moment<'_> {
    /// Plans the next of the requested steps.
    pub(super) fn next_step(&self) -> Plan {
        let (steps, is_fake) = (self.desired.step_plan, self.desired.executor == Executor::Fake);
        if let Progress::Failed(failure) = &self.observed.work {
            return Plan::Step(Event::GaveUp, Some(failure.clone()));
        }
        match steps.next {
            NextStep::Undivided | NextStep::Done => Plan::Step(Event::Worked, None),
            NextStep::Hold => Plan::Step(Event::Held, None),
            NextStep::AwaitService if self.desired.executor != Executor::Agent => Plan::Step(Event::Awaits, None),
            NextStep::AwaitService => {
                let text = "only fake hardware has the step vendor.trigger_servicewait".to_owned();
                self.give_up(Cause::UnknownStep, text)
            }
            NextStep::Pause(None) if is_fake || !steps.ramdisk => Plan::Step(Event::Made, None),
            NextStep::Pause(pause) => self.pause(pause),
            NextStep::Power(target) => self.power(target, Event::Made),
            NextStep::Simulated(_) => self.simulate_steps(),
            NextStep::Work(_) if is_fake => self.simulate_steps(),
            NextStep::Work(_) if !steps.ramdisk => {
                let text = "the next step needs an agent, but the operation boots no ramdisk".to_owned();
                self.give_up(Cause::UnknownStep, text)
            }
            NextStep::Work(_) if !self.observed.minted || !(self.observed.steps_sent || steps.agent_continues) => {
                Plan::Step(Event::Reboots, None)
            }
            NextStep::Work(_) if !self.observed.steps_sent => {
                let waiting = self.waiting(Thing::Work, self.desired.since, self.limits.agent);
                if self.now < waiting.until {
                    return Plan::Act(Act::SendSteps, waiting);
                }
                let text =
                    format!("the next steps could not be sent to the agent within {} s", self.limits.agent.as_secs());
                self.give_up(Cause::Deadline, text)
            }
            NextStep::Work(_) => self.work(Event::Made),
        }
    }

    /// Simulates the next steps.
    fn simulate_steps(&self) -> Plan {
        match self.simulate(Stage::Work) {
            Plan::Step(Event::Worked, _) => Plan::Step(Event::Made, None),
            other @ (Plan::Rest | Plan::Wait(_) | Plan::Act(..) | Plan::Step(..)) => other,
        }
    }

    /// Waits until a user ends the operation, by abort or undeploy: Ironic's step waits for a call that ends it, and no agent
    /// makes one. The heartbeats of a stand-in do not end it.
    pub(super) fn await_service(&self) -> Plan {
        let waiting = self.waiting(Thing::Agent, self.desired.since, self.limits.boot);
        if self.now < waiting.until {
            return Plan::Wait(waiting);
        }
        let text = format!(
            "the step vendor.trigger_servicewait was not ended by an abort or an undeploy within {} s",
            self.limits.boot.as_secs()
        );
        self.give_up(Cause::Deadline, text)
    }

    /// Waits for the pause to end or, without a duration, for the agent's next heartbeat.
    fn pause(&self, pause: Option<Duration>) -> Plan {
        let is_heard = self.observed.agent_heard.is_some_and(|heard| heard > self.desired.since);
        let waiting = self.waiting(Thing::Pause, self.desired.since, pause.unwrap_or(self.limits.agent));
        match pause {
            None if is_heard => Plan::Step(Event::Made, None),
            _ if self.now < waiting.until => Plan::Wait(waiting),
            Some(_) => Plan::Step(Event::Made, None),
            None => {
                let text = format!("the agent has not called for {} s", self.limits.agent.as_secs());
                self.give_up(Cause::AgentLost, text)
            }
        }
    }
}
