//! A watch-fed copy of a part of the store, in memory: reads come from here.
//!
//! It never goes back: a change is taken only when it is newer than what is known of its key. What it was last told,
//! and when, is known to whoever must decide whether it is fresh enough.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, RwLock, RwLockReadGuard},
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use crate::{
    Error, Key, Prefix, Store,
    snapshot::{self, Snapshot},
    store::{Pair, Revised},
    watch::{Seen, Watch},
};

/// Changed paths that a slow reader may lag behind; beyond it, it is told that everything changed.
const LAG: usize = 4096;
/// How long after etcd went away it is tried again.
const AGAIN: Duration = Duration::from_millis(300);
/// How often the copy on disk is renewed, when something changed.
const SAVE: Duration = Duration::from_secs(5);

/// What happened to the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// This path has another value, or none any more.
    Path(Arc<str>),
    /// Anything may have changed.
    Everything,
}

/// How fresh the view is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Everything up to this revision under its first prefix is in it; 0: nothing yet.
    pub revision: i64,
    /// When etcd last said something, on tokio's clock; none: only the disk did.
    pub heard: Option<Instant>,
}

/// The copy. Clones are the same.
#[derive(Debug, Clone)]
pub struct View {
    pairs: Arc<RwLock<BTreeMap<String, Pair>>>,
    news: broadcast::Sender<News>,
    freshness: Arc<watch::Sender<Freshness>>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            pairs: Arc::default(),
            news: broadcast::Sender::new(LAG),
            freshness: Arc::new(watch::Sender::new(Freshness { revision: 0, heard: None })),
        }
    }
}

impl View {
    /// Takes what was on disk, for a start without etcd.
    #[must_use]
    pub fn from_snapshot(snapshot: Snapshot) -> Self {
        let view = Self::default();
        view.replace(snapshot.pairs, snapshot.revision, snapshot.revision, None);
        view
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Pair>> {
        // A writer that panicked half-way has at worst left out a change that is watched again.
        self.pairs.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The value of a key. One that can not be read counts as absent, and is logged.
    #[must_use]
    pub fn get<V: DeserializeOwned>(&self, key: &Key<V>) -> Option<Revised<V>> {
        read(self.read().get(key.path())?)
    }

    /// All values under a prefix, in the order of their paths.
    #[must_use]
    pub fn list<V: DeserializeOwned>(&self, prefix: &Prefix<V>) -> Vec<(String, Revised<V>)> {
        let pairs = self.read();
        let from = (Bound::Included(prefix.path().to_owned()), Bound::Unbounded);
        pairs
            .range(from)
            .take_while(|(path, _)| path.starts_with(prefix.path()))
            .filter_map(|(path, pair)| Some((path.clone(), read(pair)?)))
            .collect()
    }

    /// The paths under a prefix.
    #[must_use]
    pub fn paths(&self, prefix: &str) -> Vec<String> {
        let pairs = self.read();
        let from = (Bound::Included(prefix.to_owned()), Bound::Unbounded);
        pairs.range(from).map(|(path, _)| path).take_while(|path| path.starts_with(prefix)).cloned().collect()
    }

    /// What changes from here on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { news: self.news.subscribe() }
    }

    /// How fresh it is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        *self.freshness.borrow()
    }

    /// How fresh it is, now and whenever that changes.
    #[must_use]
    pub fn follow_freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.subscribe()
    }

    /// Waits until everything up to a revision under its first prefix is in it. Safe to drop at any await and call again.
    pub async fn reaches(&self, revision: i64) {
        let mut freshness = self.freshness.subscribe();
        // The sender lives as long as this view.
        let _ = freshness.wait_for(|freshness| freshness.revision >= revision).await;
    }

    /// Keeps the copy up with the store until the future is dropped; saves it to `file` now and then.
    pub async fn follow(&self, store: Store, prefixes: Vec<String>, file: Option<std::path::PathBuf>) {
        let mut watch = Watch::new(store, prefixes);
        let (mut saved, mut saved_at) = (0, Instant::now());
        loop {
            match watch.next().await {
                Ok(seen) => self.apply(seen),
                Err(error) => {
                    tracing::warn!(error = %crate::error_chain(&error), "the store is away");
                    tokio::time::sleep(AGAIN).await;
                }
            }
            let revision = self.freshness().revision;
            if let Some(file) = &file
                && revision > saved
                && saved_at.elapsed() >= SAVE
            {
                (saved, saved_at) = (revision, Instant::now());
                if let Err(error) = snapshot::save(file, &self.snapshot()) {
                    tracing::warn!(%error, "cannot keep the view on disk");
                }
            }
        }
    }

    /// All of it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { revision: self.freshness().revision, pairs: self.read().values().cloned().collect() }
    }

    fn apply(&self, seen: Seen) {
        let now = Some(Instant::now());
        match seen {
            Seen::Everything { pairs, lowest, revision } => self.replace(pairs, lowest, revision, now),
            Seen::Nothing => self.fresh(0, now),
            Seen::Changes { changes, revision } => {
                let paths = self.change(changes);
                self.fresh(revision.unwrap_or(0), now);
                for path in paths {
                    // Nobody listens: nobody needs to know.
                    let _ = self.news.send(News::Path(path.into()));
                }
            }
        }
    }

    fn change(&self, changes: Vec<Result<Pair, (String, i64)>>) -> Vec<String> {
        let mut pairs = self.pairs.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut paths = Vec::with_capacity(changes.len());
        for change in changes {
            let (path, revision) = match &change {
                Ok(pair) => (&pair.path, pair.revision),
                Err((path, revision)) => (path, *revision),
            };
            if pairs.get(path).is_some_and(|known| known.revision >= revision) {
                continue;
            }
            paths.push(path.clone());
            match change {
                Ok(pair) => pairs.insert(pair.path.clone(), pair),
                Err((path, _)) => pairs.remove(&path),
            };
        }
        paths
    }

    fn replace(&self, new: Vec<Pair>, lowest: i64, revision: i64, heard: Option<Instant>) {
        let mut new: HashMap<_, _> = new.into_iter().map(|pair| (pair.path.clone(), pair)).collect();
        {
            let mut pairs = self.pairs.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            // What was written after the list's revision was seen before and is newer than the list.
            pairs.retain(|path, pair| pair.revision > lowest || new.contains_key(path));
            for (path, pair) in new.drain() {
                if pairs.get(&path).is_none_or(|known| known.revision < pair.revision) {
                    pairs.insert(path, pair);
                }
            }
        }
        self.fresh(revision, heard);
        let _ = self.news.send(News::Everything);
    }

    fn fresh(&self, revision: i64, heard: Option<Instant>) {
        self.freshness.send_modify(|freshness| {
            freshness.revision = freshness.revision.max(revision);
            freshness.heard = heard.or(freshness.heard);
        });
    }
}

