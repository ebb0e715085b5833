//! Writes that the store carries out only while their writer is a member and, for those about a node, holds its claim.

use keyspace::{Change, Expect, key};

use crate::{claim::Claim, dangerous::DangerousRule, error::Error, mesh::Mesh};

impl Mesh {
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
        let written = self.store.commit(change).await;
        self.wait_for_view(written).await
    }

    async fn wait_for_view(&self, written: Result<i64, keyspace::Error>) -> Result<i64, Error> {
        let revision = written.map_err(|error| self.not_written(error))?;
        self.inner.view.reaches(revision).await;
        Ok(revision)
    }
}
