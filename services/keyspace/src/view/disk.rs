//! Saves a view to disk, and what is known of the store beside it.

use std::{path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::View;
use crate::{Known, Store, error, snapshot};

/// Minimum time between two saves.
const SAVE: Duration = Duration::from_secs(5);

/// The files.
pub(super) struct Disk {
    file: Option<PathBuf>,
    saved: i64,
    noted: Option<Known>,
    at: Instant,
}

impl Disk {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, saved: 0, noted: None, at: Instant::now() }
    }

    /// Saves what has changed, if it must be or the last save is long enough ago.
    pub(super) fn keep(&mut self, view: &View, store: &Store, must: bool) {
        let Some(file) = &self.file else { return };
        // The first time at once: without a record of the store, a restored backup cannot be noticed.
        if !must && self.noted.is_some() && self.at.elapsed() < SAVE {
            return;
        }
        let (revision, known) = (view.freshness().revision, store.known());
        // The view first: when the record says that the store was adopted, the old view must be gone.
        let mut outcome = Ok(());
        if must || revision != self.saved {
            outcome = snapshot::save(file, &view.snapshot());
        }
        if let (Ok(()), Some(known), Some(folder)) = (&outcome, &known, file.parent())
            && self.noted.as_ref() != Some(known)
        {
            outcome = snapshot::note(folder, known);
        }
        match outcome {
            Ok(()) => (self.saved, self.noted, self.at) = (revision, known, Instant::now()),
            Err(error) => tracing::warn!(error = %error::chain(&error), "cannot save the view"),
        }
    }
}
