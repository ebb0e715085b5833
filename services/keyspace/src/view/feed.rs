//! Changes of a view, for its readers.

use std::collections::BTreeSet;

use tokio::sync::broadcast;

use super::{News, View};

/// What a changed path means to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touches<T> {
    /// Nothing.
    Nothing,
    /// One of its things.
    One(T),
    /// All of them.
    All,
}

/// The changes that a reader, which keeps things derived from the view, has not applied yet.
#[derive(Debug)]
pub struct Feed {
    news: Subscription,
    /// Whether nothing was taken yet.
    is_new: bool,
}

impl Feed {
    /// Starts; everything counts as changed.
    #[must_use]
    pub fn new(view: &View) -> Self {
        Self { news: view.subscribe(), is_new: true }
    }

    /// Takes what changed since the last call. `None` if anything may have.
    pub fn take<T: Ord>(&mut self, touches: impl Fn(&str) -> Touches<T>) -> Option<BTreeSet<T>> {
        let (mut changed, mut all) = (BTreeSet::new(), std::mem::take(&mut self.is_new));
        while let Some(news) = self.news.take() {
            match news {
                News::Everything => all = true,
                News::Path(path) => match touches(&path) {
                    Touches::Nothing => {}
                    Touches::One(one) => drop(changed.insert(one)),
                    Touches::All => all = true,
                },
            }
        }
        (!all).then_some(changed)
    }
}

/// A subscription to the changes of a view.
#[derive(Debug)]
pub struct Subscription {
    pub(super) news: broadcast::Receiver<News>,
}

impl Subscription {
    /// Takes the next change, if there is one already.
    pub fn take(&mut self) -> Option<News> {
        match self.news.try_recv() {
            Ok(news) => Some(news),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(News::Everything),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }

    /// Waits for the next change. `None` when the view was dropped. Safe to drop at any await and call again.
    pub async fn next(&mut self) -> Option<News> {
        match self.news.recv().await {
            Ok(news) => Some(news),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(News::Everything),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
