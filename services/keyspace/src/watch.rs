//! Lists prefixes at a revision and follows them from there; after a compaction it lists again. Callers see one unbroken stream of revisions.

use std::time::Duration;

use crate::{
    Error, Store, key,
    store::{
        Endpoint, Event, Pair,
        connection::{Failure, WatchMessage, WatchStream, Watcher},
    },
    value::Incarnation,
};

/// How long the stream may be silent before progress is requested.
const SILENCE: Duration = Duration::from_secs(1);
/// How long the answer to that, or opening a stream, may take before the stream counts as dead.
const ANSWER: Duration = Duration::from_secs(2);

const WATCHING: &str = "watching";

/// Update of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// All keys at a revision. Keys that are not included do not exist any more.
    Snapshot {
        /// All pairs.
        pairs: Vec<Pair>,
        /// The lowest of the prefixes' revisions: later writes are not included for every prefix.
        lowest: i64,
        /// The revision at which the first prefix was listed.
        revision: i64,
    },
    /// All keys of an adopted restored backup. Earlier updates are invalid.
    Rebuilt {
        /// All pairs.
        pairs: Vec<Pair>,
        /// The revision at which the first prefix was listed.
        revision: i64,
    },
    /// All changes of some revisions, in order.
    Changes {
        /// The changes.
        changes: Vec<Event>,
        /// Last revision whose changes are complete, if these are changes under the first prefix. The watchers of a stream are
        /// not synchronized: changes under another prefix do not imply that those under the first one are complete.
        revision: Option<i64>,
    },
    /// Nothing changed, and etcd responds.
    Unchanged,
}

/// Watches all keys under a few prefixes. Only revisions of the first prefix are reported, because the watching process writes
/// its own keys there.
pub struct Watch {
    store: Store,
    prefixes: Vec<String>,
    /// Last complete revision of each prefix. `None` if the prefixes must be listed first.
    revisions: Option<Vec<i64>>,
    live: Option<Live>,
    /// Whether the store was adopted and the caller was not told yet.
    starts_over: bool,
}

struct Live {
    stream: Box<dyn WatchStream>,
    /// The member that it comes from.
    endpoint: Endpoint,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("prefixes", &self.prefixes)
            .field("revisions", &self.revisions)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Follows these prefixes, starting with a list.
    #[must_use]
    pub fn new(store: Store, prefixes: Vec<String>) -> Self {
        Self { store, prefixes, revisions: None, live: None, starts_over: false }
    }

    /// Waits for the next update. After an error, call it again after a pause; no change is missed.
    /// *Not* safe to drop before it is done: what was received would be lost. Run it in a task of its own.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::RestoredBackup`] until the store is adopted.
    pub async fn next(&mut self) -> Result<Update, Error> {
        let outcome = self.step().await;
        if outcome.is_err() {
            self.store.guard.doubt();
            if let Some(live) = self.live.take() {
                live.endpoint.leave();
            }
        }
        outcome
    }

    async fn step(&mut self) -> Result<Update, Error> {
        // A member that is cut off from the others answers requests for progress and never reports a change, so a
        // member that other requests have left is left by the watch, too.
        if self.live.as_ref().is_none_or(|live| live.endpoint.is_left()) || self.store.is_restored_backup() {
            self.look().await?;
        }
        let Some(revisions) = &mut self.revisions else { return self.list().await };
        let live = match &mut self.live {
            Some(live) => live,
            none => none.insert(open(&self.store, &self.prefixes, revisions).await?),
        };
        let WatchMessage::Changes { watcher, revision, changes } = live.message().await? else {
            // The revision was compacted, or the server canceled the watch: list again.
            self.revisions = None;
            self.live = None;
            return self.list().await;
        };
        if let Some(revision) = revision {
            self.store.guard.heard(revision);
        }
        let pairs = || changes.iter().filter_map(put);
        if pairs().any(|pair| is_adopted(&self.store, pair)) {
            self.look().await?;
            return self.list().await;
        }
        pairs().for_each(|pair| self.store.guard.saw(pair));
        let Some(last) = changes.iter().map(Event::revision).max() else {
            // The header's revision is no promise: before etcd 3.4.25 and 3.5.8 an answer to a progress request
            // overtakes events (etcd issue 15220).
            return Ok(Update::Unchanged);
        };
        if let Some(seen) = watcher.and_then(|watcher| revisions.get_mut(watcher)) {
            *seen = last.max(*seen);
        }
        let revision = (watcher == Some(0)).then_some(last);
        Ok(Update::Changes { changes, revision })
    }