fn read<V: DeserializeOwned>(pair: &Pair) -> Option<Revised<V>> {
    match pair.read() {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(error = %crate::error_chain(&error), "a value in the store can not be read");
            None
        }
    }
}

/// What changes, for one reader.
#[derive(Debug)]
pub struct Subscription {
    news: broadcast::Receiver<News>,
}

impl Subscription {
    /// The next news; none when the view is no more. Safe to drop at any await and call again.
    pub async fn next(&mut self) -> Option<News> {
        match self.news.recv().await {
            Ok(news) => Some(news),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(News::Everything),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// A view of some prefixes that is first read, from the store or, where that is away, from disk.
///
/// # Errors
/// The store is away and nothing is on disk.
pub async fn open(store: &Store, prefixes: &[String], file: &std::path::Path) -> Result<View, Error> {
    let mut watch = Watch::new(store.clone(), prefixes.to_vec());
    match watch.next().await {
        Ok(seen) => {
            let view = View::default();
            view.apply(seen);
            Ok(view)
        }
        Err(away) => match snapshot::load(file) {
            Ok(Some(snapshot)) => {
                tracing::warn!(revision = snapshot.revision, "the store is away: beginning with the view on disk");
                Ok(View::from_snapshot(snapshot))
            }
            Ok(None) | Err(_) => Err(away),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(path: &str, revision: i64) -> Pair {
        Pair { path: path.to_owned(), value: b"1".to_vec(), revision, created: 1 }
    }

    fn paths(view: &View) -> Vec<String> {
        view.paths("/")
    }

    #[tokio::test]
    async fn a_change_that_is_older_than_what_is_known_is_not_taken() {
        let view = View::default();
        view.apply(Seen::Everything { pairs: vec![pair("/a", 5)], lowest: 5, revision: 5 });
        view.apply(Seen::Changes { changes: vec![Err(("/a".to_owned(), 4))], revision: Some(6) });
        assert_eq!(paths(&view), ["/a"]);
        view.apply(Seen::Changes { changes: vec![Err(("/a".to_owned(), 7)), Ok(pair("/b", 7))], revision: Some(7) });
        assert_eq!(paths(&view), ["/b"]);
        assert_eq!(view.freshness().revision, 7);
    }

    #[tokio::test]
    async fn changes_under_another_prefix_do_not_count_as_having_seen_the_first_one() {
        let view = View::default();
        view.apply(Seen::Everything { pairs: vec![], lowest: 5, revision: 5 });
        view.apply(Seen::Changes { changes: vec![Ok(pair("/other", 9))], revision: None });
        assert_eq!((paths(&view), view.freshness().revision), (vec!["/other".to_owned()], 5));
    }

    #[tokio::test]
    async fn a_list_drops_what_is_gone_and_tells_that_anything_may_have_changed() {
        let view = View::default();
        view.apply(Seen::Everything { pairs: vec![pair("/a", 5), pair("/b", 5)], lowest: 5, revision: 5 });
        let mut news = view.subscribe();
        view.apply(Seen::Everything { pairs: vec![pair("/b", 5), pair("/c", 8)], lowest: 8, revision: 8 });
        assert_eq!(paths(&view), ["/b", "/c"]);
        assert_eq!(news.next().await, Some(News::Everything));
    }
}
