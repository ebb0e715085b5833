//! Bulk operations: one verb for many nodes, and which of them is next.

use serde::{Deserialize, Serialize};

use crate::{
    id::{ImageId, NodeId, OperationId},
    provision::Verb,
    time::Timestamp,
};

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

/// Number of nodes by progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Nodes that have not started.
    pub waiting: u32,
    /// Nodes with a running operation.
    pub running: u32,
    /// Nodes that succeeded.
    pub done: u32,
    /// Nodes that failed.
    pub failed: u32,
    /// Nodes that had not started when the bulk operation was canceled.
    pub skipped: u32,
}

impl Count {
    /// Counts the progress of all nodes.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a BulkProgress>) -> Self {
        let mut count = Self::default();
        for progress in all {
            let one = match progress {
                BulkProgress::Waiting => &mut count.waiting,
                BulkProgress::Running { .. } => &mut count.running,
                BulkProgress::Done { .. } => &mut count.done,
                BulkProgress::Failed { .. } => &mut count.failed,
                BulkProgress::Skipped => &mut count.skipped,
            };
            *one = one.saturating_add(1);
        }
        count
    }
}

/// Returns whether a verb is available as a bulk.
#[must_use]
pub const fn is_bulk_verb(verb: Verb) -> bool {
    match verb {
        Verb::Manage
        | Verb::Provide
        | Verb::Deploy
        | Verb::Rebuild
        | Verb::Undeploy
        | Verb::Inspect
        | Verb::Abort
        | Verb::Adopt => true,
        Verb::Clean | Verb::Rescue | Verb::Unrescue | Verb::Service | Verb::Unhold => false,
    }
}

impl Bulk {
    /// Updates the state from the progress of the nodes. Returns the nodes to start.
    pub fn advance(&mut self, now: Timestamp) -> Vec<NodeId> {
        match self.state {
            BulkState::Running => {}
            BulkState::Canceled => {
                self.nodes.iter_mut().filter(|one| one.progress == BulkProgress::Waiting).for_each(|one| {
                    one.progress = BulkProgress::Skipped;
                })
            }
            BulkState::Paused | BulkState::Done => return Vec::new(),
        }
        let count = self.count_first(self.nodes.len());
        if count.waiting == 0 && count.running == 0 {
            self.ended = self.ended.or(Some(now));
            if self.state == BulkState::Running {
                self.state = BulkState::Done;
            }
            return Vec::new();
        }
        if self.state == BulkState::Canceled {
            return Vec::new();
        }
        if let Some(reason) = self.reason_to_pause(count) {
            self.state = BulkState::Paused;
            self.reason = reason;
            return Vec::new();
        }
        let may = if self.is_in_canaries() { size(self.limits.canary) } else { self.nodes.len() };
        let free = size(self.limits.at_once.saturating_sub(count.running));
        let waiting = self.nodes.iter().take(may).filter(|one| one.progress == BulkProgress::Waiting);
        waiting.take(free).map(|one| one.node).collect()
    }

    /// Changes the state as a client requests.
    pub fn steer(&mut self, state: BulkState) {
        match state {
            BulkState::Running if self.state == BulkState::Paused => self.resume(),
            BulkState::Running => {}
            BulkState::Paused if self.state == BulkState::Running => {
                self.state = BulkState::Paused;
                "paused by a client".clone_into(&mut self.reason);
            }
            BulkState::Paused | BulkState::Done => {}
            BulkState::Canceled => {
                self.state = BulkState::Canceled;
                self.reason.clear();
            }
        }
    }

    /// Resumes it. Earlier failures no longer count.
    fn resume(&mut self) {
        let canaries = self.count_first(size(self.limits.canary));
        self.canaries_passed |= canaries.waiting == 0 && canaries.running == 0 || canaries.failed > 0;
        self.forgiven = self.count_first(self.nodes.len()).failed;
        self.state = BulkState::Running;
        self.reason.clear();
    }

    fn count_first(&self, number: usize) -> Count {
        Count::of(self.nodes.iter().take(number).map(|one| &one.progress))
    }

    /// Returns whether the canaries have not all succeeded yet.
    fn is_in_canaries(&self) -> bool {
        let mut canaries = self.nodes.iter().take(size(self.limits.canary));
        !self.canaries_passed && canaries.any(|one| !matches!(one.progress, BulkProgress::Done { .. }))
    }

    /// Returns the reason to pause, if there is one.
    fn reason_to_pause(&self, all: Count) -> Option<String> {
        if all.failed.saturating_sub(self.forgiven) > self.limits.max_failures {
            return Some(format!("{} failed", nodes(all.failed)));
        }
        if self.canaries_passed || self.limits.canary == 0 {
            return None;
        }
        let canaries = self.count_first(size(self.limits.canary));
        if canaries.failed > 0 {
            return Some(format!("{} of the first {} failed", nodes(canaries.failed), self.limits.canary));
        }
        let are_done = canaries.waiting == 0 && canaries.running == 0;
        (are_done && self.limits.pause_after_canary).then(|| format!("the first {} are done", self.limits.canary))
    }
}

fn nodes(count: u32) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
