//! Rendezvous hashing: every node has an owner among the members, and a joining or leaving member moves only its share.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{InstanceId, NodeId, SlotId};

/// Version of the hash function. A changed function gets a new version, so that replicas detect a disagreement.
pub const HASH_VERSION: u32 = 1;

/// Members of a service in a rack, among which nodes are distributed. Its epoch is the revision of its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ring {
    /// Owners of nodes, with their weights, of which only the proportion counts.
    pub members: BTreeMap<InstanceId, u32>,
    /// Former owners that have neither released their nodes nor gone.
    #[serde(default)]
    pub leaving: BTreeSet<InstanceId>,
    /// Slots of members. The share of a member depends on its slot, so that a returning member gets its former share. Without
    /// a slot it depends on the instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<InstanceId, SlotId>,
    /// [`HASH_VERSION`] of the writer.
    pub hash: u32,
}

impl Ring {
    /// Returns the owner of a node, or `None` if the ring is empty.
    #[must_use]
    pub fn owner(&self, node: NodeId) -> Option<InstanceId> {
        self.members
            .iter()
            .filter(|(_, weight)| **weight > 0)
            .max_by(|a, b| self.score(*a.0, *a.1, node).total_cmp(&self.score(*b.0, *b.1, node)).then(a.0.cmp(b.0)))
            .map(|(instance, _)| *instance)
    }

    /// Returns the rank of an instance for a node: 0 is the owner. Returns `None` if it is not a member.
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

    /// Returns whether the instance is in the ring, as a member or leaving.
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
    // The upper 53 bits fill the mantissa; the half step avoids ln(0) and ln(1).
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
    fn a_new_member_takes_its_share_and_moves_no_other_node() {
        let (before, after) = (ring(1..=4), ring(1..=5));
        let moved: Vec<_> = nodes().filter(|node| before.owner(*node) != after.owner(*node)).collect();
        assert!((1_800..=2_200).contains(&moved.len()), "{}", moved.len());
        assert!(moved.iter().all(|node| after.owner(*node) == Some(instance(5))));
    }

    #[test]
    fn a_member_that_returns_to_its_slot_gets_its_former_share_and_no_other_node_moves() {
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
    fn shares_follow_weights() {
        for weights in [
            &[100, 100][..],
            &[1, 1, 1],
            &[200, 100],
            &[50, 100, 150],
            &[100, 100, 100, 300],
            &[1, 99],
            &[10_000, 10_000],
            &[0, 100, 100],
        ] {
            let members = (1..).zip(weights).map(|(n, weight)| (instance(n), *weight)).collect();
            let ring = Ring { members, ..Ring::default() };
            let total: u32 = weights.iter().sum();
            for (n, weight) in (1..).zip(weights) {
                let owned = nodes().filter(|node| ring.owner(*node) == Some(instance(n))).count();
                let wanted = usize::try_from(10_000 * weight / total).unwrap();
                assert!(owned.abs_diff(wanted) <= 200, "{weights:?}: member {n} owns {owned}, not {wanted}");
            }
        }
    }

    #[test]
    fn a_changed_weight_moves_nodes_only_from_or_to_its_member_and_a_common_factor_moves_none() {
        let weighted = |weights: &[(u128, u32)]| {
            let members = weights.iter().map(|(n, weight)| (instance(*n), *weight)).collect();
            Ring { members, ..Ring::default() }
        };
        let before = weighted(&[(1, 100), (2, 100), (3, 100)]);
        let more = weighted(&[(1, 100), (2, 300), (3, 100)]);
        assert!(nodes().all(|node| more.owner(node) == before.owner(node) || more.owner(node) == Some(instance(2))));
        assert!(nodes().all(|node| ring(1..=3).owner(node) == before.owner(node)));
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
