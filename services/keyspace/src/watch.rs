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

/// What the watch saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Everything at a revision: keys that are not included do not exist any more.
    Everything {
        /// All pairs.
        pairs: Vec<Pair>,
        /// The lowest of the prefixes' revisions: later writes are not included for every prefix.
        lowest: i64,
        /// The revision at which the first prefix was listed.
        revision: i64,
    },
    /// Everything in a restored backup that was adopted: what was known before no longer counts.
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
        /// The last revision that is seen completely, if these are changes under the first prefix. Watchers of one
        /// stream are not in step: changes under another prefix say nothing about the first one.
        revision: Option<i64>,
    },
    /// Nothing changed, and etcd answers.
    Nothing,
}

/// Follows everything under a few prefixes. The revisions of the first one count: it has what the follower itself
/// writes.
pub struct Watch {
    store: Store,
    prefixes: Vec<String>,
    /// For each prefix, the last revision that is seen completely. `None` if they must be listed first.
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

    /// Waits for the next thing seen. After an error call again after a pause; nothing is missed.
    /// *Not* safe to drop before it is done: what was received would be lost. Run it in a task of its own.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::RestoredBackup`] until the store is adopted.
    pub async fn next(&mut self) -> Result<Seen, Error> {
        let outcome = self.step().await;
        if outcome.is_err() {
            self.store.guard.doubt();
            if let Some(live) = self.live.take() {
                live.endpoint.leave();
            }
        }
        outcome
    }

    async fn step(&mut self) -> Result<Seen, Error> {
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
            // Compacted past what was seen, or canceled by the server: list again.
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
            return Ok(Seen::Nothing);
        };
        if let Some(seen) = watcher.and_then(|watcher| revisions.get_mut(watcher)) {
            *seen = last.max(*seen);
        }
        let revision = (watcher == Some(0)).then_some(last);
        Ok(Seen::Changes { changes, revision })
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

    async fn list(&mut self) -> Result<Seen, Error> {
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
            return Ok(Seen::Rebuilt { pairs: all, revision });
        }
        Ok(Seen::Everything { pairs: all, lowest, revision })
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
        Failure::OutOfRange(source) | Failure::Refused(source) => Some(source),
        Failure::NoSpace => None,
    };
    Error::Unavailable { doing: WATCHING, source }
}
