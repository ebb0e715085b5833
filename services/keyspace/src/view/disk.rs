//! The copy of a view on disk, and beside it what is known of the store.

use std::{path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::View;
use crate::{Known, Store, error, snapshot};

/// How often they are renewed, when something changed.
const SAVE: Duration = Duration::from_secs(5);

/// The copy on disk.
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

    /// Renews what has changed, not too often unless it must be.
    pub(super) fn keep(&mut self, view: &View, store: &Store, must: bool) {
        let Some(file) = &self.file else { return };
        // The first time at once: what is not noted can not be missed.
        if !must && self.noted.is_some() && self.at.elapsed() < SAVE {
            return;
        }
        let (revision, known) = (view.freshness().revision, store.known());
        // The view first: of a store that was adopted nothing of before may be left when the note says so.
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
            Err(error) => tracing::warn!(error = %error::chain(&error), "cannot keep the view on disk"),
        }
    }
}
