//! What is left to do for a node whose operation is a course of steps.

use std::time::Duration;

use super::{Act, Hands, Moment, Plan, Progress, Thing};
use crate::{
    course::Turn,
    failure::Cause,
    provision::{Event, Stage},
};

impl Moment<'_> {
    /// What is next of the steps that a person named.
    pub(super) fn turn(&self) -> Plan {
        let (course, is_fake) = (self.wanted.course, self.wanted.hands == Hands::Fake);
        if let Progress::Failed(failure) = &self.seen.work {
            return Plan::Step(Event::GaveUp, Some(failure.clone()));
        }
        match course.turn {
            Turn::Whole | Turn::Over => Plan::Step(Event::Worked, None),
            Turn::Hold => Plan::Step(Event::Held, None),
            Turn::Pause(None) if is_fake || !course.ramdisk => Plan::Step(Event::Made, None),
            Turn::Pause(pause) => self.pause(pause),
            Turn::Power(target) => self.power(target, Event::Made),
            Turn::Work(_) if is_fake => match self.pretend(Stage::Work) {
                Plan::Step(Event::Worked, _) => Plan::Step(Event::Made, None),
                other @ (Plan::Rest | Plan::Wait(_) | Plan::Act(..) | Plan::Step(..)) => other,
            },
            Turn::Work(_) if !course.ramdisk => {
                let text = "the next step is an agent's, and none was to be booted".to_owned();
                self.give_up(Cause::UnknownStep, text)
            }
            Turn::Work(_) if !self.seen.minted || !(self.seen.handed || course.goes_on) => {
                Plan::Step(Event::Reboots, None)
            }
            Turn::Work(_) if !self.seen.handed => {
                let waiting = self.waiting(Thing::Work, self.wanted.since, self.limits.agent);
                if self.now < waiting.until {
                    return Plan::Act(Act::Hand, waiting);
                }
                let text =
                    format!("its agent could not be handed its next steps within {} s", self.limits.agent.as_secs());
                self.give_up(Cause::Deadline, text)
            }
            Turn::Work(_) => self.work(Event::Made),
        }
    }

    /// Time passes, or the agent is heard once more.
    fn pause(&self, pause: Option<Duration>) -> Plan {
        let is_heard = self.seen.agent_heard.is_some_and(|heard| heard > self.wanted.since);
        let waiting = self.waiting(Thing::Pause, self.wanted.since, pause.unwrap_or(self.limits.agent));
        match pause {
            None if is_heard => Plan::Step(Event::Made, None),
            _ if self.now < waiting.until => Plan::Wait(waiting),
            Some(_) => Plan::Step(Event::Made, None),
            None => {
                let text = format!("the agent was not heard for {} s", self.limits.agent.as_secs());
                self.give_up(Cause::AgentLost, text)
            }
        }
    }
}
