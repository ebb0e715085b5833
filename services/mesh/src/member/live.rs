//! The life of a member: it joins, keeps its lease, applies rings, leads where that is its turn, and hands over.

use std::{collections::VecDeque, sync::PoisonError, time::Duration};

use domain::{
    id::{InstanceId, SlotId},
    ring::handover::{Absences, Debts},
};
use keyspace::{
    Expect, key,
    value::{Ack, Member},
    view::{News, Subscription},
};
use service_kit::{Host, clock};
use tokio_util::sync::CancellationToken;

use super::{Endpoints, Membership, Mesh};
use crate::{DataDirLock, IslandReason, death_proof, leader, store_incarnation::StoreIncarnation};

/// How long one keep-alive may take (DESIGN §5).
pub(crate) const ANSWER: Duration = Duration::from_millis(700);
/// How often the loop looks when nothing wakes it.
const TICK: Duration = Duration::from_millis(250);
/// Tries to join whose outcome is not known and that are remembered; the lease of any before them has run out.
const TRIES: usize = 16;

impl Mesh {
    /// Keeps this process a member until the host stops, then hands over. Run it as a vital task.
    pub async fn live(self, host: Host, mut lock: DataDirLock) {
        let left = CancellationToken::new();
        let _left = left.clone().drop_guard();
        let writing = self.clone();
        host.spawn_essential(
            "journals",
            async move { writing.inner.group_commit.write(&writing.inner.store, left).await },
        );
        let mut beat = Beat { next: self.now(), space: self.now(), left: None };
        let mut tried = VecDeque::new();
        let mut news = self.inner.view.subscribe();
        loop {
            self.look_for_space(&mut beat.space).await;
            match self.membership() {
                None => self.join(&mut lock, &mut tried).await,
                Some(membership) => self.turn(membership, &mut beat, &host).await,
            }
            if host.is_stopping() && self.may_leave(&mut beat) {
                break;
            }
            tokio::select! {
                () = of_mesh(&mut news) => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
        if let Some(membership) = self.membership() {
            self.inner.fence.give_up();
            if let Err(error) = self.inner.store.revoke(membership.lease).await {
                tracing::debug!(error = %service_kit::status::chain(&error), "the lease runs out by itself");
            }
        }
    }

    async fn join(&self, lock: &mut DataDirLock, tried: &mut VecDeque<InstanceId>) {
        let config = &self.inner.config;
        // What is wrong with the store must be put right first: nobody becomes a member of a restored backup.
        if self.inner.guards.end(|_| false) > 0 || self.trouble().is_some() {
            return;
        }
        self.forget();
        let instance = InstanceId::new(uuid::Uuid::new_v4());
        match self.try_join(instance, lock, tried).await {
            Ok(membership) => {
                tracing::info!(instance = %instance, service = %config.service, "joined");
                lock.note(instance);
                tried.clear();
                self.inner.membership.send_replace(Some(membership));
            }
            Err(error) => {
                tracing::warn!(error = %service_kit::status::chain(&error), "cannot join");
                tried.push_back(instance);
                if tried.len() > TRIES {
                    tried.pop_front();
                }
                tokio::time::sleep(TICK).await;
            }
        }
    }

    async fn try_join(
        &self,
        instance: InstanceId,
        lock: &DataDirLock,
        tried: &VecDeque<InstanceId>,
    ) -> Result<Membership, keyspace::Error> {
        let (inner, config) = (&self.inner, &self.inner.config);
        let seconds = i64::try_from(config.safety.times.lease.as_secs()).unwrap_or(i64::MAX);
        let sent = self.now();
        let lease = inner.store.grant(seconds).await?;
        let incarnation = StoreIncarnation::of(&inner.view);
        let own = key::member(config.scope, config.service, instance);
        let mut change =
            incarnation.change().put_leased(&own, &self.member(lock.slot(), false), Expect::Absent, lease)?;
        if let Some(before) = lock.before() {
            change = death_proof::succeeds(change, &inner.view, (config.scope, config.service), before)?;
        }
        // What was tried and not answered may have been written all the same: a member that nobody is.
        for tried in tried {
            change = change.clear(&key::member(config.scope, config.service, *tried));
        }
        let created = inner.store.commit(change).await?;
        inner.fence.keep(sent);
        inner.view.reaches(created).await;
        Ok(Membership { instance, lease, created, incarnation, acknowledged: 0, stopping: false, slot: lock.slot() })
    }

    fn member(&self, slot: SlotId, stopping: bool) -> Member {
        let Endpoints { endpoint, data_endpoint, ironic_endpoint } = self.inner.config.endpoints.clone();
        Member { endpoint, data_endpoint, ironic_endpoint, weight: 1, slot: Some(slot), stopping, since: clock::now() }
    }

    /// What was counted of others, in whatever life of the store, is counted anew.
    fn forget(&self) {
        *self.inner.absences.lock().unwrap_or_else(PoisonError::into_inner) = Absences::default();
        *self.inner.debts.lock().unwrap_or_else(PoisonError::into_inner) = Debts::default();
    }

    /// One round of a member: keep the lease, apply the ring, lead where that is ours.
    async fn turn(&self, membership: Membership, beat: &mut Beat, host: &Host) {
        if !self.keep(membership, beat).await {
            return;
        }
        if host.is_stopping() && !membership.stopping {
            self.say_stopping(membership).await;
        }
        self.apply_ring().await;
        if let Err(error) = leader::lead(&self.inner, membership).await {
            tracing::debug!(error = %service_kit::status::chain(&error), "cannot lead now");
        }
    }

    /// Keeps the lease; false: the membership is over.
    async fn keep(&self, membership: Membership, beat: &mut Beat) -> bool {
        let (inner, now) = (&self.inner, self.now());
        let member = key::member(inner.config.scope, inner.config.service, membership.instance);
        let mut lost = inner.fence.is_up();
        if !lost && now >= beat.next {
            beat.next = now + inner.config.safety.times.keep_alive;
            match inner.store.keep_alive(membership.lease, ANSWER).await {
                Ok(true) => inner.fence.keep(now),
                Ok(false) => lost = true,
                Err(error) => {
                    beat.next = self.now();
                    tracing::warn!(error = %service_kit::status::chain(&error), "a keep-alive was not answered");
                }
            }
        }
        // A key can vanish although its lease is kept: etcd's own bugs, a revoke by hand.
        if !lost && inner.view.get(&member).is_none_or(|seen| seen.created != membership.created) {
            tracing::warn!(instance = %membership.instance, "the member key is gone");
            lost = true;
        }
        if !lost
            && (StoreIncarnation::of(&inner.view) != membership.incarnation
                || matches!(self.trouble(), Some(IslandReason::RestoredBackup(_))))
        {
            tracing::warn!(instance = %membership.instance, "the store is in another life than this membership");
            lost = true;
        }
        if lost {
            tracing::warn!(instance = %membership.instance, "fenced: ending all work, then joining anew");
            metrics::counter!("mesh_fenced_total").increment(1);
            inner.fence.give_up();
            inner.guards.end(|_| false);
            inner.written.clear();
            inner.membership.send_replace(None);
        }
        !lost
    }

    async fn say_stopping(&self, membership: Membership) {
        let (inner, config) = (&self.inner, &self.inner.config);
        let member = key::member(config.scope, config.service, membership.instance);
        let Some(seen) = inner.view.get(&member) else { return };
        let change = membership.incarnation.change().put_leased(
            &member,
            &self.member(membership.slot, true),
            Expect::Revision(seen.revision),
            membership.lease,
        );
        let outcome = match change {
            Ok(change) => inner.store.commit(change).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(_) => self.update(|membership| membership.stopping = true),
            Err(error) => tracing::warn!(error = %service_kit::status::chain(&error), "cannot say that it stops"),
        }
    }

    async fn apply_ring(&self) {
        let (Some(ring), Some(membership)) = (self.ring(), self.membership()) else { return };
        let (inner, config) = (&self.inner, &self.inner.config);
        let still = inner.guards.end(|node| ring.value.ring.owner(node) == Some(membership.instance));
        inner.guards.end_broken(|node| {
            let claim = inner.view.get(&key::claim(config.scope, config.service, node))?;
            claim.value.broken.is_some().then_some(claim.revision)
        });
        if still > 0 || membership.acknowledged >= ring.revision {
            return;
        }
        let ack = key::ack(config.scope, config.service, membership.instance);
        let expect = Expect::same(inner.view.get(&ack).as_ref());
        let change = membership.change(config).put(&ack, &Ack { epoch: ring.revision }, expect);
        let outcome = match change {
            Ok(change) => inner.store.commit(change).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(_) => {
                inner.written.clear();
                self.update(|membership| membership.acknowledged = ring.revision);
            }
            Err(error) => tracing::debug!(error = %service_kit::status::chain(&error), "cannot acknowledge the ring"),
        }
    }

    fn update(&self, change: impl FnOnce(&mut Membership)) {
        self.inner.membership.send_modify(|membership| {
            if let Some(membership) = membership {
                change(membership);
            }
        });
    }

    /// Whether a stopping process may end: it handed over, or has waited long enough for that.
    fn may_leave(&self, beat: &mut Beat) -> bool {
        let left = *beat.left.get_or_insert_with(|| self.now());
        let patience = self.times().wait + self.times().lease;
        let Some(membership) = self.membership() else { return true };
        let handed_over = self.ring().is_none_or(|ring| {
            !ring.value.ring.members.contains_key(&membership.instance) && membership.acknowledged >= ring.revision
        });
        handed_over || self.now() >= left + patience
    }
}

/// Waits for news of who is there, leads and owns: a round for each change of a node would be most of what a service
/// does.
async fn of_mesh(news: &mut Subscription) {
    while let Some(News::Path(path)) = news.next().await {
        if key::is_of_mesh(&path) {
            return;
        }
    }
}

struct Beat {
    next: Duration,
    /// When it is looked next whether a full store has space again.
    space: Duration,
    left: Option<Duration>,
}
