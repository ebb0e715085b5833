//! A member's loop and the leader's work, as `mesh::member` and `mesh::leader` have them, transaction by transaction.

use std::{collections::BTreeMap, collections::BTreeSet, rc::Rc, time::Duration};

use domain::{
    id::{InstanceId, NodeId, SlotId},
    ring::{
        Ring,
        handover::{Presence, next_ring},
    },
};
use keyspace::value::{Ack, Election, Member};
use uuid::Uuid;

use super::{
    bmc::stamp,
    etcd::{Answer, Expect, Key, Request, Value, Write},
    fault::Point,
    process::{Failed, Process, Standing},
    rules::Mutant,
    sim::either,
};

/// How long one keep-alive may take.
const ANSWER: Duration = Duration::from_millis(700);
/// How often the loop looks when nothing wakes it.
const TICK: Duration = Duration::from_millis(250);

struct Beat {
    next: Duration,
    left: Option<Duration>,
}

impl Process {
    /// Keeps this process a member until it is told to stop, then hands over.
    pub(crate) async fn live(self: Rc<Self>) {
        self.reaches(1).await;
        let mut beat = Beat { next: self.clock(), left: None };
        loop {
            match self.standing.get() {
                None => self.join().await,
                Some(standing) => self.turn(standing, &mut beat).await,
            }
            if self.stopping.get() && self.may_leave(&mut beat) {
                break;
            }
            let seen = self.view.borrow().revision;
            let news = self.news.wait(|| (self.view.borrow().revision > seen).then_some(()));
            let _either = either(news, self.sleep(TICK)).await;
        }
        if let Some(standing) = self.standing.get() {
            self.alive.set(None);
            let _answer = self.ask(Request::Revoke(standing.lease), Duration::from_secs(2)).await;
        }
        self.tell(|| "ends".to_owned());
        self.world.ended(&self);
    }

    async fn join(&self) {
        let keeps = self.world.rules.is(Mutant::SameIdentity);
        if !keeps && self.end_work(|_| false) > 0 {
            return;
        }
        let before = self.world.last_of(self.slot);
        let instance = before.filter(|_| keeps).unwrap_or_else(|| self.world.fresh_instance());
        let dead = before.filter(|before| *before != instance && self.world.is_provable(self.slot));
        match self.try_join(instance, dead).await {
            Ok(standing) => {
                self.tell(|| format!("joined as {}", self.world.name_of(instance)));
                if let Some(dead) = dead {
                    self.tell(|| format!("says that {} is dead", self.world.name_of(dead)));
                }
                self.world.note_last(self.slot, instance);
                self.standing.set(Some(standing));
                self.news.ring();
            }
            Err(_) => self.sleep(TICK).await,
        }
    }

    async fn try_join(&self, instance: InstanceId, dead: Option<InstanceId>) -> Result<Standing, Failed> {
        let sent = self.clock();
        let lease = self.grant().await?;
        let key = Key::Member(instance);
        let put = Write::Leased(key, Value::Member(self.member(false)), lease);
        let (mut expects, mut writes) = (vec![Expect::Revision(key, 0)], vec![put]);
        if let Some(before) = dead {
            let (view, dead) = (self.view.borrow(), Key::Dead(before));
            writes.push(Write::Delete(Key::Member(before)));
            if !view.pairs.contains_key(&dead) {
                expects.push(Expect::Revision(dead, 0));
                writes.push(Write::Put(dead, Value::Dead));
            }
            if let Some(revision) = view.led_by(before) {
                expects.push(Expect::Revision(Key::Election, revision));
                writes.push(Write::Delete(Key::Election));
            }
        }
        let created = self.commit(expects, writes).await?;
        self.alive.set(Some(sent));
        if !self.world.rules.is(Mutant::SameIdentity) {
            self.reaches(created).await;
        }
        Ok(Standing { instance, lease, created, acknowledged: 0, stopping: false })
    }

    fn member(&self, stopping: bool) -> Member {
        let since = stamp(self.world.sim.now());
        Member {
            endpoint: String::new(),
            data_endpoint: String::new(),
            ironic_endpoint: String::new(),
            weight: 1,
            slot: Some(SlotId::new(Uuid::from_u128(u128::try_from(self.slot).unwrap_or(0)))),
            stopping,
            since,
        }
    }

