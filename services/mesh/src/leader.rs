//! The leader's work: the only writer of the ring. A leader is needed to change a ring, never to act.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
    time::Duration,
};

use domain::{
    id::InstanceId,
    ring::{
        Ring,
        handover::{Debts, Presence, next_ring},
    },
};
use keyspace::{
    Expect, key,
    store::Versioned,
    value::{Election, StoredRing},
};
use service_kit::clock;

use crate::member::{Inner, Membership};

/// How long an instance may take to let go of the nodes that a ring takes from it (DESIGN §5).
const LETTING_GO: Duration = Duration::from_secs(5);

/// Stands for election where nobody leads; writes the next ring and tidies up where this instance leads.
pub(crate) async fn lead(inner: &Inner, membership: Membership) -> Result<(), keyspace::Error> {
    let (scope, service) = (inner.config.scope, inner.config.service);
    let election = key::election(scope, service);
    let gone = gone(inner);
    let Some(leader) = inner.view.get(&election) else {
        let change = membership.change(&inner.config).put_leased(
            &election,
            &Election { instance: membership.instance },
            Expect::Absent,
            membership.lease,
        )?;
        return match inner.store.commit(change).await {
            Ok(revision) => {
                tracing::info!(instance = %membership.instance, %service, "leads");
                inner.view.reaches(revision).await;
                Ok(())
            }
            Err(keyspace::Error::Conflict) => Ok(()),
            Err(error) => Err(error),
        };
    };
    if leader.value.instance != membership.instance {
        // Whoever leads next counts anew.
        *inner.debts.lock().unwrap_or_else(PoisonError::into_inner) = Debts::default();
        return Ok(());
    }
    let ring = inner.view.get(&key::ring(scope, service));
    if let Some(next) = next(inner, ring.as_ref(), &gone) {
        let (members, leaving) = (next.members.len(), next.leaving.len());
        let change = membership.incarnation.change().expect(&election, Expect::Revision(leader.revision)).put(
            &key::ring(scope, service),
            &StoredRing::after(ring.as_ref().map(|ring| &ring.value), next, clock::now()),
            Expect::same(ring.as_ref()),
        )?;
        let revision = inner.store.commit(change).await?;
        tracing::info!(%service, members, leaving, "wrote a ring");
        metrics::counter!("mesh_rings_total").increment(1);
        inner.view.reaches(revision).await;
        return Ok(());
    }
    if let Some(ring) = &ring {
        evict(inner, &ring.value.ring, ring.revision).await?;
    }
    tidy(inner, membership, ring.as_ref().map(|ring| &ring.value.ring)).await
}

/// The ring that is to come, whoever leads: none where this one is as it should be.
pub(crate) fn next(inner: &Inner, ring: Option<&Versioned<StoredRing>>, gone: &BTreeSet<InstanceId>) -> Option<Ring> {
    let current = ring.map(|ring| (&ring.value.ring, ring.revision));
    next_ring(current, &present(inner), |instance| acknowledged(inner, instance), gone)
}

/// The highest ring that an instance has acknowledged.
pub(crate) fn acknowledged(inner: &Inner, instance: InstanceId) -> Option<i64> {
    let config = &inner.config;
    inner.view.get(&key::ack(config.scope, config.service, instance)).map(|ack| ack.value.epoch)
}

/// Takes the lease from whoever has not let go in time: it hangs, and what it has must pass on.
async fn evict(inner: &Inner, ring: &Ring, epoch: i64) -> Result<(), keyspace::Error> {
    let (scope, service, now) = (inner.config.scope, inner.config.service, inner.now());
    let overdue = {
        let mut debts = inner.debts.lock().unwrap_or_else(PoisonError::into_inner);
        debts.look(now, ring, epoch, |instance| acknowledged(inner, instance));
        debts.overdue(now, LETTING_GO)
    };
    for instance in overdue {
        let member = key::member(scope, service, instance);
        if inner.view.get(&member).is_none() {
            continue;
        }
        if let Some(lease) = inner.store.lease_of(&member).await?.filter(|lease| *lease != 0) {
            tracing::warn!(%instance, %service, epoch, "has not let go of its nodes for 5 s: its lease is revoked");
            metrics::counter!("mesh_evicted_total").increment(1);
            inner.store.revoke(lease).await?;
        }
    }
    Ok(())
}

fn present(inner: &Inner) -> BTreeMap<InstanceId, Presence> {
    let prefix = key::members(inner.config.scope, inner.config.service);
    inner
        .view
        .list(&prefix)
        .into_iter()
        .filter_map(|(path, member)| {
            let seen =
                Presence { weight: member.value.weight, stopping: member.value.stopping, slot: member.value.slot };
            Some((key::last(&path)?, seen))
        })
        .collect()
}

/// Who is gone, as this process has seen it: missing for W, or proven dead.
pub(crate) fn gone(inner: &Inner) -> BTreeSet<InstanceId> {
    let (scope, service) = (inner.config.scope, inner.config.service);
    let Some(ring) = inner.view.get(&key::ring(scope, service)) else { return BTreeSet::new() };
    let present = present(inner);
    // Read after the view: whoever is missing is missing by now, and perhaps was not before.
    let now = inner.now();
    let mut absences = inner.absences.lock().unwrap_or_else(PoisonError::into_inner);
    absences.look(now, &ring.value.ring, |instance| present.contains_key(&instance));
    let mut gone = absences.gone(now, inner.config.safety.times.wait);
    gone.extend(dead(inner));
    gone
}

fn dead(inner: &Inner) -> impl Iterator<Item = InstanceId> {
    let deads = key::deads(inner.config.scope, inner.config.service);
    inner.view.list(&deads).into_iter().filter_map(|(path, _)| key::last(&path))
}

/// Deletes acknowledgements and proofs of death of instances that no ring, member or claim names.
async fn tidy(inner: &Inner, membership: Membership, ring: Option<&Ring>) -> Result<(), keyspace::Error> {
    let (scope, service) = (inner.config.scope, inner.config.service);
    let present = present(inner);
    let acks: BTreeSet<InstanceId> =
        inner.view.list(&key::acks(scope, service)).iter().filter_map(|(path, _)| key::last(path)).collect();
    let stale: BTreeSet<InstanceId> = acks
        .iter()
        .copied()
        .filter(|instance| !present.contains_key(instance) && !ring.is_some_and(|ring| ring.names(*instance)))
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    let claimed: BTreeSet<InstanceId> =
        inner.view.list(&key::claims(scope, service)).iter().map(|(_, claim)| claim.value.instance).collect();
    let mut change = membership.incarnation.change();
    let mut some = false;
    for instance in stale.difference(&claimed).take(32) {
        let ack = key::ack(scope, service, *instance);
        if let Some(seen) = inner.view.get(&ack) {
            change = change.delete(&ack, Expect::Revision(seen.revision)).clear(&key::dead(scope, service, *instance));
            some = true;
        }
    }
    if some {
        inner.store.commit(change).await?;
    }
    Ok(())
}
