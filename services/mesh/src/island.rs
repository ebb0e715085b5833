//! A rack without a store that it can change: what repeats goes on, what changes is refused and says why and since when.

use std::{fmt, sync::PoisonError, time::Duration};

use domain::time::Timestamp;
use keyspace::{Trouble, key, value::RestoredBackup};
use service_kit::{
    Host, clock,
    health::{Health, Serving},
};

use crate::{Error, Mesh, member::ANSWER};

/// Between two looks at whether changes are possible.
const LOOK: Duration = Duration::from_millis(250);

/// How often a store that was full is asked whether it still is.
const SPACE: Duration = Duration::from_secs(1);

/// Nothing may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Island {
    /// Since when.
    pub since: Timestamp,
    /// IslandReason.
    pub why: IslandReason,
}

/// IslandReason nothing may change; as text it says what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IslandReason {
    /// etcd is away.
    Away,
    /// The store went back: a backup was restored, and nobody has adopted it.
    RestoredBackup(RestoredBackup),
    /// etcd has no space left.
    Full,
}

impl IslandReason {
    /// A stable word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Away => "STORE_AWAY",
            Self::RestoredBackup(_) => "STORE_RESTORED",
            Self::Full => "STORE_FULL",
        }
    }
}

impl fmt::Display for IslandReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => f.write_str("etcd is away, and nothing may change until it is back"),
            Self::RestoredBackup(RestoredBackup { known, found }) => write!(
                f,
                "the store is a restored backup (revision {known} was seen and is not in it, it was found at {found}), \
                 and nothing may change until somebody has looked at it and adopts it: ironmesh store adopt"
            ),
            Self::Full => f.write_str(
                "etcd is out of space, and nothing may change until some is free; what to do says: ironmesh store check",
            ),
        }
    }
}

impl Mesh {
    /// What is wrong with the store, although it answers.
    pub(crate) fn trouble(&self) -> Option<IslandReason> {
        let trouble = self.inner.store.trouble();
        if let Some(Trouble::RestoredBackup(how)) = trouble {
            return Some(IslandReason::RestoredBackup(how));
        }
        // Another process may have noticed it.
        let marked = self.inner.view.get(&key::incarnation()).and_then(|read| read.value.restored_backup);
        marked.map(IslandReason::RestoredBackup).or_else(|| trouble.map(|_| IslandReason::Full))
    }

    /// Where the store was full: a write that is not tried can not find out that it would be done. `next`: not before.
    pub(crate) async fn look_for_space(&self, next: &mut Duration) {
        let now = self.now();
        if self.inner.store.trouble() != Some(Trouble::Full) || now < *next {
            return;
        }
        *next = now + SPACE;
        if let Ok(Err(error)) = tokio::time::timeout(ANSWER, self.inner.store.look_for_space()).await {
            tracing::debug!(error = %service_kit::status::chain(&error), "cannot ask whether there is space again");
        }
    }

    /// Whether nothing may change, since when and why.
    #[must_use]
    pub fn island(&self) -> Option<Island> {
        let why = self.trouble().or_else(|| self.inner.fence.is_up().then_some(IslandReason::Away));
        let mut away = self.inner.away.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(why) = why else {
            *away = None;
            return None;
        };
        let since = *away.get_or_insert_with(clock::now);
        Some(Island { since, why })
    }

    /// # Errors
    /// [`Error::Island`]
    pub fn check_island(&self) -> Result<(), Error> {
        self.island().map_or(Ok(()), |Island { since, why }| Err(Error::Island { since, why }))
    }

    /// What somebody hears whose write was not done: where the store as a whole takes none, that it is an island.
    pub(crate) fn not_written(&self, error: keyspace::Error) -> Error {
        let is_island = matches!(error, keyspace::Error::RestoredBackup(_) | keyspace::Error::Full { .. });
        self.check_island().err().filter(|_| is_island).unwrap_or(Error::Store(error))
    }

    /// What somebody hears who wants a change from a process that is no member now.
    pub(crate) fn no_member(&self) -> Error {
        let Island { since, why } =
            self.island().unwrap_or_else(|| Island { since: clock::now(), why: IslandReason::Away });
        Error::Island { since, why }
    }

    /// Keeps the health named [`CHANGES`](service_kit::health::CHANGES) up to date: whether this instance has joined and
    /// etcd is there.
    pub async fn tell(self, health: Health, host: Host) {
        let mut told = None;
        loop {
            let serving = if self.instance().is_some() && self.island().is_none() { Serving::Yes } else { Serving::No };
            if told.replace(serving) != Some(serving) {
                health.changes(serving).await;
            }
            tokio::select! {
                () = host.stopping() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
