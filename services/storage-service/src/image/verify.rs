//! Files are handed out only as they were when they had their digest. A file that was changed since is verified again, and
//! one that does not have its digest any more is removed, and downloaded again.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use domain::image::{
    Digest,
    format::{FileFormat, by_content},
};
use durable_file::Access;
use service_kit::{clock, status};

use super::{
    Cache, Cached, Download, DownloadError, Hasher, Wanted,
    content::{Head, head_of},
    usage::{FileState, KnownSource, ReadGuard},
};
use crate::metrics;

/// Extension of the note with the state that a file had when it was verified. Its time of change is the last use of the file.
pub(super) const NOTE: &str = "verified";
/// Minimum time between two notes of the last use.
const USE_NOTE_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Why a file is not handed out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotServed {
    /// It is not in the cache.
    #[error("it is not in the cache")]
    Missing,
    /// It was changed since it was verified.
    #[error("it is being verified, because it was changed on disk; retry")]
    Unverified,
}

/// A verified file that is being read. It does not leave the cache meanwhile.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) file: File,
    state: FileState,
    _guard: Option<ReadGuard>,
}

impl Reading {
    /// Size of the file in bytes.
    pub(crate) const fn size(&self) -> u64 {
        self.state.size
    }

    /// Whether the file is still as it was when it was opened.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.file.metadata().is_ok_and(|now| FileState::of(&now).has_content_of(&self.state))
    }

    #[cfg(test)]
    pub(crate) fn of(file: File) -> Self {
        let state = FileState::of(&file.metadata().unwrap());
        Self { file, state, _guard: None }
    }
}

/// A file that was read.
struct Hashed {
    state: FileState,
    /// Its format, if it has its digest and was not changed meanwhile.
    format: Option<FileFormat>,
}

impl Cache {
    /// Opens a file for a transfer. One that was changed since it was verified is verified in the background.
    ///
    /// # Errors
    /// [`NotServed`]
    pub(crate) fn open_file(&self, digest: &Digest) -> Result<Reading, NotServed> {
        // Strangers ask for digests of their own: nothing is recorded of a file that is not there.
        let Ok(file) = File::open(self.path(digest)) else { return Err(NotServed::Missing) };
        let guard = self.usage.read(digest);
        let state = FileState::of(&file.metadata().map_err(|_| NotServed::Missing)?);
        if self.usage.with(digest, |usage| usage.verified) != Some(state) {
            // It may have been evicted since it was opened.
            if !self.path(digest).exists() {
                return Err(NotServed::Missing);
            }
            self.verify_in_background(digest);
            return Err(NotServed::Unverified);
        }
        self.note_use(digest);
        Ok(Reading { file, state, _guard: Some(guard) })
    }

    /// Whether the file on disk is as it was when it was verified.
    pub(super) fn is_intact(&self, digest: &Digest) -> bool {
        let verified = self.usage.with(digest, |usage| usage.verified);
        let now = fs::metadata(self.path(digest)).ok().map(|file| FileState::of(&file));
        verified.is_some() && verified == now
    }

    /// Records a file that has its digest.
    pub(super) fn record(&self, digest: &Digest) -> Result<(), DownloadError> {
        let path = self.path(digest);
        let failed = |error: String| DownloadError::cache(format!("cannot note the state of {digest}: {error}"));
        let state = fs::metadata(&path).map(|file| FileState::of(&file)).map_err(|error| failed(error.to_string()))?;
        self.record_as(digest, state).map_err(|error| failed(status::chain(&error)))
    }

    fn record_as(&self, digest: &Digest, state: FileState) -> Result<(), durable_file::DurableFileError> {
        let json = serde_json::to_vec(&state).unwrap_or_default();
        durable_file::write(&self.note_path(digest), &json, Access::Owner)?;
        let now = clock::now();
        self.usage.with(digest, |usage| {
            (usage.verified, usage.last_used, usage.noted_use) = (Some(state), now, now);
        });
        Ok(())
    }

