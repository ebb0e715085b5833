//! A copy of a part of the store in memory, which a watch keeps up to date. Services read from it.
//!
//! It never goes back in time: a change is applied only if it is newer than what is known of its key. Callers that
//! must decide whether it is fresh enough ask for its [`Freshness`]. A restored backup is not followed until an operator
//! adopts it; then the view is rebuilt.

mod disk;
mod feed;
mod rings;

pub use feed::{Feed, Subscription, Touches};

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use domain::id::{NodeId, RackId};
use parking_lot::{RwLock, RwLockReadGuard};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use self::{disk::Disk, rings::Rings};
use crate::{
    Error, Key, Prefix, Store, error, key,
    snapshot::{self, Snapshot},
    store::{Event, Pair, Versioned},
    watch::{Update, Watch},
};

/// Number of changed paths that a slow reader may lag behind. Beyond it, it is told that everything changed.
const LAG: usize = 4096;
/// Pause after the watch failed.
const WATCH_RETRY_DELAY: Duration = Duration::from_millis(300);
/// Interval at which a restored backup is checked for its adoption.
const ADOPTED: Duration = Duration::from_secs(1);

/// A change of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The key at this path changed or was deleted.
    Path(Arc<str>),
    /// Anything may have changed.
    Everything,
}

/// How fresh the view is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Everything up to this revision under its first prefix is included; 0 if nothing is yet.
    pub revision: i64,
    /// When etcd last answered, on tokio's clock. `None` if everything is from disk.
    pub heard: Option<Instant>,
    /// How often it was rebuilt from a restored backup that was adopted. Earlier revisions do not count then.
    pub rebuilds: u32,
}

/// The copy. Clones share it.
#[derive(Debug, Clone)]
pub struct View {
    pairs: Arc<RwLock<BTreeMap<String, Arc<Pair>>>>,
    news: broadcast::Sender<News>,
    freshness: Arc<watch::Sender<Freshness>>,
    /// The highest revision that was applied.
    newest: Arc<AtomicI64>,
    rings: Arc<Rings>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            pairs: Arc::default(),
            news: broadcast::Sender::new(LAG),
            freshness: Arc::new(watch::Sender::new(Freshness { revision: 0, heard: None, rebuilds: 0 })),
            newest: Arc::default(),
            rings: Arc::default(),
        }
    }
}

impl View {
    /// Starts with a snapshot from disk, while etcd is unavailable.
    #[must_use]
    pub fn from_snapshot(snapshot: Snapshot) -> Self {
        let view = Self::default();
        view.replace(snapshot.pairs, snapshot.revision, snapshot.revision, None);
        view
    }

