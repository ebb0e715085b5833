//! List at a revision, then follow; on compaction list again. Callers see one unbroken stream of revisions.

use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};

use crate::{
    Error, Store, key,
    store::{Line, Pair},
    value::Incarnation,
};

/// How long the stream may be silent before it is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(1);
/// How long the answer to that may take before the stream counts as dead.
const ANSWER: Duration = Duration::from_secs(2);

/// What the watch saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// All there is, at a revision: what was known before and is not in it is gone.
    Everything {
        /// All pairs.
        pairs: Vec<Pair>,
        /// What was written later than this was not seen under every prefix.
        lowest: i64,
        /// The revision at which the first prefix was listed.
        revision: i64,
    },
    /// All there is in a store that went back and was adopted: what was known before counts for nothing.
    Anew {
        /// All pairs.
        pairs: Vec<Pair>,
        /// The revision at which the first prefix was listed.
        revision: i64,
    },
    /// All changes of some revisions, in order.
    Changes {
        /// Each a new pair, or the path of one that was deleted and when.
        changes: Vec<Result<Pair, (String, i64)>>,
        /// The last revision that is wholly seen, where these are changes under the first prefix. Watchers of one
        /// stream are not in step: what another prefix has seen says nothing about the first one.
        revision: Option<i64>,
    },
    /// Nothing changed, and etcd is there.
    Nothing,
}

/// Follows everything under a few prefixes. The first one is the one whose revisions count: it holds what the follower
/// itself writes.
pub struct Watch {
    store: Store,
    prefixes: Vec<String>,
    /// Per prefix, the last revision that is wholly seen; none: list first.
    revisions: Option<Vec<i64>>,
    live: Option<Live>,
    /// The store was adopted, and nobody was told yet.
    anew: bool,
}

struct Live {
    stream: WatchStream,
    /// The member that it comes from.
    line: Line,
    /// etcd's ids of our watchers, in the order of the prefixes.
    ids: Vec<i64>,
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
    /// Follows these prefixes, from a list on.
    #[must_use]
    pub fn new(store: Store, prefixes: Vec<String>) -> Self {
        Self { store, prefixes, revisions: None, live: None, anew: false }
    }

    /// The next thing seen. An error means that etcd is away for now; call again after a pause, and nothing is missed.
    /// *Not* safe to drop half-way: what was received would be lost; run it in a task of its own.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::RestoredBackup`]: not before the store is adopted.
    pub async fn next(&mut self) -> Result<Seen, Error> {
        let outcome = self.step().await;
        if outcome.is_err() {
            self.store.guard.doubt();
            if let Some(live) = self.live.take() {
                live.line.hangs();
            }
        }
        outcome
    }

    async fn step(&mut self) -> Result<Seen, Error> {
        loop {
            // One that is cut off from the others answers whoever asks whether it lives, and never hears of a change:
            // what requests find of it holds for the watch, too.
            if self.live.as_ref().is_none_or(|live| live.line.is_left()) || self.store.is_restored_backup() {
                self.look().await?;
            }
            let Some(revisions) = &mut self.revisions else { return self.list().await };
            let live = match &mut self.live {
                Some(live) => live,
                none => none.insert(open(&self.store, &self.prefixes, revisions).await?),
            };
            let message = live.message().await?;
            if message.canceled() {
                // Compacted past what we had seen, or the server gave up: list again.
                self.revisions = None;
                self.live = None;
                return self.list().await;
            }
            if message.created() {
                live.ids.push(message.watch_id());
                continue;
            }
            if let Some(header) = message.header() {
                self.store.guard.heard(header.revision());
            }
            let changes: Vec<_> = message.events().iter().filter_map(change).collect();
            if changes.iter().flatten().any(|pair| is_adopted(&self.store, pair)) {
                self.look().await?;
                return self.list().await;
            }
            changes.iter().flatten().for_each(|pair| self.store.guard.saw(pair));
            let Some(last) = changes.iter().map(revision_of).max() else {
                // The header's revision is no promise: before etcd 3.4.25 and 3.5.8 an answer to a progress request
                // overtakes events (etcd issue 15220).
                return Ok(Seen::Nothing);
            };
            let mine = live.ids.iter().position(|id| *id == message.watch_id());
            if let Some(revision) = mine.and_then(|mine| revisions.get_mut(mine)) {
                *revision = last.max(*revision);
            }
            let revision = (mine == Some(0)).then_some(last);
            return Ok(Seen::Changes { changes, revision });
        }
    }

