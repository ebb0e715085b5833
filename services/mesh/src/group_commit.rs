//! Commits writes of many nodes in one transaction: thirty take no longer than one.

use std::time::Duration;

use keyspace::{Change, Error, Store};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

/// How long a write waits for others. Every BMC takes longer to answer.
const GROUP_DELAY: Duration = Duration::from_millis(5);
/// Maximum number of writes in one transaction. Each is of a journal and at most one more record, so that they fit.
const MAX_GROUP: usize = 32;

/// A write, and where its outcome is sent.
#[derive(Debug)]
struct Request {
    change: Change,
    outcome: oneshot::Sender<Result<i64, Error>>,
}

/// The queue of writes. [`Self::run`] commits them.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    sender: mpsc::UnboundedSender<Request>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Request>>>,
}

impl Default for GroupCommit {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl GroupCommit {
    /// Commits a change, in one transaction with others that are requested at the same time. If one of them fails, the
    /// others are still committed. If the future is dropped, the change may still be committed.
    ///
    /// # Errors
    /// Those of [`Store::commit`].
    pub(crate) async fn commit(&self, change: Change) -> Result<i64, Error> {
        let (outcome, answered) = oneshot::channel();
        let away = || Error::Unavailable { doing: "writing", source: None };
        self.sender.send(Request { change, outcome }).map_err(|_| away())?;
        answered.await.map_err(|_| away())?
    }

    /// Commits requests until it is dropped. A second call returns at once.
    pub(crate) async fn run(&self, store: &Store) {
        let Some(mut receiver) = self.receiver.lock().take() else { return };
        while let Some(first) = receiver.recv().await {
            let mut group = vec![first];
            sleep(GROUP_DELAY).await;
            while group.len() < MAX_GROUP
                && let Ok(next) = receiver.try_recv()
            {
                group.push(next);
            }
            commit(store, group).await;
        }
    }
}

/// A caller that no longer waits does not learn the outcome.
async fn commit(store: &Store, group: Vec<Request>) {
    if group.len() > 1 {
        let all = group.iter().fold(Change::new(), |all, request| all.and(request.change.clone()));
        if let Ok(revision) = store.commit(all).await {
            group.into_iter().for_each(|request| drop(request.outcome.send(Ok(revision))));
            return;
        }
    }
    // Either an expectation of one of them did not hold, which must not fail the others, or the store does not answer,
    // which each caller must learn.
    let alone = group.into_iter().map(async |request| drop(request.outcome.send(store.commit(request.change).await)));
    futures::future::join_all(alone).await;
}