    async fn turn(&self, standing: Standing, beat: &mut Beat) {
        if !self.keep(standing, beat).await {
            return;
        }
        if self.stopping.get() && !standing.stopping {
            self.say_stopping(standing).await;
        }
        self.apply_ring().await;
        let _away = self.lead(standing).await;
    }

    /// Keeps the lease; false: the membership is over.
    async fn keep(&self, standing: Standing, beat: &mut Beat) -> bool {
        let now = self.clock();
        let mut lost = self.is_fenced();
        if !lost && now >= beat.next {
            beat.next = now + self.world.times.keep_alive;
            self.point(Point::BeforeKeepAlive).await;
            match self.ask(Request::KeepAlive(standing.lease), ANSWER).await {
                Ok(Answer::Alive(true)) => {
                    self.point(Point::AfterKeepAlive).await;
                    let late = self.world.rules.is(Mutant::FenceFromAnswer);
                    self.alive.set(Some(if late { self.clock() } else { now }));
                }
                Ok(_) => lost = true,
                Err(_) => beat.next = self.clock(),
            }
        }
        let created = self.view.borrow().pairs.get(&Key::Member(standing.instance)).map(|pair| pair.created);
        // A process that has kept its identity does not wait for its view to have its new key.
        let kept = self.world.rules.is(Mutant::SameIdentity) && self.view.borrow().revision < standing.created;
        if !lost && !kept && created != Some(standing.created) {
            lost = true;
        }
        if lost {
            self.tell(|| format!("is fenced and not {} any more", self.world.name_of(standing.instance)));
            self.world.tally.borrow_mut().fenced += 1;
            self.alive.set(None);
            if !self.world.rules.is(Mutant::SameIdentity) {
                self.end_work(|_| false);
            }
            self.standing.set(None);
        }
        !lost
    }

    async fn say_stopping(&self, standing: Standing) {
        let key = Key::Member(standing.instance);
        let seen = self.view.borrow().revision_of(key);
        if seen == 0 {
            return;
        }
        let put = Write::Leased(key, Value::Member(self.member(true)), standing.lease);
        if self.commit(vec![Expect::Revision(key, seen)], vec![put]).await.is_ok() {
            self.update(|standing| standing.stopping = true);
        }
    }

    async fn apply_ring(&self) {
        let Some((standing, (ring, epoch))) = self.standing.get().zip(self.ring()) else { return };
        if !self.world.rules.is(Mutant::EarlyAck) {
            let still = self.end_work(|node| ring.owner(node) == Some(standing.instance));
            if still > 0 {
                return;
            }
        }
        if standing.acknowledged >= epoch {
            return;
        }
        self.point(Point::BeforeAck).await;
        let key = Key::Ack(standing.instance);
        let before = self.view.borrow().revision_of(key);
        let expects =
            vec![Expect::Created(Key::Member(standing.instance), standing.created), Expect::Revision(key, before)];
        if self.commit(expects, vec![Write::Put(key, Value::Ack(Ack { epoch }))]).await.is_ok() {
            self.tell(|| format!("acknowledges ring {epoch}"));
            self.update(|standing| standing.acknowledged = epoch);
        }
    }

    pub(crate) fn ring(&self) -> Option<(Ring, i64)> {
        self.view.borrow().ring().map(|(ring, epoch)| (ring.clone(), epoch))
    }

    fn update(&self, change: impl FnOnce(&mut Standing)) {
        if let Some(mut standing) = self.standing.get() {
            change(&mut standing);
            self.standing.set(Some(standing));
        }
    }

    fn may_leave(&self, beat: &mut Beat) -> bool {
        let left = *beat.left.get_or_insert_with(|| self.clock());
        let patience = self.world.times.wait + self.world.times.lease;
        let Some(standing) = self.standing.get() else { return true };
        let handed_over = self.view.borrow().ring().is_none_or(|(ring, epoch)| {
            !ring.members.contains_key(&standing.instance) && standing.acknowledged >= epoch
        });
        handed_over || self.clock() >= left + patience
    }

