//! What is to be told in a round, and when the next one is. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use domain::id::NodeId;

/// The first pause after something was not taken, and the longest one.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(300);

/// Something to tell of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeEvent {
    /// It is one of those that are told of, and was changed at this revision.
    Changed(NodeId, i64),
    /// It is not, or no more.
    Left(NodeId),
}

/// What a receiver has been told by this task.
#[derive(Debug, Default)]
pub(super) struct DeliveredNodes {
    /// The nodes that it knows, and of which revision.
    nodes: HashMap<NodeId, i64>,
    /// Those of which it was told that they left.
    left: HashSet<NodeId>,
    /// What it was told before this task began is known, but for who left since then.
    is_complete: bool,
}

impl DeliveredNodes {
    /// What is new in a round: of `changed` nodes their revision where they are told of now; `gone` are no more.
    pub(super) fn pending_events(&self, changed: &[(NodeId, Option<i64>)], gone: &[NodeId]) -> Vec<NodeEvent> {
        let of = |(node, revision): &(NodeId, Option<i64>)| match revision {
            Some(revision) => (self.nodes.get(node) != Some(revision)).then_some(NodeEvent::Changed(*node, *revision)),
            None => self.left_event(*node),
        };
        changed.iter().filter_map(of).chain(gone.iter().filter_map(|node| self.left_event(*node))).collect()
    }

    /// Before it is known what was told, one that is not told of now may have been.
    fn left_event(&self, node: NodeId) -> Option<NodeEvent> {
        let may_be_known = self.nodes.contains_key(&node) || !self.is_complete;
        (may_be_known && !self.left.contains(&node)).then_some(NodeEvent::Left(node))
    }

    /// It took this.
    pub(super) fn record(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Changed(node, revision) => {
                self.nodes.insert(node, revision);
                self.left.remove(&node);
            }
            NodeEvent::Left(node) => {
                self.nodes.remove(&node);
                self.left.insert(node);
            }
        }
    }

    /// It knows this node from before.
    pub(super) fn record_known(&mut self, node: NodeId, revision: i64) {
        self.nodes.entry(node).or_insert(revision);
    }

    /// It knows which nodes there are.
    pub(super) fn retain(&mut self, is: impl Fn(&NodeId) -> bool) {
        self.nodes.retain(|node, _| is(node));
    }

    /// It took all of a round.
    pub(super) fn complete_round(&mut self) {
        self.is_complete = true;
        self.left.clear();
    }

    /// Whether no round was taken yet.
    pub(super) const fn is_first(&self) -> bool {
        !self.is_complete
    }
}

/// How long to wait after so many tries in a row that came to nothing; `asked`: what the receiver asked for.
pub(super) fn retry_delay(failures: u32, asked: Option<Duration>) -> Duration {
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
    fn a_node_is_told_once_for_each_revision_also_where_a_round_broke_off() {
        let mut delivered = DeliveredNodes::default();
        let changed = [(node(1), Some(7)), (node(2), Some(8))];
        assert_eq!(
            delivered.pending_events(&changed, &[]),
            [NodeEvent::Changed(node(1), 7), NodeEvent::Changed(node(2), 8)]
        );
        delivered.record(NodeEvent::Changed(node(1), 7));
        assert_eq!(delivered.pending_events(&changed, &[]), [NodeEvent::Changed(node(2), 8)]);
        assert_eq!(delivered.pending_events(&[(node(1), Some(9))], &[]), [NodeEvent::Changed(node(1), 9)]);
    }

    #[test]
    fn what_leaves_is_told_where_it_may_have_been_told_of_and_once() {
        let mut delivered = DeliveredNodes::default();
        delivered.record_known(node(1), 5);
        assert_eq!(
            delivered.pending_events(&[(node(2), None)], &[node(3)]),
            [NodeEvent::Left(node(2)), NodeEvent::Left(node(3))]
        );
        delivered.record(NodeEvent::Left(node(2)));
        assert_eq!(delivered.pending_events(&[(node(2), None)], &[node(3)]), [NodeEvent::Left(node(3))]);
        delivered.complete_round();
        assert_eq!(delivered.pending_events(&[(node(2), None)], &[node(3)]), [], "it knows of neither");
        assert_eq!(delivered.pending_events(&[(node(1), None)], &[]), [NodeEvent::Left(node(1))]);
    }

    #[test]
    fn what_comes_back_is_told_again() {
        let mut delivered = DeliveredNodes::default();
        delivered.record(NodeEvent::Changed(node(1), 5));
        delivered.complete_round();
        delivered.record(NodeEvent::Left(node(1)));
        assert_eq!(delivered.pending_events(&[(node(1), Some(5))], &[]), [NodeEvent::Changed(node(1), 5)]);
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let seconds = |failures| retry_delay(failures, None).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 40, u32::MAX].map(seconds), [1, 2, 4, 256, 300, 300, 300]);
        assert_eq!(retry_delay(1, Some(Duration::from_secs(60))).as_secs(), 60);
        assert_eq!(retry_delay(1, Some(Duration::from_secs(86_400))).as_secs(), 300);
    }
}
