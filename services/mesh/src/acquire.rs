//! Claiming a node: the owner under the ring becomes the owner in the store, by a write that only one instance can make.

use domain::{id::InstanceId, ring::handover::may_claim};
use keyspace::{Expect, key, store::Versioned, value};

use crate::{
    claim::Claim,
    dangerous::{DangerousRule, Step},
    error::Error,
    leader,
    membership::Membership,
    mesh::Mesh,
    work_guard::WorkGuard,
};

impl Mesh {
    /// Claims a node, or returns the claim that this instance already holds.
    ///
    /// *Not* cancel safe: if it is dropped, the claim may still be written. A later call finds it.
    ///
    /// # Errors
    /// * [`Error::HandingOver`] while the holder has not released the node; try again.
    /// * [`Error::Store`] with a conflict if another instance was faster.
    /// * [`Error::Island`]
    pub async fn claim(&self, guard: &WorkGuard) -> Result<Claim, Error> {
        let node = guard.node();
        self.check_island()?;
        let (membership, ring) = self.membership().zip(self.ring()).ok_or(Error::HandingOver { node })?;
        let (config, safety) = (&self.inner.config, &self.inner.config.safety);
        let key = key::claim(config.scope, config.service, node);
        let mut read: Option<Versioned<value::Claim>> = self.inner.view.get(&key);
        if let Some(held) = &read
            && held.value.instance == membership.instance
            && held.value.broken.is_none()
        {
            return Ok(Claim { node, membership, revision: held.revision });
        }
        let by_any = safety.broken.is(DangerousRule::BlindClaim);
        // The guard may be from an earlier ring. What that ring gave is lost by now.
        if !by_any && ring.value.ring.owner(node) != Some(membership.instance) {
            return Err(Error::HandingOver { node });
        }
        safety.reached(Step::BeforeLook).await;
        let gone = leader::gone(&self.inner);
        // If the next ring gives the node to another instance, this one would only have to hand it over again.
        let next = leader::next(&self.inner, Some(&*ring), &gone);
        if !by_any && next.is_some_and(|next| next.owner(node) != Some(membership.instance)) {
            return Err(Error::HandingOver { node });
        }
        let group = self.inner.group();
        let acknowledged = |instance| group.acknowledged(instance);
        let mut holder = read.as_ref().map(|read| read.value.instance);
        if safety.broken.is(DangerousRule::AskPreviousOwner) {
            holder = safety.broken.previous_ring().and_then(|previous| previous.owner(node));
        }
        if !may_claim(membership.instance, holder, &ring.value.ring, ring.revision, acknowledged, &gone) {
            return Err(Error::HandingOver { node });
        }
        if let Some(broken) = read.as_ref().filter(|read| read.value.instance == membership.instance) {
            // An operator broke this instance's own claim: all work under it must end first, and what was sent must arrive.
            if !guard.begins_after(broken.revision) {
                self.inner.work.end_under_broken(node, broken.revision);
                return Err(Error::HandingOver { node });
            }
            tokio::time::sleep(safety.times().settle).await;
        }
        safety.reached(Step::BeforeClaim).await;
        let after = read.as_ref().map(|read| read.revision);
        if by_any {
            read = self.store.get(&key).await?;
        }
        let claim = value::Claim { instance: membership.instance, since: self.inner.wall_now(), after, broken: None };
        let change = membership
            .change(config)
            .expect(&key::ring(config.scope, config.service), Expect::Revision(ring.revision))
            .put(&key, &claim, Expect::same(read.as_ref()))?;
        let revision = self.store.commit(change).await.map_err(|error| self.not_written(error))?;
        count_claim(holder, &membership);
        safety.reached(Step::AfterClaim).await;
        self.inner.view.reaches(revision).await;
        Ok(Claim { node, membership, revision })
    }
}

fn count_claim(holder: Option<InstanceId>, membership: &Membership) {
    metrics::counter!("mesh_claims_total").increment(1);
    if holder.is_some_and(|holder| holder != membership.instance) {
        metrics::counter!("mesh_takeovers_total").increment(1);
    }
}
