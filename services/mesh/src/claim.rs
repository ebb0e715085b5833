//! Claims: the owner under the ring becomes the owner in the store, by a write that only one can make.

use domain::{
    generation::Token,
    id::{InstanceId, NodeId},
    ring::handover::may_claim,
};
use keyspace::{
    Change, Expect,
    key::{self},
    store::Versioned,
    value,
};
use service_kit::clock;

use crate::{Error, Mesh, WorkGuard, leader, member::Membership};

/// A claim that was held when it was answered. Whether it still is, is for each fenced write to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub(crate) node: NodeId,
    /// The membership that it was made under.
    membership: Membership,
    revision: i64,
}

impl Claim {
    /// What instructions to leaves carry.
    #[must_use]
    pub fn token(&self) -> Token {
        Token::new(self.membership.incarnation.number, u64::try_from(self.revision).unwrap_or(0))
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The holder.
    #[must_use]
    pub const fn instance(&self) -> InstanceId {
        self.membership.instance
    }
}

impl Mesh {
    /// Claims a node, or keeps the claim that this instance has.
    ///
    /// # Errors
    /// [`Error::HandingOver`] while the last holder has not let go; [`Error::Store`] with a conflict where somebody else
    /// was quicker. *Not* safe to drop half-way: the claim may be written all the same, which a later call finds.
    pub async fn claim(&self, guard: &WorkGuard) -> Result<Claim, Error> {
        let node = guard.node();
        self.check_island()?;
        let (membership, ring) = self.membership().zip(self.ring()).ok_or(Error::HandingOver { node })?;
        let config = &self.inner.config;
        let key = key::claim(config.scope, config.service, node);
        let read: Option<Versioned<value::Claim>> = self.inner.view.get(&key);
        if let Some(held) = &read
            && held.value.instance == membership.instance
            && held.value.broken.is_none()
        {
            return Ok(held_by(membership, node, held.revision));
        }
        // The guard may be from a ring before this one: what that gave is lost then, whoever has let it go.
        if ring.value.ring.owner(node) != Some(membership.instance) {
            return Err(Error::HandingOver { node });
        }
        let gone = leader::gone(&self.inner);
        // What the ring to come gives to somebody else would only pass on once more.
        let next = leader::next(&self.inner, Some(&ring), &gone);
        if next.is_some_and(|next| next.owner(node) != Some(membership.instance)) {
            return Err(Error::HandingOver { node });
        }
        let acknowledged = |instance| leader::acknowledged(&self.inner, instance);
        let holder = read.as_ref().map(|read| read.value.instance);
        if !may_claim(membership.instance, holder, &ring.value.ring, ring.revision, acknowledged, &gone) {
            return Err(Error::HandingOver { node });
        }
        if let Some(broken) = read.as_ref().filter(|_| holder == Some(membership.instance)) {
            // A person broke our own claim: first all work under it ends, and what it has sent arrives.
            if !guard.begins_after(broken.revision) {
                return Err(Error::HandingOver { node });
            }
            tokio::time::sleep(config.safety.times.settle).await;
        }
        let after = read.as_ref().map(|read| read.revision);
        let claim = value::Claim { instance: membership.instance, since: clock::now(), after, broken: None };
        let change = membership
            .change(config)
            .expect(&key::ring(config.scope, config.service), Expect::Revision(ring.revision))
            .put(&key, &claim, Expect::same(read.as_ref()))?;
        let revision = self.inner.store.commit(change).await.map_err(|error| self.not_written(error))?;
        metrics::counter!("mesh_claims_total").increment(1);
        if holder.is_some_and(|holder| holder != membership.instance) {
            metrics::counter!("mesh_takeovers_total").increment(1);
        }
        self.inner.view.reaches(revision).await;
        Ok(held_by(membership, node, revision))
    }

    /// Begins a write that happens only while this instance is a member: what any replica may write for a person.
    ///
    /// # Errors
    /// [`Error::Island`]
    pub fn as_member(&self) -> Result<Change, Error> {
        let membership = self.membership().ok_or_else(|| self.no_member())?;
        Ok(membership.change(&self.inner.config))
    }

    /// Begins a fenced write: it happens only while this instance is a member and holds the claim. Everything that it
    /// writes adds its own expectation.
    #[must_use]
    pub fn fenced(&self, claim: &Claim) -> Change {
        let config = &self.inner.config;
        claim
            .membership
            .change(config)
            .expect(&key::claim(config.scope, config.service, claim.node), Expect::Revision(claim.revision))
    }

    /// Commits a fenced write as [`Self::commit`] does, a few milliseconds later and with those of other nodes.
    ///
    /// # Errors
    /// Those of [`Self::commit`].
    pub(crate) async fn commit_together(&self, change: Change) -> Result<i64, Error> {
        self.check_island()?;
        let written = self.inner.group_commit.commit(change).await;
        self.seen(written).await
    }

    /// Commits a fenced write, and waits until this process's own view has it.
    ///
    /// # Errors
    /// [`Error::Store`]: with a conflict, something was not as expected; read again.
    pub async fn commit(&self, change: Change) -> Result<i64, Error> {
        self.check_island()?;
        let written = self.inner.store.commit(change).await;
        self.seen(written).await
    }

    /// Waits until this process's own view has what was written.
    async fn seen(&self, written: Result<i64, keyspace::Error>) -> Result<i64, Error> {
        let revision = written.map_err(|error| self.not_written(error))?;
        self.inner.view.reaches(revision).await;
        Ok(revision)
    }
}

const fn held_by(membership: Membership, node: NodeId, revision: i64) -> Claim {
    Claim { node, membership, revision }
}
