//! Work on nodes: which nodes have workers in this process, and which workers must end because their node is lost.

use std::{collections::BTreeMap, sync::Arc};

use domain::id::NodeId;
use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

/// The workers of this process, by node.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkTable {
    /// Ordered, so that workers are told to end in an order that a simulation can replay.
    by_node: Arc<Mutex<BTreeMap<NodeId, Held>>>,
    /// Revisions of broken claims whose workers were told to end.
    broken: Arc<Mutex<BTreeMap<NodeId, i64>>>,
}

#[derive(Debug)]
struct Held {
    workers: usize,
    stop: CancellationToken,
}

/// Held by a worker while it works on a node. It is canceled when the node is lost, and the node is handed over only after
/// all its guards were dropped.
#[derive(Debug)]
pub struct WorkGuard {
    node: NodeId,
    stop: CancellationToken,
    /// Revision of the broken claim under which no work was left when this guard was taken.
    after_break: Option<i64>,
    guards: WorkTable,
}

impl WorkGuard {
    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Resolves when the worker must end. Cancel safe.
    pub async fn lost(&self) {
        self.stop.cancelled().await;
    }

    /// Returns whether all work under the broken claim of this revision had ended before this work began.
    pub(crate) fn begins_after(&self, broken: i64) -> bool {
        self.after_break == Some(broken)
    }

    /// Returns whether the worker must end.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.stop.is_cancelled()
    }
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        let mut by_node = self.guards.lock();
        if let Some(held) = by_node.get_mut(&self.node) {
            held.workers -= 1;
            if held.workers == 0 {
                by_node.remove(&self.node);
            }
        }
    }
}

impl WorkTable {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Held>> {
        self.by_node.lock()
    }

    /// Takes a guard; `None` while earlier work on the node is still being ended.
    pub(crate) fn take(&self, node: NodeId) -> Option<WorkGuard> {
        let mut by_node = self.lock();
        let held = by_node.entry(node).or_insert_with(|| Held { workers: 0, stop: CancellationToken::new() });
        if held.stop.is_cancelled() {
            return None;
        }
        held.workers += 1;
        let after_break = self.broken.lock().get(&node).copied();
        Some(WorkGuard { node, stop: held.stop.clone(), after_break, guards: self.clone() })
    }

    /// Ends the work on nodes whose claim an operator broke. `broken` returns the revision of a node's broken claim. Work
    /// that begins afterwards may claim the node again.
    pub(crate) fn end_broken(&self, broken: impl Fn(NodeId) -> Option<i64>) {
        let by_node = self.lock();
        let mut known = self.broken.lock();
        known.retain(|node, revision| broken(*node) == Some(*revision));
        for (node, held) in by_node.iter() {
            if let Some(revision) = broken(*node)
                && known.insert(*node, revision) != Some(revision)
            {
                held.stop.cancel();
            }
        }
    }

    /// Ends the work on one node whose claim an operator broke at this revision. A worker that meets the mark tells it:
    /// one that holds its guard only for moments is never there when [`Self::end_broken`] looks.
    pub(crate) fn end_under_broken(&self, node: NodeId, revision: i64) {
        let by_node = self.lock();
        if self.broken.lock().insert(node, revision) != Some(revision)
            && let Some(held) = by_node.get(&node)
        {
            held.stop.cancel();
        }
    }

    /// Ends the work on every node that is not `mine`. Returns how many of these nodes still have workers.
    pub(crate) fn end(&self, mine: impl Fn(NodeId) -> bool) -> usize {
        let by_node = self.lock();
        let lost: Vec<_> = by_node.iter().filter(|(node, _)| !mine(**node)).map(|(_, held)| held).collect();
        for held in &lost {
            held.stop.cancel();
        }
        lost.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_under_a_broken_claim_ends_once_and_later_work_continues() {
        let (guards, node) = (WorkTable::default(), NodeId::new(uuid::Uuid::from_u128(1)));
        let before = guards.take(node).unwrap();
        guards.end_broken(|_| None);
        assert!(!before.is_lost());
        guards.end_broken(|_| Some(7));
        assert!(before.is_lost() && !before.begins_after(7));
        drop(before);
        let after = guards.take(node).unwrap();
        guards.end_broken(|_| Some(7));
        assert!(!after.is_lost() && after.begins_after(7) && !after.begins_after(8));
        guards.end_broken(|_| Some(8));
        assert!(after.is_lost(), "broken again");
    }

    #[test]
    fn a_worker_that_meets_a_broken_claim_ends_all_work_under_it_once() {
        let (guards, node) = (WorkTable::default(), NodeId::new(uuid::Uuid::from_u128(1)));
        let (first, second) = (guards.take(node).unwrap(), guards.take(node).unwrap());
        guards.end_under_broken(node, 7);
        assert!(first.is_lost() && second.is_lost());
        assert!(guards.take(node).is_none(), "not before both have ended");
        drop((first, second));
        let after = guards.take(node).unwrap();
        guards.end_under_broken(node, 7);
        guards.end_broken(|_| Some(7));
        assert!(!after.is_lost() && after.begins_after(7));
    }

    #[test]
    fn a_node_is_released_only_after_its_last_worker_has_ended() {
        let (guards, node) = (WorkTable::default(), NodeId::new(uuid::Uuid::from_u128(1)));
        let (first, second) = (guards.take(node).unwrap(), guards.take(node).unwrap());
        assert_eq!(guards.end(|_| true), 0);
        assert_eq!(guards.end(|_| false), 1);
        assert!(first.is_lost() && second.is_lost());
        assert!(guards.take(node).is_none(), "no new work while the old one ends");
        drop(first);
        assert_eq!(guards.end(|_| false), 1);
        drop(second);
        assert_eq!(guards.end(|_| false), 0);
        assert!(guards.take(node).is_some());
    }
}
