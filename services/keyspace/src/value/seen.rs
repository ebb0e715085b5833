//! What the leaves saw. Nothing here has a lease: what was seen outlives who saw it.

use domain::{
    failure::Failure, generation::Generation, hardware::Hardware, id::InstanceId, power::Power, step::Step,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A node's power.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerSeen {
    /// As last read.
    pub power: Power,
    /// When it was read.
    pub seen_at: Timestamp,
    /// By whom.
    pub seen_by: InstanceId,
    /// The last instruction that came to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// Why its BMC is of no use at present, since when. What was read before it still stands above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Failure>,
}

/// How an instruction ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Whose.
    pub generation: Generation,
    /// When.
    pub at: Timestamp,
    /// Why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A node's boot from the network. Written once per boot, and once for the first sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PxeSeen {
    /// The boot.
    pub generation: Generation,
    /// The first exchange of this boot: from here on its boot token may be served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange_at: Option<Timestamp>,
    /// The deployed system's first sign of life, where it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_at: Option<Timestamp>,
    /// When this was written.
    pub seen_at: Timestamp,
    /// By whom.
    pub seen_by: InstanceId,
}

/// A node's agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSeen {
    /// The boot.
    pub generation: Generation,
    /// The SHA-256 (hexadecimal) of the public key that the boot token is bound to.
    pub key: String,
    /// Since when.
    pub bound_at: Timestamp,
    /// How its work stands.
    pub work: AgentWork,
    /// How many of the named steps were made once it was done.
    #[serde(default, skip_serializing_if = "super::node::is_zero")]
    pub reaches: u32,
    /// The last of them wants the machine to be rebooted before anything else is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reboots: bool,
    /// The steps that it would clean by of itself, where nobody named any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<Step>,
    /// When this was written.
    pub seen_at: Timestamp,
    /// By whom.
    pub seen_by: InstanceId,
}

impl AgentSeen {
    /// Of one that has just bound the boot token to its key, whose work stands so.
    #[must_use]
    pub fn bound(generation: Generation, key: String, work: AgentWork, at: Timestamp, by: InstanceId) -> Self {
        let (bound_at, seen_at, seen_by) = (at, at, by);
        Self { generation, key, bound_at, work, reaches: 0, reboots: false, lists: Vec::new(), seen_at, seen_by }
    }

    /// Whether it is at work: what it has done is not all that this decision hands it.
    #[must_use]
    pub fn is_at_work(&self, decision: &super::BootDecision) -> bool {
        match self.work {
            AgentWork::Underway => true,
            AgentWork::Done { .. } => !self.reboots && self.reaches < decision.reaches(),
            AgentWork::Failed { .. } => false,
        }
    }
}

/// How an agent's work stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum AgentWork {
    /// It is at it.
    Underway,
    /// It is done.
    Done {
        /// When.
        at: Timestamp,
    },
    /// It can not.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// What a node is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The last report.
    pub hardware: Hardware,
    /// When.
    pub seen_at: Timestamp,
    /// By whom.
    pub seen_by: InstanceId,
    /// The boot of the last inspection that reported; none: no inspection did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection: Option<Generation>,
    /// The report in the words of an agent that speaks Ironic's protocol; none: our own agent reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Reported>,
}

/// A report as an agent that speaks Ironic's protocol made it; at most 256 KiB each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Its `inventory`.
    pub inventory: serde_json::Value,
    /// All else that it sent.
    pub plugin_data: serde_json::Value,
}
