//! Rendezvous hashing: every node has an owner among the members, and a member that comes or goes moves only its share.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{InstanceId, NodeId, SlotId};

/// The hash that is in force; another one gets another number, so that replicas never disagree in silence.
pub const HASH_VERSION: u32 = 1;

/// The members of a service in a rack that nodes are shared among. Its epoch is the revision of its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ring {
    /// Who owns nodes, with weights (1 is a whole share).
    pub members: BTreeMap<InstanceId, u32>,
    /// Who owned nodes and has neither let go of them nor gone.
    #[serde(default)]
    pub leaving: BTreeSet<InstanceId>,
    /// The slots of members. A member's share depends on its slot, so that a member that returns gets its former
    /// share, or on
    /// the instance where it has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<InstanceId, SlotId>,
    /// [`HASH_VERSION`] of the writer.
    pub hash: u32,
}

impl Ring {
    /// The node's owner; none where the ring is empty.
    #[must_use]
    pub fn owner(&self, node: NodeId) -> Option<InstanceId> {
        self.members
            .iter()
            .filter(|(_, weight)| **weight > 0)
            .max_by(|a, b| self.score(*a.0, *a.1, node).total_cmp(&self.score(*b.0, *b.1, node)).then(a.0.cmp(b.0)))
            .map(|(instance, _)| *instance)
    }

    /// How many members stand before this one for the node: 0 is the owner. `None` for one who is no member.
    #[must_use]
    pub fn rank(&self, node: NodeId, instance: InstanceId) -> Option<usize> {
        let mine = self.score(instance, *self.members.get(&instance)?, node);
        Some(
            self.members
                .iter()
                .filter(|(other, weight)| {
                    let theirs = self.score(**other, **weight, node);
                    theirs.total_cmp(&mine).then((*other).cmp(&instance)).is_gt()
                })
                .count(),
        )
    }

    /// Whether the instance is in it, as member or on its way out.
    #[must_use]
    pub fn names(&self, instance: InstanceId) -> bool {
        self.members.contains_key(&instance) || self.leaving.contains(&instance)
    }

    fn score(&self, instance: InstanceId, weight: u32, node: NodeId) -> f64 {
        let place = self.slots.get(&instance).map_or_else(|| instance.uuid(), |slot| slot.uuid());
        score(place, weight, node)
    }
}

/// Weighted rendezvous: `-weight / ln(u)` with `u` uniform in (0, 1), so that shares follow weights.
fn score(place: Uuid, weight: u32, node: NodeId) -> f64 {
    let (a, b) = place.as_u64_pair();
    let (c, d) = node.uuid().as_u64_pair();
    let hash = [a, b, c, d].into_iter().fold(0x9e37_79b9_7f4a_7c15, |state, word| mix(state ^ word));
    // The upper 53 bits fill a double's mantissa; half a step keeps clear of ln(0) and ln(1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let uniform = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight) / uniform.ln()
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(n: u128) -> InstanceId {
        InstanceId::new(Uuid::from_u128(n))
    }

    fn ring(members: impl IntoIterator<Item = u128>) -> Ring {
        Ring { members: members.into_iter().map(|n| (instance(n), 1)).collect(), ..Ring::default() }
    }

    fn nodes() -> impl Iterator<Item = NodeId> {
        (0..10_000).map(|n| NodeId::new(Uuid::from_u128(n << 64 | 7)))
    }

    #[test]
    fn a_member_that_comes_takes_its_share_and_moves_nothing_else() {
        let (before, after) = (ring(1..=4), ring(1..=5));
        let moved: Vec<_> = nodes().filter(|node| before.owner(*node) != after.owner(*node)).collect();
        assert!((1_800..=2_200).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|node| after.owner(*node) == Some(instance(5))));
    }

    #[test]
    fn a_member_that_returns_to_a_slot_gets_its_old_share_and_nothing_else_moves() {
        let slot = |n| SlotId::new(Uuid::from_u128(n));
        let slots = |slots: &[(u128, u128)]| slots.iter().map(|(n, at)| (instance(*n), slot(*at))).collect();
        let before = Ring { slots: slots(&[(1, 101), (2, 102), (3, 103)]), ..ring(1..=3) };
        let after = Ring { slots: slots(&[(4, 101), (2, 102), (3, 103)]), ..ring(2..=4) };
        let back = |was: Option<InstanceId>| if was == Some(instance(1)) { Some(instance(4)) } else { was };
        assert!(nodes().all(|node| after.owner(node) == back(before.owner(node))));
        assert!(nodes().take(100).all(|node| after.rank(node, instance(4)) == before.rank(node, instance(1))));
        assert!(nodes().filter(|node| before.owner(*node) == Some(instance(1))).count() > 3_000);
    }

    #[test]
    fn the_owner_has_rank_zero_and_ranks_do_not_repeat() {
        let ring = ring(1..=5);
        for node in nodes().take(100) {
            let mut ranks: Vec<_> = (1..=5).filter_map(|n| ring.rank(node, instance(n))).collect();
            let owner = ring.owner(node).unwrap();
            assert_eq!(ring.rank(node, owner), Some(0));
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2, 3, 4]);
        }
        assert_eq!(ring.rank(NodeId::new(Uuid::from_u128(1)), instance(9)), None);
    }
}
