//! The in-memory store, as a test sees it from outside.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    client::MemoryClient,
    state::{Revision, State},
    world::{Shared, World},
};
use crate::{
    Error,
    store::{
        ClusterMember, Pair,
        connection::{Operation, Transaction},
    },
};

/// Id of the first cluster.
const FIRST_CLUSTER: u64 = 0xC1;

/// An in-memory store with etcd's semantics. Clones are the same store. Its methods take effect at once, whatever the
/// clients' faults are.
#[derive(Clone)]
pub struct MemoryEtcd {
    shared: Arc<Shared>,
}

/// A copy of everything in a store.
#[derive(Clone)]
pub struct Backup {
    state: State,
}

/// Which cluster id a restored backup gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterId {
    /// That of the store before: it was restored under the same token and addresses.
    Same,
    /// A new one.
    New,
}

/// Whether the store has space left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// It has.
    Free,
    /// It raised the alarm NOSPACE: it refuses everything that would make it larger.
    Exhausted,
}

impl fmt::Debug for MemoryEtcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEtcd").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup").field("revision", &self.state.revision).finish_non_exhaustive()
    }
}

impl Default for MemoryEtcd {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryEtcd {
    /// An empty store at revision 1.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::new(World::new(State::new(FIRST_CLUSTER)))) }
    }

    /// A handle for one more process, without faults.
    #[must_use]
    pub fn client(&self) -> MemoryClient {
        MemoryClient::new(Arc::clone(&self.shared))
    }

    /// Carries out what is due, when it is due, and never returns. While a task runs this, a request or a watch wakes only
    /// the task that waits for it; without it, each event wakes all of them. Dropping it stops the world between requests.
    pub async fn drive(&self) {
        self.shared.is_driven.store(true, Ordering::Relaxed);
        // From now on no waiter drives the world.
        self.shared.earlier.notify_waiters();
        let mut due = std::pin::pin!(sleep_until(Instant::now()));
        loop {
            let earlier = self.shared.earlier.notified();
            let next = {
                let mut world = self.shared.world.lock();
                world.advance(Instant::now());
                world.next_event()
            };
            if let Some(next) = next {
                due.as_mut().reset(next);
            }
            tokio::select! {
                biased;
                () = earlier => {}
                () = &mut due, if next.is_some() => {}
            }
        }
    }

    /// Carries out what is due, then this.
    fn with<T>(&self, act: impl FnOnce(&mut World, Instant) -> T) -> T {
        let (outcome, is_earlier) = {
            let (mut world, now) = (self.shared.world.lock(), Instant::now());
            world.advance(now);
            let next = world.next_event();
            let outcome = act(&mut world, now);
            (outcome, world.next_event().is_some_and(|at| next.is_none_or(|next| at < next)))
        };
        if is_earlier {
            self.shared.earlier.notify_waiters();
        }
        outcome
    }

    /// The present revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.with(|world, _| world.state.revision)
    }

    /// The pair at a path.
    #[must_use]
    pub fn pair(&self, path: &str) -> Option<Pair> {
        self.with(|world, _| world.state.pair(path).cloned())
    }

    /// All pairs, in the order of their paths.
    #[must_use]
    pub fn pairs(&self) -> Vec<Pair> {
        self.with(|world, _| world.state.pairs().cloned().collect())
    }

    /// How often a key was written since it was created.
    #[must_use]
    pub fn version(&self, path: &str) -> Option<i64> {
        self.with(|world, _| world.state.version(path))
    }

    /// The lease that a key is under; `None` if it does not exist or is under none.
    #[must_use]
    pub fn lease_of(&self, path: &str) -> Option<i64> {
        self.with(|world, _| world.state.lease_of(path)).filter(|lease| *lease != 0)
    }

    /// All revisions so far, for checkers: compacted ones too, and those of the present life only if a backup was
    /// restored.
    #[must_use]
    pub fn history(&self) -> Vec<Revision> {
        self.with(|world, _| world.state.log().to_vec())
    }

    /// Writes a key as an operator does with etcdctl.
    ///
    /// # Errors
    /// [`Error::Full`]
    pub fn put(&self, path: &str, value: &[u8]) -> Result<i64, Error> {
        let put = Operation::Put { path: path.to_owned(), value: value.to_vec(), lease: 0 };
        let transaction = Transaction { then: vec![put], ..Transaction::default() };
        let written = self.with(|world, now| world.change(|state| state.transact(now, transaction)));
        written.map(|answer| answer.header.revision).map_err(|failure| failure.doing("writing"))
    }

    /// Writes a value as JSON, past every rule, and returns the revision.
    ///
    /// # Errors
    /// [`Error::Value`] if it has no JSON form; [`Error::Full`].
    pub fn put_json<V: serde::Serialize>(&self, key: &crate::Key<V>, value: &V) -> Result<i64, Error> {
        let wrong = |source| Error::Value { key: key.path().to_owned(), source };
        self.put(key.path(), &serde_json::to_vec(value).map_err(wrong)?)
    }

    /// Deletes a key, although its lease may live.
    pub fn delete(&self, path: &str) {
        self.with(|world, now| world.change(|state| state.delete(now, path)));
    }

    /// Ends a lease early, and deletes its keys. Does nothing if there is no such lease.
    pub fn revoke(&self, lease: i64) {
        self.with(|world, now| world.change(|state| drop(state.revoke(now, lease))));
    }

    /// Lets leases expire this much later than they are due, as a busy etcd does.
    pub fn set_expiry_lag(&self, lag: Duration) {
        self.with(|world, _| world.expiry_lag = lag);
    }

    /// Compacts the history up to a revision.
    pub fn compact(&self, revision: i64) {
        self.with(|world, _| world.state.compact(revision));
    }

    /// Raises or clears the alarm NOSPACE.
    pub fn set_space(&self, space: Space) {
        self.with(|world, _| world.state.is_full = space == Space::Exhausted);
    }

    /// The members that the store lists; there is one store, whatever they are. Any client may change them.
    #[must_use]
    pub fn members(&self) -> Vec<ClusterMember> {
        self.with(|world, _| world.members.list())
    }

    /// Replaces the list of the members.
    pub fn set_members(&self, members: Vec<ClusterMember>) {
        self.with(|world, _| world.members.set(members));
    }

    /// Says whether learners have caught up with the leader, so that they can be promoted.
    pub fn set_learners_in_sync(&self, in_sync: bool) {
        self.with(|world, _| world.members.set_in_sync(in_sync));
    }

    /// Stops the store: requests fail and watches break until [`Self::start`]. Leases do not expire meanwhile.
    pub fn stop(&self) {
        self.with(|world, _| {
            world.is_stopped = true;
            world.break_streams(None);
        });
    }

    /// Starts the store again. Every lease has its full time, as etcd gives it after an election.
    pub fn start(&self) {
        self.with(|world, now| {
            world.is_stopped = false;
            world.state.extend_leases(now);
        });
    }

    /// Copies everything.
    #[must_use]
    pub fn backup(&self) -> Backup {
        Backup { state: self.with(|world, _| world.state.clone()) }
    }

    /// Restores a backup in place of what is there: revisions go back, all watches break, and every lease of the backup
    /// has its full time.
    pub fn restore(&self, backup: &Backup, cluster: ClusterId) {
        self.with(|world, now| {
            let id = match cluster {
                ClusterId::Same => world.state.cluster,
                ClusterId::New => world.state.cluster + 1,
            };
            world.state = backup.state.clone();
            world.state.cluster = id;
            world.state.extend_leases(now);
            world.break_streams(None);
        });
    }
}
