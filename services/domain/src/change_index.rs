//! Index of the last change of each node, from which watchers learn what they do not know yet.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{NodeId, RackId};

/// Maximum number of remembered deletions.
const MAX_REMEMBERED_DELETIONS: usize = 4096;

/// Position of a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchPosition {
    /// The watcher knows nothing.
    Start,
    /// The watcher knows all changes up to this store revision.
    Revision(i64),
    /// The watcher knows all changes up to this round of this index.
    Round(u64),
}

/// Time of a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangeTime {
    /// Round of the index. The caller counts: each round has a higher number than the one before.
    pub round: u64,
    /// Revision of the store at or before which the change happened.
    pub revision: i64,
}

impl ChangeTime {
    const fn is_after(self, at: WatchPosition) -> bool {
        match at {
            WatchPosition::Start => true,
            WatchPosition::Revision(revision) => self.revision > revision,
            WatchPosition::Round(round) => self.round > round,
        }
    }
}

/// Changes that a watcher does not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedNodes {
    /// Whether the watcher must start again: `nodes` are all existing nodes.
    pub is_all: bool,
    /// Changed nodes, with their racks.
    pub nodes: Vec<(NodeId, RackId)>,
    /// Deleted nodes.
    pub gone: Vec<NodeId>,
}

/// Last change of each node, and the remembered deletions.
#[derive(Debug, Default)]
pub struct ChangeIndex {
    nodes: BTreeMap<NodeId, (RackId, ChangeTime)>,
    gone: VecDeque<(NodeId, ChangeTime)>,
    /// Changes up to here are unknown.
    floor: ChangeTime,
}

impl ChangeIndex {
    /// Starts again with the existing nodes, whose last change is unknown. Watchers that are behind this time start again too.
    pub fn reset(&mut self, nodes: impl IntoIterator<Item = (NodeId, RackId)>, when: ChangeTime) {
        self.nodes = nodes.into_iter().map(|(node, rack)| (node, (rack, when))).collect();
        self.gone.clear();
        self.floor = when;
    }

    /// Records a change of a node in a rack.
    pub fn record_change(&mut self, node: NodeId, rack: RackId, when: ChangeTime) {
        self.nodes.insert(node, (rack, when));
        self.gone.retain(|(gone, _)| *gone != node);
    }

    /// Records a change of something that belongs to a node, such as a port. A node that does not exist, or no longer,
    /// stays unknown.
    pub fn record_touch(&mut self, node: NodeId, when: ChangeTime) {
        if let Some((_, of_node)) = self.nodes.get_mut(&node) {
            *of_node = when;
        }
    }

    /// Records that a node left a rack. A node that has moved to another rack before is not deleted.
    pub fn record_departure(&mut self, node: NodeId, rack: RackId, when: ChangeTime) {
        if self.nodes.get(&node).is_none_or(|(of, _)| *of != rack) {
            return;
        }
        self.nodes.remove(&node);
        self.gone.push_back((node, when));
        if self.gone.len() > MAX_REMEMBERED_DELETIONS
            && let Some((_, forgotten)) = self.gone.pop_front()
        {
            self.floor = forgotten;
        }
    }