    /// Stands for election if there is no leader; writes the next ring where this process leads.
    async fn lead(&self, standing: Standing) -> Result<(), Failed> {
        let gone = self.gone().await;
        let leader = self.view.borrow().pairs.get(&Key::Election).cloned();
        let member = Expect::Created(Key::Member(standing.instance), standing.created);
        let Some(leader) = leader else {
            let election = Value::Election(Election { instance: standing.instance });
            let expects = vec![member, Expect::Revision(Key::Election, 0)];
            let put = Write::Leased(Key::Election, election, standing.lease);
            match self.commit(expects, vec![put]).await {
                Ok(revision) => {
                    self.tell(|| "leads".to_owned());
                    self.reaches(revision).await;
                    return Ok(());
                }
                Err(Failed::Conflict) => return Ok(()),
                Err(error) => return Err(error),
            }
        };
        if !matches!(&leader.value, Value::Election(election) if election.instance == standing.instance) {
            return Ok(());
        }
        let Some((next, epoch)) = self.next_ring(&gone) else { return self.tidy().await };
        self.point(Point::BeforeRing).await;
        let words = self.world.words(&next);
        let expects = vec![Expect::Revision(Key::Election, leader.revision), Expect::Revision(Key::Ring, epoch)];
        let revision = self.commit(expects, vec![Write::Put(Key::Ring, Value::Ring(next))]).await?;
        self.tell(|| format!("writes ring {revision}: {words}"));
        self.world.tally.borrow_mut().rings += 1;
        self.wrote.set(revision);
        self.reaches(revision).await;
        Ok(())
    }

    /// The ring to be written, and the one that it follows.
    pub(crate) fn next_ring(&self, gone: &BTreeSet<InstanceId>) -> Option<(Ring, i64)> {
        let view = self.view.borrow();
        let present: BTreeMap<_, _> = view
            .members()
            .map(|(instance, member)| {
                (instance, Presence { weight: member.weight, stopping: member.stopping, slot: member.slot })
            })
            .collect();
        let acknowledged = |instance| view.acknowledged(instance);
        let Some((ring, epoch)) = view.ring() else {
            return next_ring(None, &present, acknowledged, gone).map(|next| (next, 0));
        };
        if self.world.rules.is(Mutant::LeavingForgotten) && self.wrote.get() != epoch {
            let known = Ring { leaving: BTreeSet::new(), ..ring.clone() };
            let next = next_ring(Some((&known, epoch)), &present, acknowledged, gone);
            return next.or_else(|| (known != *ring).then_some(known)).map(|next| (next, epoch));
        }
        next_ring(Some((ring, epoch)), &present, acknowledged, gone).map(|next| (next, epoch))
    }

    /// Who is gone, as this process has seen it.
    pub(crate) async fn gone(&self) -> BTreeSet<InstanceId> {
        self.point(Point::BeforeLook).await;
        let view = self.view.borrow();
        let Some((ring, _)) = view.ring() else { return BTreeSet::new() };
        // Read after the view: an instance that is missing is missing by now, and perhaps was not before.
        let now = self.clock();
        let since = if self.world.rules.is(Mutant::EarlierSight) { self.looked.get() } else { now };
        self.looked.set(now);
        let mut absences = self.absences.borrow_mut();
        absences.look(since, ring, |instance| view.pairs.contains_key(&Key::Member(instance)));
        let mut gone = absences.gone(now, self.world.times.wait);
        gone.extend(view.pairs.keys().filter_map(|key| if let Key::Dead(dead) = key { Some(*dead) } else { None }));
        gone
    }

    /// Deletes acknowledgements and proofs of death that are not needed any more.
    async fn tidy(&self) -> Result<(), Failed> {
        let (expects, writes) = {
            let view = self.view.borrow();
            let is_named = |instance| view.ring().is_some_and(|(ring, _)| ring.names(instance));
            let has_claim = |instance: InstanceId| {
                let node_of = |key: &Key| if let Key::Claim(node) = key { Some(*node) } else { None };
                let mut claimed = view.pairs.keys().filter_map(node_of).filter_map(|node: NodeId| view.claim(node));
                claimed.any(|(claim, _)| claim.instance == instance)
            };
            let (mut expects, mut writes) = (Vec::new(), Vec::new());
            for (key, pair) in &view.pairs {
                let Key::Ack(instance) = *key else { continue };
                let is_present = view.pairs.contains_key(&Key::Member(instance));
                if !is_present && !is_named(instance) && !has_claim(instance) {
                    expects.push(Expect::Revision(*key, pair.revision));
                    writes.extend([Write::Delete(*key), Write::Delete(Key::Dead(instance))]);
                }
            }
            (expects, writes)
        };
        if !writes.is_empty() {
            self.commit(expects, writes).await?;
        }
        Ok(())
    }
}
