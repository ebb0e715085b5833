//! When a claim may change its holder, which ring the leader writes next, and when a member counts as gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Add,
    time::Duration,
};

use super::assign::{HASH_VERSION, Ring};
use crate::id::{InstanceId, SlotId};

/// Presence of a member, as it announces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Weight in the ring.
    pub weight: u32,
    /// Whether it is stopping and hands over its nodes.
    pub stopping: bool,
    /// Slot, if it has one.
    pub slot: Option<SlotId>,
}

/// Members that are missing, with the start of their absence on the observer's own clock.
#[derive(Debug, Clone)]
pub struct Absences<T> {
    since: BTreeMap<InstanceId, T>,
}

impl<T> Default for Absences<T> {
    fn default() -> Self {
        Self { since: BTreeMap::new() }
    }
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Absences<T> {
    /// Records an observation of the store: which members of the ring have no member key.
    ///
    /// The clock of an instance starts at the first observation, not older than the ring that contains it, at which it is
    /// missing. It stops when the instance is present or not in the ring any more.
    pub fn look(&mut self, now: T, ring: &Ring, present: impl Fn(InstanceId) -> bool) {
        self.since.retain(|instance, _| ring.names(*instance) && !present(*instance));
        for instance in ring.members.keys().chain(&ring.leaving) {
            if !present(*instance) {
                self.since.entry(*instance).or_insert(now);
            }
        }
    }

    /// Returns the members that have been missing for `wait`.
    pub fn gone(&self, now: T, wait: Duration) -> BTreeSet<InstanceId> {
        self.since.iter().filter(|(_, since)| now >= **since + wait).map(|(instance, _)| *instance).collect()
    }

    /// Returns when the next member counts as gone, if nothing changes.
    pub fn deadline(&self, now: T, wait: Duration) -> Option<T> {
        self.since
            .values()
            .map(|since| *since + wait)
            .filter(|at| *at > now)
            .fold(None, |first, at| if first.is_some_and(|first| first <= at) { first } else { Some(at) })
    }
}

/// Members with an outstanding acknowledgement, with its start on the leader's own clock.
#[derive(Debug, Clone)]
pub struct Debts<T> {
    /// First ring that each member has not acknowledged, and the time of its first observation.
    since: BTreeMap<InstanceId, (i64, T)>,
}

impl<T> Default for Debts<T> {
    fn default() -> Self {
        Self { since: BTreeMap::new() }
    }
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Debts<T> {
    /// Records an observation of the store. A later ring does not restart the clock of a member that has not acknowledged an
    /// earlier one.
    pub fn look(&mut self, now: T, ring: &Ring, epoch: i64, acknowledged: impl Fn(InstanceId) -> Option<i64>) {
        let owes = |instance, epoch| acknowledged(instance).is_none_or(|ack| ack < epoch);
        self.since.retain(|instance, (first, _)| ring.names(*instance) && owes(*instance, *first));
        for instance in ring.members.keys().chain(&ring.leaving) {
            if owes(*instance, epoch) {
                self.since.entry(*instance).or_insert((epoch, now));
            }
        }
    }

    /// Returns the members whose acknowledgement has been outstanding for `timeout`.
    pub fn overdue(&self, now: T, timeout: Duration) -> Vec<InstanceId> {
        let overdue = self.since.iter().filter(|(_, (_, since))| now >= *since + timeout);
        overdue.map(|(instance, _)| *instance).collect()
    }
}

/// Returns whether the owner in a ring may claim a node that `holder` has claimed.
///
/// `epoch` is that of the ring; `acknowledged` returns the highest epoch that an instance has acknowledged.
pub fn may_claim(
    me: InstanceId,
    holder: Option<InstanceId>,
    ring: &Ring,
    epoch: i64,
    acknowledged: impl Fn(InstanceId) -> Option<i64>,
    gone: &BTreeSet<InstanceId>,
) -> bool {
    let Some(holder) = holder else { return true };
    holder == me
        || acknowledged(holder).is_some_and(|ack| ack >= epoch)
        || gone.contains(&holder)
        || !ring.names(holder)
}

/// Returns the ring that the leader writes next, or `None` if the current one is correct.
///
/// Its members are those present and not stopping. A member that drops out stays in `leaving` until it has acknowledged an
/// epoch without it or is gone.
pub fn next_ring(
    ring: Option<(&Ring, i64)>,
    present: &BTreeMap<InstanceId, Presence>,
    acknowledged: impl Fn(InstanceId) -> Option<i64>,
    gone: &BTreeSet<InstanceId>,
) -> Option<Ring> {
    let members: BTreeMap<_, _> =
        present.iter().filter(|(_, seen)| !seen.stopping).map(|(instance, seen)| (*instance, seen.weight)).collect();
    let slots = assign_slots(ring.map(|(ring, _)| ring), &members, present);
    let Some((old, epoch)) = ring else {
        return Some(Ring { members, leaving: BTreeSet::new(), slots, hash: HASH_VERSION });
    };
    let lets_go = |instance: &InstanceId| {
        gone.contains(instance)
            || (!old.members.contains_key(instance) && acknowledged(*instance).is_some_and(|ack| ack >= epoch))
    };
    let leaving = old
        .members
        .keys()
        .chain(&old.leaving)
        .filter(|instance| !members.contains_key(instance) && !lets_go(instance))
        .copied()
        .collect();
    let next = Ring { members, leaving, slots, hash: HASH_VERSION };
    (next != *old).then_some(next)
}

/// Assigns slots to members. A slot has one holder, and a member keeps the slot that it holds.
fn assign_slots(
    old: Option<&Ring>,
    members: &BTreeMap<InstanceId, u32>,
    present: &BTreeMap<InstanceId, Presence>,
) -> BTreeMap<InstanceId, SlotId> {
    let has_slot = |instance: &InstanceId| old.is_some_and(|old| old.slots.contains_key(instance));
    let wish = |instance: &InstanceId| Some((*instance, present.get(instance)?.slot?));
    let (first, then): (Vec<_>, Vec<_>) = members.keys().filter_map(wish).partition(|(instance, _)| has_slot(instance));
    let mut taken = BTreeSet::new();
    first.into_iter().chain(then).filter(|(_, slot)| taken.insert(*slot)).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const WAIT: Duration = Duration::from_millis(3500);

    fn id(n: u128) -> InstanceId {
        InstanceId::new(Uuid::from_u128(n))
    }

    fn present(ids: &[u128]) -> BTreeMap<InstanceId, Presence> {
        ids.iter().map(|n| (id(*n), Presence { weight: 1, stopping: false, slot: None })).collect()
    }

    fn ring(members: &[u128], leaving: &[u128]) -> Ring {
        Ring {
            members: members.iter().map(|n| (id(*n), 1)).collect(),
            leaving: leaving.iter().map(|n| id(*n)).collect(),
            slots: BTreeMap::new(),
            hash: HASH_VERSION,
        }
    }

    #[test]
    fn a_missing_member_leaves_and_is_dropped_only_when_it_is_gone() {
        let gone_none = BTreeSet::new();
        let (old, none) = (ring(&[1, 2], &[]), |_: InstanceId| None);
        let next = next_ring(Some((&old, 5)), &present(&[1]), none, &gone_none).unwrap();
        assert_eq!(next, ring(&[1], &[2]));
        assert_eq!(next_ring(Some((&next, 6)), &present(&[1]), none, &gone_none), None);
        let gone = BTreeSet::from([id(2)]);
        assert_eq!(next_ring(Some((&next, 6)), &present(&[1]), none, &gone).unwrap(), ring(&[1], &[]));
    }

    #[test]
    fn a_stopping_member_is_dropped_when_it_has_acknowledged_an_epoch_without_it() {
        let gone_none = BTreeSet::new();
        let mut present = present(&[1, 2]);
        present.insert(id(2), Presence { weight: 1, stopping: true, slot: None });
        let old = ring(&[1, 2], &[]);
        let acked_old = |instance| (instance == id(2)).then_some(5);
        let next = next_ring(Some((&old, 5)), &present, acked_old, &gone_none).unwrap();
        assert_eq!(next, ring(&[1], &[2]), "an acknowledgement of a ring that still has it is none");
        let acked_new = |instance| (instance == id(2)).then_some(6);
        assert_eq!(next_ring(Some((&next, 6)), &present, acked_new, &gone_none).unwrap(), ring(&[1], &[]));
    }

    #[test]
    fn a_slot_belongs_to_one_member_and_stays_with_its_holder() {
        let gone_none = BTreeSet::new();
        let slot = |n| SlotId::new(Uuid::from_u128(n));
        let at = |slots: &[(u128, u128)]| -> BTreeMap<_, _> {
            let here = |at| Presence { weight: 1, stopping: false, slot: Some(slot(at)) };
            slots.iter().map(|(n, at)| (id(*n), here(*at))).collect()
        };
        let slots = |next: &Ring| -> Vec<_> {
            next.slots.iter().map(|(n, at)| (n.uuid().as_u128(), at.uuid().as_u128())).collect()
        };
        let first = next_ring(None, &at(&[(5, 101), (6, 102)]), |_| None, &gone_none).unwrap();
        assert_eq!(slots(&first), vec![(5, 101), (6, 102)]);
        // A copied data folder: the second member with the same slot gets none.
        let copied = next_ring(Some((&first, 5)), &at(&[(4, 101), (5, 101), (6, 102)]), |_| None, &gone_none).unwrap();
        assert_eq!(slots(&copied), vec![(5, 101), (6, 102)]);
        let back = next_ring(Some((&copied, 6)), &at(&[(4, 101), (6, 102)]), |_| None, &gone_none).unwrap();
        assert_eq!(slots(&back), vec![(4, 101), (6, 102)]);
    }

    #[test]
    fn a_claim_changes_its_holder_only_if_that_let_go_is_gone_or_is_unknown() {
        let gone_none = BTreeSet::new();
        let now = ring(&[1, 2], &[3]);
        let silent = |_: InstanceId| None;
        assert!(may_claim(id(1), None, &now, 9, silent, &gone_none));
        assert!(may_claim(id(1), Some(id(1)), &now, 9, silent, &gone_none));
        assert!(!may_claim(id(1), Some(id(2)), &now, 9, silent, &gone_none));
        assert!(!may_claim(id(1), Some(id(3)), &now, 9, |_| Some(8), &gone_none));
        assert!(may_claim(id(1), Some(id(3)), &now, 9, |_| Some(9), &gone_none));
        assert!(may_claim(id(1), Some(id(3)), &now, 9, silent, &BTreeSet::from([id(3)])));
        assert!(may_claim(id(1), Some(id(4)), &now, 9, silent, &gone_none), "in no ring any more");
    }

    #[test]
    fn an_acknowledgement_is_overdue_from_the_first_ring_that_lacks_it() {
        let (ring, at) = (ring(&[1, 2], &[3]), Duration::from_secs);
        let timeout = at(5);
        let acks = |acks: &'static [(u128, i64)]| {
            move |instance| acks.iter().find(|(n, _)| id(*n) == instance).map(|(_, epoch)| *epoch)
        };
        let mut debts = Debts::default();
        debts.look(at(0), &ring, 7, acks(&[(1, 7), (2, 6)]));
        debts.look(at(3), &ring, 8, acks(&[(1, 7), (2, 6)]));
        assert!(debts.overdue(at(4), timeout).is_empty());
        assert_eq!(debts.overdue(at(5), timeout), [id(2), id(3)], "the second ring restarts nothing");
        // Member 2 has acknowledged the first ring; its clock for the later one starts at that observation.
        debts.look(at(6), &ring, 8, acks(&[(1, 8), (2, 7), (3, 8)]));
        assert!(debts.overdue(at(10), timeout).is_empty());
        assert_eq!(debts.overdue(at(11), timeout), [id(2)]);
        debts.look(at(11), &ring, 8, acks(&[(1, 8), (2, 8), (3, 8)]));
        assert!(debts.overdue(at(99), timeout).is_empty());
    }

    #[test]
    fn a_member_is_gone_after_the_wait_unless_it_was_seen_in_between() {
        let ring = ring(&[1, 2], &[]);
        let mut absences = Absences::default();
        let at = Duration::from_millis;
        absences.look(at(0), &ring, |instance| instance == id(1));
        assert!(absences.gone(at(3499), WAIT).is_empty());
        assert_eq!(absences.deadline(at(0), WAIT), Some(at(3500)));
        assert_eq!(absences.gone(at(3500), WAIT), BTreeSet::from([id(2)]));
        absences.look(at(3600), &ring, |_| true);
        absences.look(at(3700), &ring, |instance| instance == id(1));
        assert!(absences.gone(at(7000), WAIT).is_empty());
    }
}