    /// Looks, before a stream is opened, whether the store is the one that was known: one that went back would be silent
    /// until its revisions are where those of before were.
    async fn look(&mut self) -> Result<(), Error> {
        self.live = None;
        self.store.look().await?;
        // A write may have looked before.
        if self.store.guard.begins_anew() {
            (self.revisions, self.anew) = (None, true);
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
        if std::mem::take(&mut self.anew) {
            return Ok(Seen::Anew { pairs: all, revision });
        }
        Ok(Seen::Everything { pairs: all, lowest, revision })
    }
}

impl Live {
    async fn message(&mut self) -> Result<WatchResponse, Error> {
        let message = match tokio::time::timeout(SILENCE, self.stream.message()).await {
            Ok(message) => message,
            Err(_) => {
                let asking = tokio::time::timeout(ANSWER, self.stream.request_progress());
                asking.await.map_err(|_| away(None))?.map_err(|why| away(Some(why)))?;
                tokio::time::timeout(ANSWER, self.stream.message()).await.map_err(|_| away(None))?
            }
        };
        message.map_err(|why| away(Some(why)))?.ok_or_else(|| away(None))
    }
}

async fn open(store: &Store, prefixes: &[String], revisions: &[i64]) -> Result<Live, Error> {
    let line = store.line()?;
    match stream(&line, prefixes, revisions).await {
        Ok(stream) => Ok(Live { stream, line, ids: Vec::new() }),
        Err(error) => {
            line.hangs();
            Err(error)
        }
    }
}

async fn stream(line: &Line, prefixes: &[String], revisions: &[i64]) -> Result<WatchStream, Error> {
    let mut client = line.client.clone();
    let mut opened: Option<WatchStream> = None;
    for (prefix, revision) in prefixes.iter().zip(revisions) {
        let options = Some(WatchOptions::new().with_prefix().with_start_revision(revision + 1));
        if let Some(stream) = &mut opened {
            let adding = tokio::time::timeout(ANSWER, stream.watch(prefix.as_str(), options));
            adding.await.map_err(|_| away(None))?.map_err(|why| away(Some(why)))?;
        } else {
            let opening = tokio::time::timeout(ANSWER, client.watch(prefix.as_str(), options));
            opened = Some(opening.await.map_err(|_| away(None))?.map_err(|why| away(Some(why)))?);
        }
    }
    opened.ok_or_else(|| away(None))
}

/// Whether this is the incarnation's key, of another life of the store than the one that is known.
fn is_adopted(store: &Store, pair: &Pair) -> bool {
    pair.path == key::incarnation().path()
        && pair
            .read::<Incarnation>()
            .is_ok_and(|read| store.known().is_some_and(|known| read.value.number > known.incarnation.number))
}

const fn revision_of(change: &Result<Pair, (String, i64)>) -> i64 {
    match change {
        Ok(pair) => pair.revision,
        Err((_, revision)) => *revision,
    }
}

fn change(event: &etcd_client::Event) -> Option<Result<Pair, (String, i64)>> {
    let pair = Pair::from_etcd(event.kv()?);
    Some(match event.event_type() {
        EventType::Put => Ok(pair),
        EventType::Delete => Err((pair.path, pair.revision)),
    })
}

fn away(source: Option<etcd_client::Error>) -> Error {
    Error::Unavailable { doing: "watching", source: source.map(Box::new) }
}
