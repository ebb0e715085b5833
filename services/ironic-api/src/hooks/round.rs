//! What is to be told in a round, and when the next one is. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use domain::id::NodeId;

/// The first pause after something was not taken, and the longest one.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Something to tell of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is one of those that are told of, and was changed at this revision.
    Changed(NodeId, i64),
    /// It is not, or no more.
    Left(NodeId),
}

/// What a receiver has been told by this task.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The nodes that it knows, and of which revision.
    nodes: HashMap<NodeId, i64>,
    /// Those of which it was told that they left.
    left: HashSet<NodeId>,
    /// What it was told before this task began is known, but for who left since then.
    is_whole: bool,
}

impl Told {
    /// What is new in a round: of `changed` nodes their revision where they are told of now; `gone` are no more.
    pub(super) fn news(&self, changed: &[(NodeId, Option<i64>)], gone: &[NodeId]) -> Vec<News> {
        let of = |(node, revision): &(NodeId, Option<i64>)| match revision {
            Some(revision) => (self.nodes.get(node) != Some(revision)).then_some(News::Changed(*node, *revision)),
            None => self.leaves(*node),
        };
        changed.iter().filter_map(of).chain(gone.iter().filter_map(|node| self.leaves(*node))).collect()
    }

    /// Before it is known what was told, one that is not told of now may have been.
    fn leaves(&self, node: NodeId) -> Option<News> {
        let may_be_known = self.nodes.contains_key(&node) || !self.is_whole;
        (may_be_known && !self.left.contains(&node)).then_some(News::Left(node))
    }

    /// It took this.
    pub(super) fn took(&mut self, news: News) {
        match news {
            News::Changed(node, revision) => {
                self.nodes.insert(node, revision);
                self.left.remove(&node);
            }
            News::Left(node) => {
                self.nodes.remove(&node);
                self.left.insert(node);
            }
        }
    }

    /// It knows this node from before.
    pub(super) fn knew(&mut self, node: NodeId, revision: i64) {
        self.nodes.entry(node).or_insert(revision);
    }

    /// It knows which nodes there are.
    pub(super) fn only(&mut self, is: impl Fn(&NodeId) -> bool) {
        self.nodes.retain(|node, _| is(node));
    }

    /// It took all of a round.
    pub(super) fn took_all(&mut self) {
        self.is_whole = true;
        self.left.clear();
    }

    /// Whether no round was taken yet.
    pub(super) const fn is_first(&self) -> bool {
        !self.is_whole
    }
}

/// How long to wait after so many tries in a row that came to nothing; `asked`: what the receiver asked for.
pub(super) fn pause(failures: u32, asked: Option<Duration>) -> Duration {
    let grown = SHORTEST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    grown.max(asked.unwrap_or_default()).min(LONGEST)
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
        let mut told = Told::default();
        let changed = [(node(1), Some(7)), (node(2), Some(8))];
        assert_eq!(told.news(&changed, &[]), [News::Changed(node(1), 7), News::Changed(node(2), 8)]);
        told.took(News::Changed(node(1), 7));
        assert_eq!(told.news(&changed, &[]), [News::Changed(node(2), 8)]);
        assert_eq!(told.news(&[(node(1), Some(9))], &[]), [News::Changed(node(1), 9)]);
    }

    #[test]
    fn what_leaves_is_told_where_it_may_have_been_told_of_and_once() {
        let mut told = Told::default();
        told.knew(node(1), 5);
        assert_eq!(told.news(&[(node(2), None)], &[node(3)]), [News::Left(node(2)), News::Left(node(3))]);
        told.took(News::Left(node(2)));
        assert_eq!(told.news(&[(node(2), None)], &[node(3)]), [News::Left(node(3))]);
        told.took_all();
        assert_eq!(told.news(&[(node(2), None)], &[node(3)]), [], "it knows of neither");
        assert_eq!(told.news(&[(node(1), None)], &[]), [News::Left(node(1))]);
    }

    #[test]
    fn what_comes_back_is_told_again() {
        let mut told = Told::default();
        told.took(News::Changed(node(1), 5));
        told.took_all();
        told.took(News::Left(node(1)));
        assert_eq!(told.news(&[(node(1), Some(5))], &[]), [News::Changed(node(1), 5)]);
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let seconds = |failures| pause(failures, None).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 40, u32::MAX].map(seconds), [1, 2, 4, 256, 300, 300, 300]);
        assert_eq!(pause(1, Some(Duration::from_secs(60))).as_secs(), 60);
        assert_eq!(pause(1, Some(Duration::from_secs(86_400))).as_secs(), 300);
    }
}
