//! The life of a member: it joins, keeps its lease, applies rings, leads where that is its turn, and hands over.

use std::{collections::VecDeque, sync::PoisonError, time::Duration};

use domain::{
    id::{InstanceId, SeatId},
    ring::handover::{Absences, Debts},
};
use keyspace::{
    Expect, key,
    value::{Ack, Member},
    view::{News, Subscription},
};
use service_kit::{Host, clock};
use tokio_util::sync::CancellationToken;

use super::{Mesh, Places, Standing};
use crate::{Lock, Why, leader, proof, root::Root};

/// How long one keep-alive may take (DESIGN §5).
pub(crate) const ANSWER: Duration = Duration::from_millis(700);
/// How often the loop looks when nothing wakes it.
const TICK: Duration = Duration::from_millis(250);
/// Tries to join whose outcome is not known and that are remembered; the lease of any before them has run out.
const TRIES: usize = 16;

impl Mesh {
    /// Keeps this process a member until the host stops, then hands over. Run it as a vital task.
    pub async fn live(self, host: Host, mut lock: Lock) {
        let left = CancellationToken::new();
        let _left = left.clone().drop_guard();
        let writing = self.clone();
        host.spawn_essential("journals", async move { writing.inner.together.write(&writing.inner.store, left).await });
        let mut beat = Beat { next: self.now(), space: self.now(), left: None };
        let mut tried = VecDeque::new();
        let mut news = self.inner.view.subscribe();
        loop {
            self.look_for_space(&mut beat.space).await;
            match self.standing() {
                None => self.join(&mut lock, &mut tried).await,
                Some(standing) => self.turn(standing, &mut beat, &host).await,
            }
            if host.is_stopping() && self.may_leave(&mut beat) {
                break;
            }
            tokio::select! {
                () = of_mesh(&mut news) => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
        if let Some(standing) = self.standing() {
            self.inner.fence.give_up();
            if let Err(error) = self.inner.store.revoke(standing.lease).await {
                tracing::debug!(error = %service_kit::status::chain(&error), "the lease runs out by itself");
            }
        }
    }

    async fn join(&self, lock: &mut Lock, tried: &mut VecDeque<InstanceId>) {
        let setting = &self.inner.setting;
        // What is wrong with the store must be put right first: nobody becomes a member of a restored backup.
        if self.inner.stakes.end(|_| false) > 0 || self.trouble().is_some() {
            return;
        }
        self.forget();
        let instance = InstanceId::new(uuid::Uuid::new_v4());
        match self.try_join(instance, lock, tried).await {
            Ok(standing) => {
                tracing::info!(instance = %instance, service = %setting.service, "joined");
                lock.note(instance);
                tried.clear();
                self.inner.standing.send_replace(Some(standing));
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
        lock: &Lock,
        tried: &VecDeque<InstanceId>,
    ) -> Result<Standing, keyspace::Error> {
        let (inner, setting) = (&self.inner, &self.inner.setting);
        let seconds = i64::try_from(setting.footing.times.lease.as_secs()).unwrap_or(i64::MAX);
        let sent = self.now();
        let lease = inner.store.grant(seconds).await?;
        let root = Root::of(&inner.view);
        let own = key::member(setting.scope, setting.service, instance);
        let mut change = root.change().put_leased(&own, &self.member(lock.seat(), false), Expect::Absent, lease)?;
        if let Some(before) = lock.before() {
            change = proof::succeeds(change, &inner.view, (setting.scope, setting.service), before)?;
        }
        // What was tried and not answered may have been written all the same: a member that nobody is.
        for tried in tried {
            change = change.clear(&key::member(setting.scope, setting.service, *tried));
        }
        let created = inner.store.commit(change).await?;
        inner.fence.keep(sent);
        inner.view.reaches(created).await;
        Ok(Standing { instance, lease, created, root, acknowledged: 0, stopping: false, seat: lock.seat() })
    }

    fn member(&self, seat: SeatId, stopping: bool) -> Member {
        let Places { endpoint, data_endpoint, ironic_endpoint } = self.inner.setting.places.clone();
        Member { endpoint, data_endpoint, ironic_endpoint, weight: 1, seat: Some(seat), stopping, since: clock::now() }
    }

    /// What was counted of others, in whatever life of the store, is counted anew.
    fn forget(&self) {
        *self.inner.absences.lock().unwrap_or_else(PoisonError::into_inner) = Absences::default();
        *self.inner.debts.lock().unwrap_or_else(PoisonError::into_inner) = Debts::default();
    }

    /// One round of a member: keep the lease, apply the ring, lead where that is ours.
    async fn turn(&self, standing: Standing, beat: &mut Beat, host: &Host) {
        if !self.keep(standing, beat).await {
            return;
        }
        if host.is_stopping() && !standing.stopping {
            self.say_stopping(standing).await;
        }
        self.apply_ring().await;
        if let Err(error) = leader::lead(&self.inner, standing).await {
            tracing::debug!(error = %service_kit::status::chain(&error), "cannot lead now");
        }
    }

    /// Keeps the lease; false: the membership is over.
    async fn keep(&self, standing: Standing, beat: &mut Beat) -> bool {
        let (inner, now) = (&self.inner, self.now());
        let member = key::member(inner.setting.scope, inner.setting.service, standing.instance);
        let mut lost = inner.fence.is_up();
        if !lost && now >= beat.next {
            beat.next = now + inner.setting.footing.times.keep_alive;
            match inner.store.keep_alive(standing.lease, ANSWER).await {
                Ok(true) => inner.fence.keep(now),
                Ok(false) => lost = true,
                Err(error) => {
                    beat.next = self.now();
                    tracing::warn!(error = %service_kit::status::chain(&error), "a keep-alive was not answered");
                }
            }
        }
        // A key can vanish although its lease is kept: etcd's own bugs, a revoke by hand.
        if !lost && inner.view.get(&member).is_none_or(|seen| seen.created != standing.created) {
            tracing::warn!(instance = %standing.instance, "the member key is gone");
            lost = true;
        }
        if !lost && (Root::of(&inner.view) != standing.root || matches!(self.trouble(), Some(Why::WentBack(_)))) {
            tracing::warn!(instance = %standing.instance, "the store is in another life than this membership");
            lost = true;
        }
        if lost {
            tracing::warn!(instance = %standing.instance, "fenced: ending all work, then joining anew");
            metrics::counter!("mesh_fenced_total").increment(1);
            inner.fence.give_up();
            inner.stakes.end(|_| false);
            inner.written.clear();
            inner.standing.send_replace(None);
        }
        !lost
    }

    async fn say_stopping(&self, standing: Standing) {
        let (inner, setting) = (&self.inner, &self.inner.setting);
        let member = key::member(setting.scope, setting.service, standing.instance);
        let Some(seen) = inner.view.get(&member) else { return };
        let change = standing.root.change().put_leased(
            &member,
            &self.member(standing.seat, true),
            Expect::Revision(seen.revision),
            standing.lease,
        );
        let outcome = match change {
            Ok(change) => inner.store.commit(change).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(_) => self.update(|standing| standing.stopping = true),
            Err(error) => tracing::warn!(error = %service_kit::status::chain(&error), "cannot say that it stops"),
        }
    }

    async fn apply_ring(&self) {
        let (Some(ring), Some(standing)) = (self.ring(), self.standing()) else { return };
        let (inner, setting) = (&self.inner, &self.inner.setting);
        let still = inner.stakes.end(|node| ring.value.ring.owner(node) == Some(standing.instance));
        inner.stakes.end_broken(|node| {
            let claim = inner.view.get(&key::claim(setting.scope, setting.service, node))?;
            claim.value.broken.is_some().then_some(claim.revision)
        });
        if still > 0 || standing.acknowledged >= ring.revision {
            return;
        }
        let ack = key::ack(setting.scope, setting.service, standing.instance);
        let expect = Expect::same(inner.view.get(&ack).as_ref());
        let change = standing.change(setting).put(&ack, &Ack { epoch: ring.revision }, expect);
        let outcome = match change {
            Ok(change) => inner.store.commit(change).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(_) => {
                inner.written.clear();
                self.update(|standing| standing.acknowledged = ring.revision);
            }
            Err(error) => tracing::debug!(error = %service_kit::status::chain(&error), "cannot acknowledge the ring"),
        }
    }

    fn update(&self, change: impl FnOnce(&mut Standing)) {
        self.inner.standing.send_modify(|standing| {
            if let Some(standing) = standing {
                change(standing);
            }
        });
    }

    /// Whether a stopping process may end: it handed over, or has waited long enough for that.
    fn may_leave(&self, beat: &mut Beat) -> bool {
        let left = *beat.left.get_or_insert_with(|| self.now());
        let patience = self.times().wait + self.times().lease;
        let Some(standing) = self.standing() else { return true };
        let handed_over = self.ring().is_none_or(|ring| {
            !ring.value.ring.members.contains_key(&standing.instance) && standing.acknowledged >= ring.revision
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