    /// Verifies the store before a stream is opened: a restored backup would be silent until its revisions reach those
    /// that were seen.
    async fn look(&mut self) -> Result<(), Error> {
        self.live = None;
        self.store.verify().await?;
        // A write may have verified it before.
        if self.store.guard.starts_over() {
            (self.revisions, self.starts_over) = (None, true);
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<Update, Error> {
        let (mut all, mut revisions) = (Vec::new(), Vec::new());
        for prefix in &self.prefixes {
            let (pairs, revision) = self.store.list_pairs(prefix).await?;
            revisions.push(revision);
            all.extend(pairs);
        }
        let lowest = revisions.iter().copied().min().unwrap_or(0);
        let revision = revisions.first().copied().unwrap_or(0);
        self.revisions = Some(revisions);
        if let Some(last) = all.iter().max_by_key(|pair| pair.revision) {
            self.store.guard.saw(last);
        }
        if std::mem::take(&mut self.starts_over) {
            return Ok(Update::Rebuilt { pairs: all, revision });
        }
        Ok(Update::Snapshot { pairs: all, lowest, revision })
    }
}

impl Live {
    async fn message(&mut self) -> Result<WatchMessage, Error> {
        let message = match tokio::time::timeout(SILENCE, self.stream.message()).await {
            Ok(message) => message,
            Err(_) => {
                let asking = tokio::time::timeout(ANSWER, self.stream.request_progress());
                asking.await.map_err(|_| away())?.map_err(unavailable)?;
                tokio::time::timeout(ANSWER, self.stream.message()).await.map_err(|_| away())?
            }
        };
        message.map_err(unavailable)
    }
}

async fn open(store: &Store, prefixes: &[String], revisions: &[i64]) -> Result<Live, Error> {
    let endpoint = store.endpoint()?;
    let watchers = prefixes.iter().zip(revisions);
    let watchers = watchers.map(|(prefix, seen)| Watcher { prefix: prefix.clone(), from: seen + 1 }).collect();
    let opening = tokio::time::timeout(ANSWER, endpoint.connection.watch(watchers)).await;
    match opening.map_err(|_| away()).and_then(|opened| opened.map_err(unavailable)) {
        Ok(stream) => Ok(Live { stream, endpoint }),
        Err(error) => {
            endpoint.leave();
            Err(error)
        }
    }
}

/// Whether this is the incarnation's key with another life of the store than the known one.
fn is_adopted(store: &Store, pair: &Pair) -> bool {
    pair.path == key::incarnation().path()
        && pair
            .read::<Incarnation>()
            .is_ok_and(|read| store.known().is_some_and(|known| read.value.number > known.incarnation.number))
}

const fn put(event: &Event) -> Option<&Pair> {
    match event {
        Event::Put(pair) => Some(pair),
        Event::Delete { .. } => None,
    }
}

const fn away() -> Error {
    Error::Unavailable { doing: WATCHING, source: None }
}

/// Any failure of a stream means that it must be opened again.
fn unavailable(failure: Failure) -> Error {
    let source = match failure {
        Failure::Unavailable(source) => source,
        Failure::OutOfRange(source)
        | Failure::TooLarge(source)
        | Failure::Forbidden(source)
        | Failure::Refused(source) => Some(source),
        Failure::NoSpace => None,
    };
    Error::Unavailable { doing: WATCHING, source }
}
