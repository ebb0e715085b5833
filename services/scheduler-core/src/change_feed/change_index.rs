//! Index of the last change of each node. Pure.

use std::collections::{BTreeMap, VecDeque};

use domain::id::{NodeId, RackId};

/// Maximum number of remembered deletions.
const MAX_REMEMBERED_DELETIONS: usize = 4096;

/// Position of a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The watcher knows nothing.
    Nowhere,
    /// The watcher knows all changes up to this store revision.
    Revision(i64),
    /// The watcher knows all changes up to this round of this index.
    Round(u64),
}

/// Time of a change: the round, and the revision at or before which it happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct When {
    pub(super) round: u64,
    pub(super) revision: i64,
}

impl When {
    const fn is_after(self, at: At) -> bool {
        match at {
            At::Nowhere => true,
            At::Revision(revision) => self.revision > revision,
            At::Round(round) => self.round > round,
        }
    }
}

/// Changes that a watcher does not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    /// Whether the watcher must start again: `nodes` are all existing nodes.
    pub(super) is_all: bool,
    pub(super) nodes: Vec<(NodeId, RackId)>,
    pub(super) gone: Vec<NodeId>,
}

/// Last change of each node, and the remembered deletions.
#[derive(Debug, Default)]
pub(super) struct ChangeIndex {
    nodes: BTreeMap<NodeId, (RackId, When)>,
    gone: VecDeque<(NodeId, When)>,
    /// Changes up to here are unknown.
    floor: When,
}

impl ChangeIndex {
    /// Starts with the existing nodes, whose last change is unknown.
    pub(super) fn begin(&mut self, nodes: impl IntoIterator<Item = (NodeId, RackId)>, when: When) {
        self.nodes = nodes.into_iter().map(|(node, rack)| (node, (rack, when))).collect();
        self.gone.clear();
        self.floor = when;
    }

    /// Records a change of a node in a rack.
    pub(super) fn changed(&mut self, node: NodeId, rack: RackId, when: When) {
        self.nodes.insert(node, (rack, when));
        self.gone.retain(|(gone, _)| *gone != node);
    }

    /// Records a change of a node that may have left the rack.
    pub(super) fn touched(&mut self, node: NodeId, when: When) {
        if let Some((_, of_node)) = self.nodes.get_mut(&node) {
            *of_node = when;
        }
    }

    /// Records that a node left a rack. It may have moved to another one before.
    pub(super) fn went(&mut self, node: NodeId, rack: RackId, when: When) {
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

    /// Returns the changes after a position.
    pub(super) fn since(&self, at: At) -> News {
        let is_all = self.floor.is_after(at) || at == At::Nowhere;
        let nodes = self.nodes.iter().filter(|(_, (_, when))| is_all || when.is_after(at));
        let gone = self.gone.iter().filter(|(_, when)| !is_all && when.is_after(at));
        News {
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

    fn when(round: u64, revision: i64) -> When {
        When { round, revision }
    }

    fn two_nodes() -> ChangeIndex {
        let mut change_index = ChangeIndex::default();
        change_index.begin([(node(1), rack(1)), (node(2), rack(1))], when(1, 10));
        change_index
    }

    fn told(change_index: &ChangeIndex, at: At) -> (bool, Vec<NodeId>, Vec<NodeId>) {
        let News { is_all, nodes, gone } = change_index.since(at);
        (is_all, nodes.into_iter().map(|(node, _)| node).collect(), gone)
    }

    #[test]
    fn who_knows_nothing_or_something_too_old_begins_with_all() {
        let change_index = two_nodes();
        assert_eq!(told(&change_index, At::Nowhere), (true, vec![node(1), node(2)], vec![]));
        assert_eq!(told(&change_index, At::Revision(9)), (true, vec![node(1), node(2)], vec![]));
        assert_eq!(told(&change_index, At::Revision(10)), (false, vec![], vec![]));
    }

    #[test]
    fn who_goes_on_is_told_what_changed_and_what_went_since() {
        let mut change_index = two_nodes();
        change_index.changed(node(3), rack(1), when(2, 12));
        change_index.went(node(1), rack(1), when(3, 14));
        assert_eq!(told(&change_index, At::Revision(11)), (false, vec![node(3)], vec![node(1)]));
        assert_eq!(told(&change_index, At::Revision(12)), (false, vec![], vec![node(1)]));
        assert_eq!(told(&change_index, At::Round(1)), (false, vec![node(3)], vec![node(1)]));
        assert_eq!(told(&change_index, At::Round(3)), (false, vec![], vec![]));
    }

    #[test]
    fn two_changes_under_one_revision_are_told_apart_by_their_round() {
        let mut change_index = two_nodes();
        change_index.changed(node(1), rack(1), when(2, 12));
        assert_eq!(told(&change_index, At::Round(1)).1, [node(1)]);
        change_index.changed(node(2), rack(1), when(3, 12));
        assert_eq!(told(&change_index, At::Round(2)).1, [node(2)]);
    }

    #[test]
    fn a_node_that_was_moved_to_another_rack_is_not_gone() {
        let mut change_index = two_nodes();
        change_index.changed(node(1), rack(2), when(2, 12));
        change_index.went(node(1), rack(1), when(2, 12));
        assert_eq!(told(&change_index, At::Round(1)), (false, vec![node(1)], vec![]));
    }

    #[test]
    fn one_that_came_back_is_not_told_as_gone() {
        let mut change_index = two_nodes();
        change_index.went(node(1), rack(1), when(2, 12));
        change_index.changed(node(1), rack(1), when(3, 13));
        assert_eq!(told(&change_index, At::Round(1)), (false, vec![node(1)], vec![]));
    }

    #[test]
    fn who_is_slower_than_what_is_remembered_begins_again() {
        let mut change_index = two_nodes();
        for number in 0..=u64::try_from(MAX_REMEMBERED_DELETIONS).unwrap() {
            let (node, when) = (node(u128::from(number) + 10), when(number + 2, 20));
            change_index.changed(node, rack(1), when);
            change_index.went(node, rack(1), when);
        }
        assert!(change_index.since(At::Round(1)).is_all);
        assert!(!change_index.since(At::Round(2)).is_all);
        assert_eq!(change_index.gone.len(), MAX_REMEMBERED_DELETIONS);
    }
}
