//! Writes of many nodes that go to the store as one: it takes no longer for thirty than for one.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keyspace::{Change, Error, Store};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// How long a write waits for others. A BMC takes longer for anything.
const PAUSE: Duration = Duration::from_millis(5);
/// Writes that go as one. Each is of a journal and of one record beside it at most, so that they fit a transaction.
const MOST: usize = 32;

/// A write, and who waits for its outcome.
#[derive(Debug)]
struct Waiting {
    change: Change,
    outcome: oneshot::Sender<Result<i64, Error>>,
}

/// The writes that wait for others.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    waiting: mpsc::UnboundedSender<Waiting>,
    taken: Mutex<Option<mpsc::UnboundedReceiver<Waiting>>>,
}

impl Default for GroupCommit {
    fn default() -> Self {
        let (waiting, taken) = mpsc::unbounded_channel();
        Self { waiting, taken: Mutex::new(Some(taken)) }
    }
}

impl GroupCommit {
    /// Commits a change, in one transaction with those of others where they come at the same time. One that fails fails
    /// alone. Where it is dropped half-way, it may be written all the same.
    ///
    /// # Errors
    /// Those of [`Store::commit`].
    pub(crate) async fn commit(&self, change: Change) -> Result<i64, Error> {
        let (outcome, told) = oneshot::channel();
        let away = || Error::Unavailable { doing: "writing", source: None };
        self.waiting.send(Waiting { change, outcome }).map_err(|_| away())?;
        told.await.map_err(|_| away())?
    }

    /// Writes what comes, until `end`.
    pub(crate) async fn write(&self, store: &Store, end: CancellationToken) {
        let Some(mut waiting) = self.taken.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        loop {
            let first = tokio::select! {
                () = end.cancelled() => return,
                first = waiting.recv() => first,
            };
            let Some(first) = first else { return };
            let mut group = vec![first];
            sleep(PAUSE).await;
            while group.len() < MOST
                && let Ok(one) = waiting.try_recv()
            {
                group.push(one);
            }
            commit(store, group).await;
        }
    }
}

/// Whoever waited and waits no more need not know the outcome.
async fn commit(store: &Store, group: Vec<Waiting>) {
    if group.len() > 1 {
        let all = group.iter().fold(Change::new(), |all, one| all.and(one.change.clone()));
        if let Ok(revision) = store.commit(all).await {
            group.into_iter().for_each(|one| drop(one.outcome.send(Ok(revision))));
            return;
        }
    }
    // One of them was not as expected, and that is no reason to write none of the others; or the store is away, and each
    // is told.
    let alone = group.into_iter().map(async |one| drop(one.outcome.send(store.commit(one.change).await)));
    futures::future::join_all(alone).await;
}