    /// Returns the changes after a position: all existing nodes if the position is before the remembered deletions.
    #[must_use]
    pub fn changes_since(&self, at: WatchPosition) -> ChangedNodes {
        let is_all = self.floor.is_after(at) || at == WatchPosition::Start;
        let nodes = self.nodes.iter().filter(|(_, (_, when))| is_all || when.is_after(at));
        let gone = self.gone.iter().filter(|(_, when)| !is_all && when.is_after(at));
        ChangedNodes {
            is_all,
            nodes: nodes.map(|(node, (rack, _))| (*node, *rack)).collect(),
            gone: gone.map(|(node, _)| *node).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId::new(Uuid::from_u128(number))
    }

    fn rack(number: u128) -> RackId {
        RackId::new(Uuid::from_u128(number))
    }

    fn when(round: u64, revision: i64) -> ChangeTime {
        ChangeTime { round, revision }
    }

    fn two_nodes() -> ChangeIndex {
        let mut change_index = ChangeIndex::default();
        change_index.reset([(node(1), rack(1)), (node(2), rack(1))], when(1, 10));
        change_index
    }

    fn changes(change_index: &ChangeIndex, at: WatchPosition) -> (bool, Vec<NodeId>, Vec<NodeId>) {
        let ChangedNodes { is_all, nodes, gone } = change_index.changes_since(at);
        (is_all, nodes.into_iter().map(|(node, _)| node).collect(), gone)
    }

    #[test]
    fn a_watcher_that_knows_nothing_or_is_too_far_behind_starts_with_all_nodes() {
        let change_index = two_nodes();
        assert_eq!(changes(&change_index, WatchPosition::Start), (true, vec![node(1), node(2)], vec![]));
        assert_eq!(changes(&change_index, WatchPosition::Revision(9)), (true, vec![node(1), node(2)], vec![]));
        assert_eq!(changes(&change_index, WatchPosition::Revision(10)), (false, vec![], vec![]));
    }

    #[test]
    fn a_watcher_receives_changes_and_deletions_after_its_position() {
        let mut change_index = two_nodes();
        change_index.record_change(node(3), rack(1), when(2, 12));
        change_index.record_departure(node(1), rack(1), when(3, 14));
        assert_eq!(changes(&change_index, WatchPosition::Revision(11)), (false, vec![node(3)], vec![node(1)]));
        assert_eq!(changes(&change_index, WatchPosition::Revision(12)), (false, vec![], vec![node(1)]));
        assert_eq!(changes(&change_index, WatchPosition::Round(1)), (false, vec![node(3)], vec![node(1)]));
        assert_eq!(changes(&change_index, WatchPosition::Round(3)), (false, vec![], vec![]));
    }

    #[test]
    fn the_round_distinguishes_two_changes_under_one_revision() {
        let mut change_index = two_nodes();
        change_index.record_change(node(1), rack(1), when(2, 12));
        assert_eq!(changes(&change_index, WatchPosition::Round(1)).1, [node(1)]);
        change_index.record_change(node(2), rack(1), when(3, 12));
        assert_eq!(changes(&change_index, WatchPosition::Round(2)).1, [node(2)]);
    }

    #[test]
    fn a_node_that_moved_to_another_rack_is_not_deleted() {
        let mut change_index = two_nodes();
        change_index.record_change(node(1), rack(2), when(2, 12));
        change_index.record_departure(node(1), rack(1), when(2, 12));
        assert_eq!(changes(&change_index, WatchPosition::Round(1)), (false, vec![node(1)], vec![]));
    }

    #[test]
    fn a_node_that_was_created_again_is_not_deleted() {
        let mut change_index = two_nodes();
        change_index.record_departure(node(1), rack(1), when(2, 12));
        change_index.record_change(node(1), rack(1), when(3, 13));
        assert_eq!(changes(&change_index, WatchPosition::Round(1)), (false, vec![node(1)], vec![]));
    }

    #[test]
    fn a_watcher_that_is_behind_the_remembered_deletions_starts_again() {
        let mut change_index = two_nodes();
        for number in 0..=u64::try_from(MAX_REMEMBERED_DELETIONS).unwrap() {
            let (node, when) = (node(u128::from(number) + 10), when(number + 2, 20));
            change_index.record_change(node, rack(1), when);
            change_index.record_departure(node, rack(1), when);
        }
        assert!(change_index.changes_since(WatchPosition::Round(1)).is_all);
        assert!(!change_index.changes_since(WatchPosition::Round(2)).is_all);
        assert_eq!(change_index.gone.len(), MAX_REMEMBERED_DELETIONS);
    }
}
