//! Delivery of webhooks: which events a receiver still needs, and when a failed one is sent again.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::id::NodeId;

/// Delay after the first failed delivery. Doubles with each further one.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Maximum delay after a failed delivery.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(300);

/// Event that a receiver still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingEvent {
    /// The node matches the webhook's query and was changed at this revision.
    Changed(NodeId, i64),
    /// The node does not, or no longer, match.
    Left(NodeId),
}

/// Nodes as a receiver knows them, by the events that it has accepted.
#[derive(Debug, Default)]
pub struct DeliveredNodes {
    /// Last delivered revision of each node.
    nodes: HashMap<NodeId, i64>,
    /// Nodes whose `node.left` was delivered in this round.
    left: HashSet<NodeId>,
    /// Whether `nodes` is complete: false until the first round has ended.
    is_complete: bool,
}

impl DeliveredNodes {
    /// Returns the events to send. `changed` has each changed node with its revision, or `None` if it does not match the
    /// webhook's query; `gone` has the deleted nodes.
    #[must_use]
    pub fn pending_events(&self, changed: &[(NodeId, Option<i64>)], gone: &[NodeId]) -> Vec<PendingEvent> {
        let of = |(node, revision): &(NodeId, Option<i64>)| match revision {
            Some(revision) => {
                (self.nodes.get(node) != Some(revision)).then_some(PendingEvent::Changed(*node, *revision))
            }
            None => self.left_event(*node),
        };
        changed.iter().filter_map(of).chain(gone.iter().filter_map(|node| self.left_event(*node))).collect()
    }

    /// Returns the `Left` event of a node, unless the receiver does not know the node. Before the first round has ended it
    /// may know any node.
    fn left_event(&self, node: NodeId) -> Option<PendingEvent> {
        let may_be_known = self.nodes.contains_key(&node) || !self.is_complete;
        (may_be_known && !self.left.contains(&node)).then_some(PendingEvent::Left(node))
    }

    /// Records that the receiver accepted an event.
    pub fn record(&mut self, event: PendingEvent) {
        match event {
            PendingEvent::Changed(node, revision) => {
                self.nodes.insert(node, revision);
                self.left.remove(&node);
            }
            PendingEvent::Left(node) => {
                self.nodes.remove(&node);
                self.left.insert(node);
            }
        }
    }

    /// Records that the receiver knows a node from an earlier leader. A revision that was delivered since is kept.
    pub fn record_known(&mut self, node: NodeId, revision: i64) {
        self.nodes.entry(node).or_insert(revision);
    }

    /// Forgets all nodes except the members that were delivered.
    pub fn retain(&mut self, is_member: impl Fn(&NodeId) -> bool) {
        self.nodes.retain(|node, _| is_member(node));
    }

    /// Records that the receiver accepted all events of a round. From now on it gets the `Left` event only of nodes that it
    /// knows.
    pub fn complete_round(&mut self) {
        self.is_complete = true;
        self.left.clear();
    }

    /// Returns whether no round has ended yet.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        !self.is_complete
    }
}

/// Returns the delay after consecutive failures. `asked` is the delay that the receiver requested; a longer one than five
/// minutes is shortened to that.
#[must_use]
pub fn retry_delay(failures: u32, asked: Option<Duration>) -> Duration {
    let grown = MIN_RETRY_DELAY.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    grown.max(asked.unwrap_or_default()).min(MAX_RETRY_DELAY)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId::new(Uuid::from_u128(number))
    }

    #[test]
    fn a_revision_is_sent_once_even_if_a_round_is_interrupted() {
        let mut delivered = DeliveredNodes::default();
        let changed = [(node(1), Some(7)), (node(2), Some(8))];
        assert_eq!(
            delivered.pending_events(&changed, &[]),
            [PendingEvent::Changed(node(1), 7), PendingEvent::Changed(node(2), 8)]
        );
        delivered.record(PendingEvent::Changed(node(1), 7));
        assert_eq!(delivered.pending_events(&changed, &[]), [PendingEvent::Changed(node(2), 8)]);
        assert_eq!(delivered.pending_events(&[(node(1), Some(9))], &[]), [PendingEvent::Changed(node(1), 9)]);
    }

    #[test]
    fn a_left_node_is_sent_once_and_only_if_the_receiver_may_know_it() {
        let mut delivered = DeliveredNodes::default();
        delivered.record_known(node(1), 5);
        assert_eq!(
            delivered.pending_events(&[(node(2), None)], &[node(3)]),
            [PendingEvent::Left(node(2)), PendingEvent::Left(node(3))]
        );
        delivered.record(PendingEvent::Left(node(2)));
        assert_eq!(delivered.pending_events(&[(node(2), None)], &[node(3)]), [PendingEvent::Left(node(3))]);
        delivered.complete_round();
        assert_eq!(delivered.pending_events(&[(node(2), None)], &[node(3)]), [], "it knows of neither");
        assert_eq!(delivered.pending_events(&[(node(1), None)], &[]), [PendingEvent::Left(node(1))]);
    }

    #[test]
    fn a_node_that_returns_is_sent_again() {
        let mut delivered = DeliveredNodes::default();
        delivered.record(PendingEvent::Changed(node(1), 5));
        delivered.complete_round();
        delivered.record(PendingEvent::Left(node(1)));
        assert_eq!(delivered.pending_events(&[(node(1), Some(5))], &[]), [PendingEvent::Changed(node(1), 5)]);
    }

    #[test]
    fn the_retry_delay_doubles_up_to_a_maximum() {
        let seconds = |failures| retry_delay(failures, None).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 40, u32::MAX].map(seconds), [1, 2, 4, 256, 300, 300, 300]);
        assert_eq!(retry_delay(1, Some(Duration::from_secs(60))).as_secs(), 60);
        assert_eq!(retry_delay(1, Some(Duration::from_secs(86_400))).as_secs(), 300);
    }
}
