//! The leader's work. It is the only writer of the ring: a leader is needed to change a ring, never to act.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    id::InstanceId,
    ring::{
        Ring,
        handover::{Debts, next_ring},
    },
};
use keyspace::{
    Expect, key,
    store::Versioned,
    value::{Election, StoredRing},
};

use crate::{
    dangerous::Step,
    membership::Membership,
    mesh::{Inner, Mesh},
};

/// How long an instance may take to release the nodes that a ring takes from it. Then its lease is revoked.
const EVICTION_DELAY: Duration = Duration::from_secs(5);
/// Maximum number of instances whose acknowledgments are deleted in one change.
const MAX_TIDIED: usize = 32;

/// Stands for election if there is no leader. Writes the next ring, evicts and tidies up if this instance leads.
pub(crate) async fn lead(mesh: &Mesh, membership: Membership) -> Result<(), keyspace::Error> {
    let inner = &*mesh.inner;
    let config = &inner.config;
    let (scope, service) = (config.scope, config.service);
    config.safety.reached(Step::BeforeLook).await;
    let gone = gone(inner);
    let election = key::election(scope, service);
    let group = inner.group();
    let Some(leader) = &group.election else { return stand_for_election(mesh, membership).await };
    if leader.value.instance != membership.instance {
        // The next leader counts anew.
        *inner.debts.lock() = Debts::default();
        return Ok(());
    }
    let ring = group.ring.as_deref();
    if let Some(next) = next(inner, ring, &gone) {
        config.safety.reached(Step::BeforeRing).await;
        let (members, leaving) = (next.members.len(), next.leaving.len());
        let change = membership.incarnation.change().expect(&election, Expect::Revision(leader.revision)).put(
            &key::ring(scope, service),
            &StoredRing::after(ring.map(|ring| &ring.value), next, inner.wall_now()),
            Expect::same(ring),
        )?;
        let revision = mesh.store.commit(change).await?;
        config.safety.broken.wrote(revision);
        tracing::info!(%service, members, leaving, "wrote a ring");
        metrics::counter!("mesh_rings_total").increment(1);
        inner.view.reaches(revision).await;
        return Ok(());
    }
    if let Some(ring) = ring {
        evict(mesh, &ring.value.ring, ring.revision).await?;
    }
    tidy(mesh, membership, ring.map(|ring| &ring.value.ring)).await
}

async fn stand_for_election(mesh: &Mesh, membership: Membership) -> Result<(), keyspace::Error> {
    let inner = &*mesh.inner;
    let (scope, service) = (inner.config.scope, inner.config.service);
    let change = membership.change(&inner.config).put_leased(
        &key::election(scope, service),
        &Election { instance: membership.instance },
        Expect::Absent,
        membership.lease,
    )?;
    match mesh.store.commit(change).await {
        Ok(revision) => {
            tracing::info!(instance = %membership.instance, %service, "became the leader");
            inner.view.reaches(revision).await;
            Ok(())
        }
        Err(keyspace::Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The ring that any leader would write next; `None` if the present one is as it should be.
pub(crate) fn next(inner: &Inner, ring: Option<&Versioned<StoredRing>>, gone: &BTreeSet<InstanceId>) -> Option<Ring> {
    // Read after the ring, as what an observer concludes from it must be.
    let group = inner.group();
    let present = group.present();
    let acknowledged = |instance| group.acknowledged(instance);
    let current = ring.map(|ring| (&ring.value.ring, ring.revision));
    if let Some((ring, epoch)) = current
        && let Some(known) = inner.config.safety.broken.forgetful(epoch, ring)
    {
        let next = next_ring(Some((&known, epoch)), &present, acknowledged, gone);
        return next.or_else(|| (known != *ring).then_some(known));
    }
    next_ring(current, &present, acknowledged, gone)
}

/// Revokes the lease of an instance that has not released its nodes in time: it hangs, and its nodes must pass on.
async fn evict(mesh: &Mesh, ring: &Ring, epoch: i64) -> Result<(), keyspace::Error> {
    let inner = &*mesh.inner;
    let (scope, service, now) = (inner.config.scope, inner.config.service, inner.now());
    let group = inner.group();
    let overdue = {
        let mut debts = inner.debts.lock();
        debts.look(now, ring, epoch, |instance| group.acknowledged(instance));
        debts.overdue(now, EVICTION_DELAY)
    };
    for instance in overdue {
        let member = key::member(scope, service, instance);
        if !group.members.contains_key(&instance) {
            continue;
        }
        if let Some(lease) = mesh.store.lease_of(&member).await?.filter(|lease| *lease != 0) {
            tracing::warn!(%instance, %service, epoch, "not released its nodes in time, revoking its lease");
            metrics::counter!("mesh_evicted_total").increment(1);
            mesh.store.revoke(lease).await?;
        }
    }
    Ok(())
}

/// The instances that are gone, as this process has observed: absent for W, or proven dead.
pub(crate) fn gone(inner: &Inner) -> BTreeSet<InstanceId> {
    let safety = &inner.config.safety;
    let group = inner.group();
    let Some(ring) = &group.ring else { return BTreeSet::new() };
    // The clock is read after the view: an instance that is absent in the view is absent now, but perhaps was not before.
    let now = inner.now();
    let mut absences = inner.absences.lock();
    let is_present = |instance| group.members.contains_key(&instance);
    absences.look(safety.broken.absent_since(now), &ring.value.ring, is_present);
    let mut gone = absences.gone(now, safety.times().wait);
    gone.extend(group.dead.iter().copied());
    gone
}

/// Deletes acknowledgments and proofs of death of instances that no ring, member or claim names.
async fn tidy(mesh: &Mesh, membership: Membership, ring: Option<&Ring>) -> Result<(), keyspace::Error> {
    let inner = &*mesh.inner;
    let (scope, service) = (inner.config.scope, inner.config.service);
    let group = inner.group();
    let is_named = |instance: InstanceId| ring.is_some_and(|ring| ring.names(instance));
    let is_stale = |instance: &InstanceId| !group.members.contains_key(instance) && !is_named(*instance);
    let stale: BTreeSet<InstanceId> = group.acks.keys().copied().filter(is_stale).collect();
    if stale.is_empty() {
        return Ok(());
    }
    let claimed: BTreeSet<InstanceId> =
        inner.view.list(&key::claims(scope, service)).iter().map(|(_, claim)| claim.value.instance).collect();
    let (mut change, mut is_empty) = (membership.incarnation.change(), true);
    for instance in stale.difference(&claimed).take(MAX_TIDIED) {
        if let Some(seen) = group.acks.get(instance) {
            let ack = key::ack(scope, service, *instance);
            change = change.delete(&ack, Expect::Revision(seen.revision)).clear(&key::dead(scope, service, *instance));
            is_empty = false;
        }
    }
    if !is_empty {
        mesh.store.commit(change).await?;
    }
    Ok(())
}