    pub(super) fn note_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest).with_extension(NOTE)
    }

    /// Takes a file of an earlier run into the cache: as it is if it was not changed since it was verified, and otherwise
    /// after it was verified.
    pub(super) fn adopt(&self, digest: &Digest) -> io::Result<()> {
        let mut file = File::open(self.path(digest))?;
        let state = FileState::of(&file.metadata()?);
        let note = self.note_path(digest);
        let noted = fs::read(&note).ok().and_then(|json| serde_json::from_slice::<FileState>(&json).ok());
        if noted != Some(state) {
            self.set(digest, Download::InProgress { done: 0, total: state.size });
            self.verify_in_background(digest);
            return Ok(());
        }
        let used = fs::metadata(&note).and_then(|note| note.modified()).ok();
        let used = used.and_then(|used| used.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
        let used = domain::time::Timestamp::default().plus(used);
        self.usage.with(digest, |usage| {
            (usage.verified, usage.last_used, usage.noted_use) = (Some(state), used, used);
        });
        let format = by_content(&head_of(&mut file)?);
        self.add(digest, Cached { size: state.size, format, raw: None });
        Ok(())
    }

    /// Records that a file was asked for or read.
    pub(super) fn note_use(&self, digest: &Digest) {
        let now = clock::now();
        let is_due = self.usage.with(digest, |usage| {
            usage.last_used = now;
            let is_due = usage.verified.is_some() && now.since(usage.noted_use) >= USE_NOTE_INTERVAL;
            if is_due {
                usage.noted_use = now;
            }
            is_due
        });
        if is_due {
            let at = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0));
            let noted = File::options().write(true).open(self.note_path(digest)).and_then(|note| note.set_modified(at));
            if let Err(error) = noted {
                tracing::debug!(%digest, %error, "cannot note the use of an image");
            }
        }
    }

    /// Remembers where a file comes from, so that it can be downloaded again.
    pub(super) fn note_source(&self, wanted: &Wanted<'_>) {
        self.usage.with(wanted.digest, |usage| usage.source = Some(KnownSource::of(wanted)));
    }

    /// Verifies a file unless that is under way. One that does not have its digest is downloaded again if it is known where
    /// from.
    pub(super) fn verify_in_background(&self, digest: &Digest) {
        if self.usage.with(digest, |usage| std::mem::replace(&mut usage.is_verifying, true)) {
            return;
        }
        let (cache, digest) = (self.clone(), digest.clone());
        self.host.spawn(async move {
            let Some(removed) = cache.verify(&digest).await else { return };
            for digest in removed {
                let source = cache.usage.with(&digest, |usage| usage.source.clone());
                if let Some(source) = source {
                    cache.ensure(&source.wanted(&digest));
                }
            }
        });
    }

    /// Verifies a file. Returns `None` if it has its digest, and otherwise the files that were removed, with those that it
    /// was made of.
    async fn verify(&self, digest: &Digest) -> Option<Vec<Digest>> {
        let permit = tokio::select! {
            permit = std::sync::Arc::clone(&self.verifications).acquire_owned() => permit.ok(),
            () = self.host.stopping() => None,
        };
        let (cache, own) = (self.clone(), digest.clone());
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit?;
            cache.verify_now(&own)
        });
        let removed = working.await.ok().flatten();
        self.usage.with(digest, |usage| usage.is_verifying = false);
        removed
    }

    fn verify_now(&self, digest: &Digest) -> Option<Vec<Digest>> {
        tracing::info!(%digest, "verifying a file of the image cache");
        let path = self.path(digest);
        let Hashed { state, format } = match self.read_and_hash(digest, &path) {
            Ok(read) => read,
            // Its end is that of the service.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return None,
            Err(error) => {
                tracing::warn!(%digest, %error, "cannot read a file of the image cache, removed it");
                metrics::damaged();
                return Some(self.forget(digest));
            }
        };
        if let Some(format) = format {
            if let Err(error) = self.record_as(digest, state) {
                tracing::warn!(%digest, error = status::chain(&error), "cannot note the state of an image");
            }
            self.finish_verification(digest, Cached { size: state.size, format, raw: None });
            return None;
        }
        // Another download may have replaced it.
        let is_same = fs::metadata(&path).is_ok_and(|now| FileState::of(&now).is_same_file(&state));
        if !is_same {
            return None;
        }
        tracing::warn!(
            %digest,
            "a file of the image cache was changed or cut on disk and does not have its digest any more, removed it"
        );
        metrics::damaged();
        Some(self.forget(digest))
    }

    fn read_and_hash(&self, digest: &Digest, path: &Path) -> io::Result<Hashed> {
        let mut file = File::open(path)?;
        let state = FileState::of(&file.metadata()?);
        let (mut hasher, mut head) = (Hasher::new(digest.algorithm), Head::default());
        let mut format = None;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if self.host.is_stopping() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let piece = chunk.get(..count).unwrap_or_default();
            hasher.update(piece);
            if let Some(head) = head.add(piece) {
                format = Some(by_content(head));
            }
        }
        let format = format.unwrap_or_else(|| by_content(head.short().unwrap_or_default()));
        let is_right = hasher.finish() == digest.hex() && FileState::of(&file.metadata()?) == state;
        Ok(Hashed { state, format: is_right.then_some(format) })
    }

    /// Ends the progress that a verification shows. A converted file stays one.
    fn finish_verification(&self, digest: &Digest, cached: Cached) {
        let mut downloads = self.downloads.lock();
        match downloads.get(digest) {
            Some(Download::Done(_)) => {}
            Some(Download::InProgress { .. } | Download::Failed { .. }) | None => {
                downloads.insert(digest.clone(), Download::Done(cached));
            }
        }
    }
}