    /// The pairs. Values are decoded only after this lock is released: the thread that applies changes waits for it, and
    /// keeps the lease as well.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Pair>>> {
        self.pairs.read()
    }

    /// Reads the value of a key. An unreadable value counts as absent and is logged.
    #[must_use]
    pub fn get<V: DeserializeOwned>(&self, key: &Key<V>) -> Option<Versioned<V>> {
        let pair = Arc::clone(self.read().get(key.path())?);
        read(&pair)
    }

    /// Whether a key exists.
    #[must_use]
    pub fn has<V>(&self, key: &Key<V>) -> bool {
        self.read().contains_key(key.path())
    }

    /// Reads all values under a prefix, in the order of their paths.
    #[must_use]
    pub fn list<V: DeserializeOwned>(&self, prefix: &Prefix<V>) -> Vec<(String, Versioned<V>)> {
        let from = (Bound::Included(prefix.path().to_owned()), Bound::Unbounded);
        let under = |path: &str| path.starts_with(prefix.path());
        let pairs: Vec<_> =
            self.read().range(from).take_while(|(path, _)| under(path)).map(|(_, pair)| Arc::clone(pair)).collect();
        pairs.iter().filter_map(|pair| Some((pair.path.clone(), read(pair)?))).collect()
    }

    /// Lists the paths under a prefix.
    #[must_use]
    pub fn paths(&self, prefix: &str) -> Vec<String> {
        let pairs = self.read();
        let from = (Bound::Included(prefix.to_owned()), Bound::Unbounded);
        pairs.range(from).map(|(path, _)| path).take_while(|path| path.starts_with(prefix)).cloned().collect()
    }

    /// Lists the nodes of a rack, in the order of their ids.
    #[must_use]
    pub fn nodes(&self, rack: RackId) -> Vec<NodeId> {
        let paths = self.paths(&key::node_prefix(rack));
        paths.iter().filter_map(|path| key::life_of(path)).map(|(_, node)| node).collect()
    }

    /// Subscribes to changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { news: self.news.subscribe() }
    }

    /// The highest revision of all changes so far. The view may not include everything up to it yet: that is
    /// [`Freshness::revision`].
    #[must_use]
    pub fn newest(&self) -> i64 {
        self.newest.load(Ordering::Acquire)
    }

    /// How fresh the view is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        *self.freshness.borrow()
    }

    /// Subscribes to the freshness of the view.
    #[must_use]
    pub fn follow_freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.subscribe()
    }

    /// Waits until the view includes everything up to a revision under its first prefix, or was rebuilt and never will.
    /// Safe to drop at any await and call again.
    pub async fn reaches(&self, revision: i64) {
        let mut freshness = self.freshness.subscribe();
        let rebuilds = freshness.borrow().rebuilds;
        // The sender lives as long as this view.
        let _ = freshness.wait_for(|freshness| freshness.revision >= revision || freshness.rebuilds != rebuilds).await;
    }

    /// Keeps the view up to date until `end`, and saves it to `file`, with what is known of the store beside it, now and
    /// then and at the end. After a crash the file is up to 5 s old: a restored backup that is not older than the file
    /// may then pass for the store that was known.
    pub async fn follow(
        &self,
        store: Store,
        prefixes: Vec<String>,
        file: Option<std::path::PathBuf>,
        end: impl Future<Output = ()>,
    ) {
        let mut watch = Watch::new(store.clone(), prefixes);
        let mut told = String::new();
        let mut disk = Disk::new(file);
        let following = async {
            loop {
                match watch.next().await {
                    Ok(update) => {
                        let rebuilds = matches!(update, Update::Rebuilt { .. });
                        if rebuilds {
                            // No file may hold pairs of both stores.
                            disk.wait().await;
                        }
                        self.apply(update);
                        disk.keep(self, &store, rebuilds).await;
                    }
                    Err(error) => {
                        let text = error::chain(&error);
                        let is_lasting = matches!(error, Error::RestoredBackup(_));
                        if !is_lasting || text != told {
                            tracing::warn!(error = text, "watch failed, will retry");
                        }
                        told = text;
                        tokio::time::sleep(if is_lasting { ADOPTED } else { WATCH_RETRY_DELAY }).await;
                    }
                }
            }
        };
        tokio::select! {
            () = following => {}
            () = end => {}
        }
        disk.keep(self, &store, true).await;
    }

    /// Copies everything.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let incarnation = self.get(&key::incarnation()).map(|read| read.value.number).unwrap_or_default();
        let revision = self.freshness().revision;
        let pairs: Vec<_> = self.read().values().map(Arc::clone).collect();
        Snapshot { revision, incarnation, pairs: pairs.into_iter().map(Arc::unwrap_or_clone).collect() }
    }

    fn apply(&self, update: Update) {
        let now = Some(Instant::now());
        match update {
            Update::Snapshot { pairs, lowest, revision } => self.replace(pairs, lowest, revision, now),
            Update::Rebuilt { pairs, revision } => self.rebuild(pairs, revision, now),
            Update::Unchanged => self.fresh(0, now),
            Update::Changes { changes, revision } => {
                for path in self.change(changes) {
                    // Without subscribers there is no one to tell.
                    let _ = self.news.send(News::Path(path.into()));
                }
                // Last: who waits for the revision has been told of all of its changes then.
                self.fresh(revision.unwrap_or(0), now);
            }
        }
    }

    fn rebuild(&self, new: Vec<Pair>, revision: i64, heard: Option<Instant>) {
        tracing::warn!(revision, "a restored backup was adopted, rebuilding the view");
        {
            // Another store's revisions do not tell whether a decoded ring is the same.
            let mut rings = self.rings.0.lock();
            *self.pairs.write() = new.into_iter().map(|pair| (pair.path.clone(), Arc::new(pair))).collect();
            rings.clear();
        }
        self.newest.store(revision, Ordering::Release);
        self.freshness.send_modify(|freshness| {
            *freshness = Freshness { revision, heard, rebuilds: freshness.rebuilds.saturating_add(1) };
        });
        let _ = self.news.send(News::Everything);
    }

    fn change(&self, changes: Vec<Event>) -> Vec<String> {
        let mut pairs = self.pairs.write();
        let mut paths = Vec::with_capacity(changes.len());
        for change in changes {
            let (path, revision) = (change.path(), change.revision());
            if pairs.get(path).is_some_and(|known| known.revision >= revision) {
                continue;
            }
            self.newest.fetch_max(revision, Ordering::AcqRel);
            paths.push(path.to_owned());
            match change {
                Event::Put(pair) => pairs.insert(pair.path.clone(), Arc::new(pair)),
                Event::Delete { path, .. } => pairs.remove(&path),
            };
        }
        paths
    }

    fn replace(&self, new: Vec<Pair>, lowest: i64, revision: i64, heard: Option<Instant>) {
        let mut new: HashMap<_, _> = new.into_iter().map(|pair| (pair.path.clone(), pair)).collect();
        self.newest.fetch_max(revision, Ordering::AcqRel);
        {
            let mut pairs = self.pairs.write();
            // What was written after the list's revision was seen before and is newer than the list.
            pairs.retain(|path, pair| pair.revision > lowest || new.contains_key(path));
            for (path, pair) in new.drain() {
                if pairs.get(&path).is_none_or(|known| known.revision < pair.revision) {
                    pairs.insert(path, Arc::new(pair));
                }
            }
        }
        let _ = self.news.send(News::Everything);
        self.fresh(revision, heard);
    }

    fn fresh(&self, revision: i64, heard: Option<Instant>) {
        self.freshness.send_modify(|freshness| {
            freshness.revision = freshness.revision.max(revision);
            freshness.heard = heard.or(freshness.heard);
        });
    }
}

