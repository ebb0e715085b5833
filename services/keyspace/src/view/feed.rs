//! What changes, for those who read a view.

use std::collections::BTreeSet;

use tokio::sync::broadcast;

use super::{News, View};

/// What a changed path is to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touches<T> {
    /// Nothing.
    Nothing,
    /// One thing of his.
    One(T),
    /// All of them.
    All,
}

/// What a reader who keeps things made of the view has not taken yet.
#[derive(Debug)]
pub struct Feed {
    news: Subscription,
    /// Nothing was taken yet.
    is_new: bool,
}

impl Feed {
    /// Begins; all is new.
    #[must_use]
    pub fn new(view: &View) -> Self {
        Self { news: view.subscribe(), is_new: true }
    }

    /// What changed since the last time; none: anything may have.
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

/// What changes, for one reader.
#[derive(Debug)]
pub struct Subscription {
    pub(super) news: broadcast::Receiver<News>,
}

impl Subscription {
    /// What has been told and was not taken yet; none: nothing more for now.
    pub fn take(&mut self) -> Option<News> {
        match self.news.try_recv() {
            Ok(news) => Some(news),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(News::Everything),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }

    /// The next news; none when the view is no more. Safe to drop at any await and call again.
    pub async fn next(&mut self) -> Option<News> {
        match self.news.recv().await {
            Ok(news) => Some(news),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(News::Everything),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
