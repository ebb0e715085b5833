//! One move asked of many nodes.

use domain::{
    id::{ImageId, NodeId, OperationId},
    provision::Verb,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// One move asked of many nodes, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulk {
    /// What is asked of each.
    pub verb: Verb,
    /// The image to be brought up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// How much at once.
    pub limits: BulkLimits,
    /// Where it stands.
    pub state: BulkState,
    /// Why it is paused, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Somebody let it go on after its canaries had ended.
    #[serde(default)]
    pub canaries_passed: bool,
    /// Failures that count no more: somebody let it go on after them.
    #[serde(default)]
    pub forgiven: u32,
    /// The nodes in the order in which they are asked; the canaries first.
    pub nodes: Vec<BulkNode>,
}

/// How much at once, and what pauses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkLimits {
    /// Nodes at the same time.
    pub at_once: u32,
    /// With more failures than this it pauses.
    pub max_failures: u32,
    /// So many are asked first.
    pub canary: u32,
    /// Pauses when these are done.
    pub pause_after_canary: bool,
}

/// Where it stands. Persisted; add variants, never repurpose one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BulkState {
    /// Nodes are asked.
    Running,
    /// Nothing is begun until somebody lets it go on.
    Paused,
    /// Nothing is begun any more.
    Canceled,
    /// Every node has ended.
    Done,
}

/// One of the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkNode {
    /// Which.
    pub node: NodeId,
    /// How far it is.
    pub progress: BulkProgress,
}

/// How far a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "progress")]
pub enum BulkProgress {
    /// It was not asked yet.
    Waiting,
    /// It was asked.
    Running {
        /// The operation.
        operation: OperationId,
    },
    /// It is where it was asked to be.
    Done {
        /// The operation; none: the move needed none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<OperationId>,
    },
    /// It is not.
    Failed {
        /// The operation; none: it was refused before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<OperationId>,
        /// Why, in words.
        text: String,
    },
    /// It was not asked before the bulk was canceled.
    Skipped,
}
