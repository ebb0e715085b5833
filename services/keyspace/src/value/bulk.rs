//! Bulk operations: one verb for many nodes.

use domain::{
    id::{ImageId, NodeId, OperationId},
    provision::Verb,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// One verb for many nodes, and its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulk {
    /// The verb.
    pub verb: Verb,
    /// The image to deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// Its limits.
    pub limits: BulkLimits,
    /// Its state.
    pub state: BulkState,
    /// Reason it is paused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it began.
    pub since: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Whether it was resumed after its canaries had ended.
    #[serde(default)]
    pub canaries_passed: bool,
    /// Failures that no longer count, because it was resumed after them.
    #[serde(default)]
    pub forgiven: u32,
    /// The nodes in order, the canaries first.
    pub nodes: Vec<BulkNode>,
}

/// How many nodes at once, and what pauses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkLimits {
    /// Maximum number of nodes at the same time.
    pub at_once: u32,
    /// Number of failures above which it pauses.
    pub max_failures: u32,
    /// Number of canaries.
    pub canary: u32,
    /// Whether it pauses when the canaries have ended.
    pub pause_after_canary: bool,
}

/// State of a bulk operation. Persisted: add variants, never repurpose one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BulkState {
    /// It starts operations.
    Running,
    /// It starts nothing until it is resumed.
    Paused,
    /// It starts nothing any more.
    Canceled,
    /// Every node has ended.
    Done,
}

/// A node of a bulk operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkNode {
    /// The node.
    pub node: NodeId,
    /// Its progress.
    pub progress: BulkProgress,
}

/// Progress of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "progress")]
pub enum BulkProgress {
    /// Its operation has not started.
    Waiting,
    /// Its operation is running.
    Running {
        /// The operation.
        operation: OperationId,
    },
    /// It succeeded.
    Done {
        /// The operation. `None` if none was necessary.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<OperationId>,
    },
    /// It failed.
    Failed {
        /// The operation. `None` if the verb was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<OperationId>,
        /// Reason, for operators.
        text: String,
    },
    /// The bulk operation was canceled before the node's turn.
    Skipped,
}
