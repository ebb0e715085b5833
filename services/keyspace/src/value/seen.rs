//! What the leaf services observed. Nothing here has a lease: an observation outlives its observer.

use domain::{
    failure::Failure, generation::Generation, hardware::Hardware, id::InstanceId, power::Power, step::Step,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The power of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerSeen {
    /// The power state as it was last read.
    pub power: Power,
    /// When it was read.
    pub seen_at: Timestamp,
    /// The instance that wrote it.
    pub seen_by: InstanceId,
    /// The last instruction that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// Reason BMC requests fail at present. The values above were read before it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Failure>,
}

impl PowerSeen {
    /// How the instruction of a generation ended. `None` if it has not, or if another one ended since.
    #[must_use]
    pub fn settled_in(&self, generation: Generation) -> Option<&Settled> {
        self.settled.as_ref().filter(|settled| settled.generation == generation)
    }
}

/// How an instruction ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Its generation.
    pub generation: Generation,
    /// When it was written.
    pub at: Timestamp,
    /// Reason it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A node's network boot. Written once per boot, and once when the deployed system phones home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PxeSeen {
    /// The boot.
    pub generation: Generation,
    /// The first exchange of this boot: from then on its boot token may be served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange_at: Option<Timestamp>,
    /// When the deployed system first phoned home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_at: Option<Timestamp>,
    /// When this was written.
    pub seen_at: Timestamp,
    /// The instance that wrote it.
    pub seen_by: InstanceId,
}

/// A node's agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSeen {
    /// The boot.
    pub generation: Generation,
    /// SHA-256, in hexadecimal, of the public key that the boot token is bound to.
    pub key: String,
    /// When it was bound.
    pub bound_at: Timestamp,
    /// What the agent is able to do, as `HelloRequest.feature_level` defines it.
    #[serde(default, skip_serializing_if = "super::node::is_zero")]
    pub feature_level: u32,
    /// State of its work.
    pub work: AgentWork,
    /// Number of requested steps that were done when it finished.
    #[serde(default, skip_serializing_if = "super::node::is_zero")]
    pub reaches: u32,
    /// Whether the last of them requires a reboot before anything else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reboots: bool,
    /// The clean steps that the agent lists itself, if the user requested none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<Step>,
    /// When this was written.
    pub seen_at: Timestamp,
    /// The instance that wrote it.
    pub seen_by: InstanceId,
}

impl AgentSeen {
    /// An agent that has just bound the boot token to its key.
    #[must_use]
    pub fn bound(generation: Generation, key: String, work: AgentWork, at: Timestamp, by: InstanceId) -> Self {
        let (bound_at, seen_at, seen_by, feature_level) = (at, at, by, 0);
        let (reaches, reboots, lists) = (0, false, Vec::new());
        Self { generation, key, bound_at, feature_level, work, reaches, reboots, lists, seen_at, seen_by }
    }

    /// Whether it has work left of this decision.
    #[must_use]
    pub fn is_at_work(&self, decision: &super::BootDecision) -> bool {
        match self.work {
            AgentWork::Underway => true,
            AgentWork::Done { .. } => !self.reboots && self.reaches < decision.reaches(),
            AgentWork::Failed { .. } => false,
        }
    }
}

/// State of an agent's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum AgentWork {
    /// It is working.
    Underway,
    /// It has finished.
    Done {
        /// When it was written.
        at: Timestamp,
    },
    /// It failed.
    Failed {
        /// Reason.
        failure: Failure,
    },
}

/// A node's hardware inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The last report.
    pub hardware: Hardware,
    /// When it was written.
    pub seen_at: Timestamp,
    /// The instance that wrote it.
    pub seen_by: InstanceId,
    /// The boot of the last inspection that reported. `None` if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection: Option<Generation>,
    /// The report of an agent that speaks Ironic's protocol. `None` if our own agent reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Reported>,
}

/// A report of an agent that speaks Ironic's protocol; each field at most 256 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Its `inventory`.
    pub inventory: serde_json::Value,
    /// Everything else that it sent.
    pub plugin_data: serde_json::Value,
}
