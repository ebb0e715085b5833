//! Claiming a node: the owner under the ring becomes the owner in the store, by a write that only one instance can make.

use domain::{id::InstanceId, ring::handover::may_claim};
use keyspace::{
    Change, Expect,
    key::{self},
    store::Versioned,
    value,
};

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
            read = self.inner.store.get(&key).await?;
        }
        let claim = value::Claim { instance: membership.instance, since: self.inner.wall_now(), after, broken: None };
        let change = membership
            .change(config)
            .expect(&key::ring(config.scope, config.service), Expect::Revision(ring.revision))
            .put(&key, &claim, Expect::same(read.as_ref()))?;
        let revision = self.inner.store.commit(change).await.map_err(|error| self.not_written(error))?;
        count_claim(holder, &membership);
        safety.reached(Step::AfterClaim).await;
        self.inner.view.reaches(revision).await;
        Ok(Claim { node, membership, revision })
    }

    /// Begins a change that is carried out only while this instance is a member: for what any replica may write for a client.
    ///
    /// # Errors
    /// [`Error::Island`]
    pub fn as_member(&self) -> Result<Change, Error> {
        let membership = self.membership().ok_or_else(|| self.not_a_member())?;
        Ok(membership.change(&self.inner.config))
    }

    /// Begins a fenced write: a change that is carried out only while this instance is a member and holds the claim. Each
    /// record that it writes adds its own expectation.
    #[must_use]
    pub fn fenced(&self, claim: &Claim) -> Change {
        let config = &self.inner.config;
        let change = claim.membership.change(config);
        if config.safety.broken.is(DangerousRule::FencedByEpoch) {
            let epoch = self.ring().map_or(0, |ring| ring.revision);
            return change.expect(&key::ring(config.scope, config.service), Expect::Revision(epoch));
        }
        change.expect(&key::claim(config.scope, config.service, claim.node), Expect::Revision(claim.revision))
    }

    /// Commits a fenced write as [`Self::commit`] does, a few milliseconds later and together with those of other nodes.
    ///
    /// # Errors
    /// Those of [`Self::commit`].
    pub(crate) async fn commit_in_group(&self, change: Change) -> Result<i64, Error> {
        self.check_island()?;
        let written = self.inner.group_commit.commit(change).await;
        self.wait_for_view(written).await
    }

    /// Commits a fenced write, and waits until this process's own view contains it.
    ///
    /// # Errors
    /// [`Error::Store`] with a conflict if an expectation did not hold; read again. [`Error::Island`]
    pub async fn commit(&self, change: Change) -> Result<i64, Error> {
        self.check_island()?;
        let written = self.inner.store.commit(change).await;
        self.wait_for_view(written).await
    }

    async fn wait_for_view(&self, written: Result<i64, keyspace::Error>) -> Result<i64, Error> {
        let revision = written.map_err(|error| self.not_written(error))?;
        self.inner.view.reaches(revision).await;
        Ok(revision)
    }
}

fn count_claim(holder: Option<InstanceId>, membership: &Membership) {
    metrics::counter!("mesh_claims_total").increment(1);
    if holder.is_some_and(|holder| holder != membership.instance) {
        metrics::counter!("mesh_takeovers_total").increment(1);
    }
}
