//! Saves a view to disk, and what is known of the store beside it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

use super::View;
use crate::{Error, Known, Store, error, snapshot};

/// Minimum time between two saves.
const SAVE: Duration = Duration::from_secs(5);

/// The files.
pub(super) struct Disk {
    file: Option<PathBuf>,
    saved: Saved,
    at: Instant,
    /// The save that was begun.
    saving: Option<JoinHandle<Result<Saved, Error>>>,
}

/// What was saved.
#[derive(Debug, Clone, Default)]
struct Saved {
    revision: Option<i64>,
    noted: Option<Known>,
}

impl Disk {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, saved: Saved::default(), at: Instant::now(), saving: None }
    }

    /// Begins to save what has changed if the last save is long enough ago, or saves it now if it must be. It is saved on a
    /// thread for blocking work: for a large view that takes longer than what else runs on the caller's thread, such as
    /// keep-alives, can wait.
    pub(super) async fn keep(&mut self, view: &View, store: &Store, must: bool) {
        if self.file.is_none() || !must && self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return;
        }
        self.wait().await;
        // The first time at once: without a record of the store, a restored backup cannot be noticed.
        if !must && self.saved.noted.is_some() && self.at.elapsed() < SAVE {
            return;
        }
        let Some(file) = self.file.clone() else { return };
        let (view, store, mut before) = (view.clone(), store.clone(), self.saved.clone());
        if must {
            before.revision = None;
        }
        self.saving = Some(tokio::task::spawn_blocking(move || save(&file, &view, &store, &before)));
        if must {
            self.wait().await;
        }
    }

    /// Waits for the save that was begun.
    pub(super) async fn wait(&mut self) {
        let Some(saving) = self.saving.take() else { return };
        match saving.await {
            Ok(Ok(saved)) => (self.saved, self.at) = (saved, Instant::now()),
            Ok(Err(error)) => tracing::warn!(error = %error::chain(&error), "cannot save the view"),
            Err(error) => tracing::warn!(%error, "cannot save the view"),
        }
    }
}

fn save(file: &Path, view: &View, store: &Store, before: &Saved) -> Result<Saved, Error> {
    let (revision, noted) = (Some(view.freshness().revision), store.known());
    // The view first: when the record says that the store was adopted, the old view must be gone.
    if revision != before.revision {
        snapshot::save(file, &view.snapshot())?;
    }
    if let (Some(known), Some(folder)) = (&noted, file.parent())
        && before.noted.as_ref() != Some(known)
    {
        snapshot::note(folder, known)?;
    }
    Ok(Saved { revision, noted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{Event, Pair},
        testing::MemoryEtcd,
        watch::Update,
    };

    fn applied(view: &View, revision: i64) {
        let pair = Pair { path: format!("/{revision}"), value: b"1".to_vec(), revision, created: 1 };
        view.apply(Update::Changes { changes: vec![Event::Put(pair)], revision: Some(revision) });
    }

    #[tokio::test]
    async fn a_view_is_saved_beside_the_caller_and_at_once_where_it_must_be() {
        let (folder, etcd) = (tempfile::tempdir().unwrap(), MemoryEtcd::new());
        let file = folder.path().join("view.zst");
        let saved = || snapshot::load(&file).unwrap().map(|snapshot| snapshot.revision);
        let (store, view) = (etcd.client().store(), View::default());
        store.verify().await.unwrap();
        let mut disk = Disk::new(Some(file.clone()));
        applied(&view, 5);
        disk.keep(&view, &store, false).await;
        assert!(disk.saving.is_some(), "the caller does not wait for it");
        disk.wait().await;
        assert_eq!((saved(), snapshot::noted(folder.path()).unwrap().is_some()), (Some(5), true));
        applied(&view, 6);
        disk.keep(&view, &store, false).await;
        assert!(disk.saving.is_none(), "not again so soon");
        disk.keep(&view, &store, true).await;
        assert_eq!((saved(), disk.saving.is_none()), (Some(6), true));
    }
}
