//! Whether the store can be changed: what makes the rack an island, and how callers and health checks learn of it.

use std::time::Duration;

use keyspace::{Trouble, key};
use service_kit::{
    Host,
    health::{Health, Serving},
};

use crate::{
    error::Error,
    island::{Island, IslandReason},
    mesh::Mesh,
};

/// How often the health check is brought up to date.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);
/// How often a store that was full is asked whether it still is.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a store that was full may take to answer that.
const SPACE_TIMEOUT: Duration = Duration::from_millis(700);

impl Mesh {
    /// What is wrong with the store although it answers.
    pub(crate) fn store_trouble(&self) -> Option<IslandReason> {
        let trouble = self.store.trouble();
        if let Some(Trouble::RestoredBackup(how)) = trouble {
            return Some(IslandReason::RestoredBackup(how));
        }
        // Another process may have noticed it.
        let marked = self.inner.view.get(&key::incarnation()).and_then(|read| read.value.restored_backup);
        marked.map(IslandReason::RestoredBackup).or_else(|| trouble.map(|_| IslandReason::Full))
    }

    /// Asks a store that was full whether it has space again: because writes to it are not tried, none would find out.
    /// `next` is the time of the next question.
    pub(crate) async fn look_for_space(&self, next: &mut Duration) {
        let now = self.now();
        if self.store.trouble() != Some(Trouble::Full) || now < *next {
            return;
        }
        *next = now + SPACE_INTERVAL;
        if let Ok(Err(error)) = tokio::time::timeout(SPACE_TIMEOUT, self.store.look_for_space()).await {
            tracing::debug!(error = %service_kit::status::chain(&error), "cannot ask whether the store has space");
        }
    }

    /// Returns whether changes are refused, why and since when.
    #[must_use]
    pub fn island(&self) -> Option<Island> {
        let why = self.store_trouble().or_else(|| self.inner.fence.is_up().then_some(IslandReason::Away));
        let mut since = self.inner.island_since.lock();
        let Some(why) = why else {
            *since = None;
            return None;
        };
        Some(Island { since: *since.get_or_insert_with(|| self.inner.wall_now()), why })
    }

    /// Refuses changes while the rack is an island.
    ///
    /// # Errors
    /// [`Error::Island`]
    pub fn check_island(&self) -> Result<(), Error> {
        self.island().map_or(Ok(()), |Island { since, why }| Err(Error::Island { since, why }))
    }

    /// The error of a write that was not carried out: [`Error::Island`] if the store takes no writes at all.
    pub(crate) fn not_written(&self, error: keyspace::Error) -> Error {
        let is_island = matches!(error, keyspace::Error::RestoredBackup(_) | keyspace::Error::Full { .. });
        self.check_island().err().filter(|_| is_island).unwrap_or(Error::Store(error))
    }

    /// The error of a change that is requested while this process is not a member.
    pub(crate) fn not_a_member(&self) -> Error {
        let away = || Island { since: self.inner.wall_now(), why: IslandReason::Away };
        let Island { since, why } = self.island().unwrap_or_else(away);
        Error::Island { since, why }
    }

    /// Keeps the health check named [`CHANGES`](service_kit::health::CHANGES) up to date: it serves while this instance is a
    /// member and the store can be changed.
    pub async fn report_health(self, health: Health, host: Host) {
        let mut reported = None;
        loop {
            let serving = if self.instance().is_some() && self.island().is_none() { Serving::Yes } else { Serving::No };
            if reported.replace(serving) != Some(serving) {
                health.changes(serving).await;
            }
            tokio::select! {
                biased;
                () = host.stopping() => return,
                () = tokio::time::sleep(HEALTH_INTERVAL) => {}
            }
        }
    }
}
