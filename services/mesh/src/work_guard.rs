//! Work on nodes: who is at it, and who must stop when a node is lost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use domain::id::NodeId;
use tokio_util::sync::CancellationToken;

/// The workers of this process, by node.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkTable {
    by_node: Arc<Mutex<HashMap<NodeId, Held>>>,
    /// The revisions of broken claims whose work was ended.
    broken: Arc<Mutex<HashMap<NodeId, i64>>>,
}

#[derive(Debug)]
struct Held {
    workers: usize,
    stop: CancellationToken,
}

/// Held by a worker while it works on a node. When the node is lost it is cancelled, and the node is handed over only
/// once it was dropped.
#[derive(Debug)]
pub struct WorkGuard {
    node: NodeId,
    stop: CancellationToken,
    /// The revision of the broken claim whose work had ended before this guard was taken.
    after_break: Option<i64>,
    guards: WorkTable,
}

impl WorkGuard {
    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Resolves when the worker must end. Safe to drop at any await and call again.
    pub async fn lost(&self) {
        self.stop.cancelled().await;
    }

    /// Whether everything that went on under the broken claim of this revision had ended before this work began.
    pub(crate) fn begins_after(&self, broken: i64) -> bool {
        self.after_break == Some(broken)
    }

    /// Whether the worker must end.
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
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeId, Held>> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A guard in a node; none while an earlier one is still being ended.
    pub(crate) fn take(&self, node: NodeId) -> Option<WorkGuard> {
        let mut by_node = self.lock();
        let held = by_node.entry(node).or_insert_with(|| Held { workers: 0, stop: CancellationToken::new() });
        if held.stop.is_cancelled() {
            return None;
        }
        held.workers += 1;
        let after_break = self.broken.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied();
        Some(WorkGuard { node, stop: held.stop.clone(), after_break, guards: self.clone() })
    }

    /// Ends the work on nodes whose claim a person broke; `broken` gives the revision of such a claim. Work that begins
    /// after that may claim the node again.
    pub(crate) fn end_broken(&self, broken: impl Fn(NodeId) -> Option<i64>) {
        let by_node = self.lock();
        let mut known = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|node, revision| broken(*node) == Some(*revision));
        for (node, held) in by_node.iter() {
            if let Some(revision) = broken(*node)
                && known.insert(*node, revision) != Some(revision)
            {
                held.stop.cancel();
            }
        }
    }

    /// Ends the work on every node that is not `mine`, and says how many nodes still have workers that must end.
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
    fn a_broken_claims_work_ends_once_and_what_begins_after_it_goes_on() {
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
    fn a_node_is_let_go_only_when_its_last_worker_has_ended() {
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
