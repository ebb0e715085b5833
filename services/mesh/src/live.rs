//! The life of a member: it joins, keeps its lease alive, applies rings, leads if it is elected, and hands over.

use std::{collections::VecDeque, time::Duration};

use domain::{
    id::InstanceId,
    ring::handover::{Absences, Debts},
};
use keyspace::{
    Expect, key,
    value::{Ack, Member},
    view::{News, Subscription},
};
use service_kit::{Host, status::chain};

use crate::{
    dangerous::{DangerousRule, Step},
    death_proof::{self, DataDirLock},
    island::IslandReason,
    leader,
    membership::Membership,
    mesh::Mesh,
    store_incarnation::StoreIncarnation,
};

/// How long one keep-alive may take before the next one is sent to another member of etcd.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(700);
/// How often the loop runs if no change of the mesh wakes it.
const TICK: Duration = Duration::from_millis(250);
/// Pause before a keep-alive that one member of etcd did not answer is sent to the next one.
const NEXT_MEMBER_DELAY: Duration = Duration::from_millis(10);
/// How often it is checked whether the sealing keys have changed.
const KEY_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Number of failed attempts to join that are remembered. The lease of any earlier one has expired.
const REMEMBERED_ATTEMPTS: usize = 16;

/// When the loop does what it does by time.
struct Schedule {
    keep_alive: Duration,
    /// When a full store is next asked whether it has space.
    look_for_space: Duration,
    /// When the process was first seen to be stopping.
    stopping_since: Option<Duration>,
    /// When it is next checked whether the sealing keys have changed.
    check_keys: Duration,
    /// Number of keep-alives in a row that were not answered.
    unanswered: usize,
}

/// Returns how long the loop waits for a change. After a keep-alive that was not answered each further member of etcd is
/// asked at once: the fence leaves time for two that are silent before the third. Once all were asked it waits as always.
const fn pause(unanswered: usize, members: usize) -> Duration {
    if members == 0 || unanswered.is_multiple_of(members) { TICK } else { NEXT_MEMBER_DELAY }
}

impl Schedule {
    /// Returns whether it is time to check the sealing keys. The view may not show yet what was just published.
    fn is_time_to_publish(&mut self, now: Duration) -> bool {
        let is_due = now >= self.check_keys;
        if is_due {
            self.check_keys = now + KEY_CHECK_INTERVAL;
        }
        is_due
    }
}

impl Mesh {
    /// Keeps this process a member until the host stops, then hands over. Run it as an essential task.
    ///
    /// Journal writes are committed beside the loop, in the same task. The loop itself never waits for work in flight.
    pub async fn live(self, host: Host, lock: DataDirLock) {
        tokio::select! {
            biased;
            () = self.keep_membership(&host, lock) => {}
            () = self.commit_journals() => {}
        }
    }

    async fn commit_journals(&self) {
        self.inner.group_commit.run(&self.store).await;
        // Only a second call for the same instance gets here. The membership does not end with it.
        std::future::pending::<()>().await;
    }