fn read<V: DeserializeOwned>(pair: &Pair) -> Option<Versioned<V>> {
    match pair.read() {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(error = %error::chain(&error), "ignoring an unreadable value");
            None
        }
    }
}

/// Reads a view of some prefixes from the store or, if that is unavailable or a restored backup, from disk.
///
/// # Errors
/// [`Error::Unavailable`] or [`Error::RestoredBackup`] if there is no snapshot on disk.
pub async fn open(store: &Store, prefixes: &[String], file: &std::path::Path) -> Result<View, Error> {
    let snapshot = snapshot::load(file).unwrap_or_else(|error| {
        tracing::warn!(error = %error::chain(&error), "ignoring the view on disk");
        None
    });
    let incarnation = store.known().map(|known| known.incarnation.number);
    let last = snapshot.as_ref().filter(|snapshot| Some(snapshot.incarnation) == incarnation).and_then(Snapshot::last);
    if let Some(last) = last {
        store.guard.saw(last);
    }
    let mut watch = Watch::new(store.clone(), prefixes.to_vec());
    match watch.next().await {
        Ok(Update::Rebuilt { pairs, revision }) => {
            let view = View::default();
            view.replace(pairs, revision, revision, Some(Instant::now()));
            Ok(view)
        }
        Ok(update) => {
            let view = View::default();
            view.apply(update);
            Ok(view)
        }
        Err(away) => {
            let Some(snapshot) = snapshot else { return Err(away) };
            let (error, revision) = (error::chain(&away), snapshot.revision);
            tracing::warn!(error, revision, "starting with the view from disk");
            Ok(View::from_snapshot(snapshot))
        }
    }
}

#[cfg(test)]
mod tests;
