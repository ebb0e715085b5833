//! Queue of node ids with their due times. A queued id is not repeated.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::id::NodeId;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Queue {
    due: HashMap<NodeId, Instant>,
    /// Index by due time, because the queue may contain the whole fleet.
    order: BTreeSet<(Instant, NodeId)>,
}

impl Queue {
    /// Queues a node. Of two due times the earlier one counts.
    pub(super) fn put(&mut self, node: NodeId, at: Instant) {
        match self.due.get_mut(&node) {
            Some(due) if *due <= at => return,
            Some(due) => {
                self.order.remove(&(*due, node));
                *due = at;
            }
            None => drop(self.due.insert(node, at)),
        }
        self.order.insert((at, node));
    }

    pub(super) fn has(&self, node: NodeId) -> bool {
        self.due.contains_key(&node)
    }

    /// Takes the first node that is due and has no running pass.
    pub(super) fn due(&mut self, now: Instant, running: &HashSet<NodeId>) -> Option<NodeId> {
        let mut due = self.order.iter().take_while(|(at, _)| *at <= now);
        let first = *due.find(|(_, node)| !running.contains(node))?;
        self.order.remove(&first);
        self.due.remove(&first.1);
        Some(first.1)
    }

    /// Returns the next due time of a node without a running pass.
    pub(super) fn deadline(&self, latest: Instant, running: &HashSet<NodeId>) -> Instant {
        let first = self.order.iter().find(|(_, node)| !running.contains(node));
        first.map_or(latest, |(first, _)| (*first).min(latest))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_node_is_taken_once_when_it_is_due_and_not_while_it_is_worked_on() {
        let node = NodeId::new(uuid::Uuid::from_u128(1));
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.put(node, now + Duration::from_secs(5));
        queue.put(node, now + Duration::from_secs(1));
        queue.put(node, now + Duration::from_secs(3));
        let later = now + Duration::from_secs(1);
        assert_eq!(queue.due(now, &HashSet::new()), None);
        assert_eq!(queue.due(later, &HashSet::from([node])), None);
        let latest = now + Duration::from_secs(9);
        assert_eq!(queue.deadline(latest, &HashSet::new()), later);
        assert_eq!(queue.deadline(latest, &HashSet::from([node])), latest);
        assert_eq!(queue.due(later, &HashSet::new()), Some(node));
        assert_eq!(queue.due(later, &HashSet::new()), None);
        assert_eq!(queue.deadline(latest, &HashSet::new()), latest);
    }
}