    async fn keep_membership(&self, host: &Host, mut lock: DataDirLock) {
        let now = self.now();
        let mut schedule =
            Schedule { keep_alive: now, look_for_space: now, stopping_since: None, check_keys: now, unanswered: 0 };
        let mut attempts = VecDeque::new();
        let mut news = self.inner.view.subscribe();
        loop {
            self.look_for_space(&mut schedule.look_for_space).await;
            match self.membership() {
                None => self.join(&mut lock, &mut attempts).await,
                Some(membership) => self.round(membership, &mut schedule, host).await,
            }
            if host.is_stopping() && self.may_leave(&mut schedule) {
                break;
            }
            let pause = pause(schedule.unanswered, self.store.members_count());
            tokio::select! {
                biased;
                () = mesh_change(&mut news) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        if let Some(membership) = self.membership() {
            self.inner.fence.give_up();
            if let Err(error) = self.store.revoke(membership.lease).await {
                tracing::debug!(error = %chain(&error), "cannot revoke the lease, it will expire");
            }
        }
    }

    async fn join(&self, lock: &mut DataDirLock, attempts: &mut VecDeque<InstanceId>) {
        let config = &self.inner.config;
        let keeps_identity = config.safety.broken.is(DangerousRule::SameIdentity);
        // All work of the earlier instance must have ended. A process does not join a restored backup or a full store.
        if (!keeps_identity && self.inner.work.end(|_| false) > 0) || self.store_trouble().is_some() {
            return;
        }
        // A new instance, and a new leader, counts anew.
        *self.inner.absences.lock() = Absences::default();
        *self.inner.debts.lock() = Debts::default();
        let kept = lock.last().filter(|_| keeps_identity);
        let instance = kept.unwrap_or_else(|| config.safety.new_instance_id());
        match self.try_join(instance, lock, attempts).await {
            Ok(membership) => {
                tracing::info!(%instance, service = %config.service, "joined");
                lock.note(instance);
                attempts.clear();
                self.inner.membership.send_replace(Some(membership));
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "cannot join");
                attempts.push_back(instance);
                if attempts.len() > REMEMBERED_ATTEMPTS {
                    attempts.pop_front();
                }
                tokio::time::sleep(TICK).await;
            }
        }
    }

    async fn try_join(
        &self,
        instance: InstanceId,
        lock: &DataDirLock,
        attempts: &VecDeque<InstanceId>,
    ) -> Result<Membership, keyspace::Error> {
        let (inner, config) = (&self.inner, &self.inner.config);
        let seconds = i64::try_from(config.safety.times().lease.as_secs()).unwrap_or(i64::MAX);
        let sent = self.now();
        let lease = self.store.grant(seconds).await?;
        let incarnation = StoreIncarnation::of(&inner.view);
        let own = key::member(config.scope, config.service, instance);
        let member = config.member(lock.slot(), false);
        let mut change = incarnation.change().put_leased(&own, &member, Expect::Absent, lease)?;
        if let Some(before) = lock.proven_dead().filter(|before| *before != instance) {
            let group = death_proof::Group { scope: config.scope, service: config.service };
            change = death_proof::succeed(change, &inner.view, group, before, inner.wall_now())?;
        }
        // An attempt that was not answered may have been written: a member without a process.
        for attempt in attempts.iter().filter(|attempt| **attempt != instance) {
            change = change.clear(&key::member(config.scope, config.service, *attempt));
        }
        let created = self.store.commit(change).await?;
        inner.fence.keep(sent);
        if !config.safety.broken.is(DangerousRule::SameIdentity) {
            inner.view.reaches(created).await;
        }
        let slot = lock.slot();
        Ok(Membership { instance, lease, created, incarnation, acknowledged: 0, stopping: false, slot })
    }

    /// One round of a member: keep the lease alive, apply the ring, lead if elected.
    async fn round(&self, membership: Membership, schedule: &mut Schedule, host: &Host) {
        if !self.keep_lease(membership, schedule).await {
            return;
        }
        if host.is_stopping() && !membership.stopping {
            self.publish_stopping(membership).await;
        } else if !membership.stopping && schedule.is_time_to_publish(self.now()) {
            self.publish_sealing_keys(membership).await;
        }
        self.apply_ring().await;
        if let Err(error) = leader::lead(self, membership).await {
            tracing::debug!(error = %chain(&error), "cannot lead now");
        }
    }

    /// Keeps the lease alive. Returns `false` if the membership has ended.
    async fn keep_lease(&self, membership: Membership, schedule: &mut Schedule) -> bool {
        let (inner, safety, now) = (&self.inner, &self.inner.config.safety, self.now());
        let mut lost = inner.fence.is_up();
        if !lost && now >= schedule.keep_alive {
            schedule.keep_alive = now + safety.times().keep_alive;
            safety.reached(Step::BeforeKeepAlive).await;
            match self.store.keep_alive(membership.lease, KEEP_ALIVE_TIMEOUT).await {
                Ok(true) => {
                    schedule.unanswered = 0;
                    safety.reached(Step::AfterKeepAlive).await;
                    // F counts from the send time: the store cannot have renewed the lease earlier.
                    let from_answer = safety.broken.is(DangerousRule::FenceFromAnswer);
                    inner.fence.keep(if from_answer { self.now() } else { now });
                }
                Ok(false) => lost = true,
                Err(error) => {
                    schedule.keep_alive = self.now();
                    schedule.unanswered += 1;
                    tracing::warn!(error = %chain(&error), "keep-alive was not answered");
                }
            }
        }
        lost = lost || self.is_key_lost(membership) || self.is_store_replaced(membership);
        if lost {
            tracing::warn!(instance = %membership.instance, "fenced: ending all work, then joining as a new instance");
            metrics::counter!("mesh_fenced_total").increment(1);
            self.end_membership();
        }
        !lost
    }

    /// Fences this process and ends all its work; what it does next is to join as a new instance.
    pub(crate) fn end_membership(&self) {
        let inner = &self.inner;
        inner.fence.give_up();
        if !inner.config.safety.broken.is(DangerousRule::SameIdentity) {
            inner.work.end(|_| false);
        }
        inner.journals.clear();
        inner.membership.send_replace(None);
    }

    /// Returns whether the member key is gone. It can vanish while its lease lives: by a bug of etcd, or by hand.
    fn is_key_lost(&self, membership: Membership) -> bool {
        let (inner, config) = (&self.inner, &self.inner.config);
        if config.safety.broken.is(DangerousRule::SameIdentity) && inner.view.freshness().revision < membership.created
        {
            return false;
        }
        let group = inner.group();
        let is_lost = group.members.get(&membership.instance).is_none_or(|seen| seen.created != membership.created);
        if is_lost {
            tracing::warn!(instance = %membership.instance, "the member key is gone");
        }
        is_lost
    }

    fn is_store_replaced(&self, membership: Membership) -> bool {
        let is_replaced = StoreIncarnation::of(&self.inner.view) != membership.incarnation
            || matches!(self.store_trouble(), Some(IslandReason::RestoredBackup(_)));
        if is_replaced {
            tracing::warn!(instance = %membership.instance, "the store is not the incarnation that was joined");
        }
        is_replaced
    }

    async fn publish_stopping(&self, membership: Membership) {
        let Some(seen) = self.inner.group().members.get(&membership.instance).cloned() else { return };
        match self.publish(membership, &self.inner.config.member(membership.slot, true), seen.revision).await {
            Ok(_) => self.update(|membership| membership.stopping = true),
            Err(error) => tracing::warn!(error = %chain(&error), "cannot publish that this instance is stopping"),
        }
    }

    /// Publishes which sealing keys this process uses, if they have changed.
    async fn publish_sealing_keys(&self, membership: Membership) {
        let Some(seen) = self.inner.group().members.get(&membership.instance).cloned() else { return };
        let Some(sealer) = &self.inner.config.sealer else { return };
        let sealing_keys = sealer.states();
        if seen.value.sealing_keys == sealing_keys {
            return;
        }
        let member = Member { sealing_keys, ..seen.value };
        if let Err(error) = self.publish(membership, &member, seen.revision).await {
            tracing::warn!(error = %chain(&error), "cannot publish the changed sealing keys, will retry");
        }
    }

    /// Writes the member record again.
    async fn publish(&self, membership: Membership, member: &Member, seen: i64) -> Result<i64, keyspace::Error> {
        let config = &self.inner.config;
        let own = key::member(config.scope, config.service, membership.instance);
        let change = membership.incarnation.change().put_leased(&own, member, Expect::Revision(seen), membership.lease);
        self.store.commit(change?).await
    }

    async fn apply_ring(&self) {
        let (Some(ring), Some(membership)) = (self.ring(), self.membership()) else { return };
        let (inner, config) = (&self.inner, &self.inner.config);
        config.safety.broken.saw(ring.revision, &ring.value.ring);
        let is_early = config.safety.broken.is(DangerousRule::EarlyAck);
        let still_working =
            if is_early { 0 } else { inner.work.end(|node| ring.value.ring.owner(node) == Some(membership.instance)) };
        inner.work.end_broken(|node| {
            let claim = inner.view.get(&key::claim(config.scope, config.service, node))?;
            claim.value.broken.is_some().then_some(claim.revision)
        });
        if still_working > 0 || membership.acknowledged >= ring.revision {
            return;
        }
        config.safety.reached(Step::BeforeAck).await;
        let ack = key::ack(config.scope, config.service, membership.instance);
        let expect = Expect::same(inner.group().acks.get(&membership.instance));
        let change = membership.change(config).put(&ack, &Ack { epoch: ring.revision }, expect);
        let outcome = match change {
            Ok(change) => self.store.commit(change).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(_) => {
                inner.journals.clear();
                self.update(|membership| membership.acknowledged = ring.revision);
            }
            Err(error) => tracing::debug!(error = %chain(&error), "cannot acknowledge the ring"),
        }
    }

    fn update(&self, change: impl FnOnce(&mut Membership)) {
        self.inner.membership.send_modify(|membership| {
            if let Some(membership) = membership {
                change(membership);
            }
        });
    }

    /// Returns whether a stopping process may end: it has handed over, or has waited long enough for that.
    fn may_leave(&self, schedule: &mut Schedule) -> bool {
        let since = *schedule.stopping_since.get_or_insert_with(|| self.now());
        let timeout = self.times().wait + self.times().lease;
        let Some(membership) = self.membership() else { return true };
        let has_handed_over = self.ring().is_none_or(|ring| {
            !ring.value.ring.members.contains_key(&membership.instance) && membership.acknowledged >= ring.revision
        });
        has_handed_over || self.now() >= since + timeout
    }
}

/// Waits for a change of members, leadership, rings or claims. Waking for every change of a node would make most of a
/// service's work.
async fn mesh_change(news: &mut Subscription) {
    while let Some(News::Path(path)) = news.next().await {
        if key::is_of_mesh(&path) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_further_member_of_etcd_is_asked_at_once_and_then_the_loop_waits() {
        // Keep-alives in a row that were not answered, the number of members, and the pause.
        let table = [
            (0, 1, TICK),
            (1, 1, TICK),
            (0, 3, TICK),
            (1, 3, NEXT_MEMBER_DELAY),
            (2, 3, NEXT_MEMBER_DELAY),
            (3, 3, TICK),
            (4, 3, NEXT_MEMBER_DELAY),
            (1, 0, TICK),
        ];
        for (unanswered, members, expected) in table {
            assert_eq!(pause(unanswered, members), expected, "{unanswered} of {members}");
        }
    }

    #[test]
    fn the_fence_leaves_time_for_a_third_member_after_two_that_are_silent() {
        let times = domain::ring::fence::Times::default();
        let third = times.keep_alive + (KEEP_ALIVE_TIMEOUT + NEXT_MEMBER_DELAY) * 2;
        // A member that answers does so within a few milliseconds; the tick is what the loop may be late by.
        assert!(third + TICK < times.fence, "{third:?}");
    }
}
