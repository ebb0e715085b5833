//! A request that was accepted, and the work that it causes.

use domain::{failure::Failure, id::OperationId, provision::Phase, step::Step, step_plan, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::BootDecision;

/// An accepted request and the work it causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// The kind of work.
    pub phase: Phase,
    /// When it began.
    pub since: Timestamp,
    /// The steps that a user requested, or that its agent listed, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Number of them that are done.
    #[serde(default, skip_serializing_if = "super::node::is_zero")]
    pub made: u32,
    /// Whether none of them may boot a ramdisk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_ramdisk: bool,
    /// Whether a stand-in for an agent does the work: the node has no machine (`fake-hardware`), and the implementation of
    /// the phase's interface needs an agent. It is decided when the operation begins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_stand_in: bool,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Reason it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Trace of the request (`traceparent` of W3C Trace Context), which the work continues. Empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trace: String,
}

impl Operation {
    /// Whether it has not ended.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether a step is simulated although a stand-in for an agent does the other work.
    #[must_use]
    pub fn simulates(&self, step: &Step) -> bool {
        self.by_stand_in && step.is_simulated_beside_agent(self.phase)
    }

    /// Whether a step is sent to the agent.
    fn sends(&self, step: &Step) -> bool {
        step.is_work() && !self.simulates(step)
    }

    /// Returns the steps from one number up to another that are sent to the agent.
    #[must_use]
    pub fn sent_steps(&self, from: u32, to: u32) -> Vec<Step> {
        let part = self.steps.get(place(from)..place(to)).unwrap_or_default();
        part.iter().filter(|step| self.sends(step)).cloned().collect()
    }

    /// Returns the number of steps that are done when the agent of a boot requests a reboot. `reaches` is what the agent
    /// reports: the number of those that it has executed, after the first one of its boot.
    #[must_use]
    pub fn made_before_reboot(&self, boot: Option<&BootDecision>, reaches: u32) -> u32 {
        let from = boot.and_then(|boot| boot.part).map_or(0, |part| part.from);
        let executed = place(reaches.saturating_sub(from));
        let made = step_plan::completed_steps(&self.steps, place(from), executed, |step| self.sends(step));
        u32::try_from(made).unwrap_or(u32::MAX)
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
