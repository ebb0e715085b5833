//! Files are handed out only as they were when they had their digest. A file that was changed since is verified again, and
//! one that does not have its digest any more is removed, and downloaded again.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{
    image::{
        Digest,
        format::{FileFormat, by_content},
    },
    time::Timestamp,
};
use durable_file::Access;
use service_kit::{clock, status};

use super::{
    Cache, Cached, Download, DownloadError, Hasher, MAX_ABSENT, Wanted,
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

/// Maximum number of attempts to verify a file that cannot be read or that is being changed.
const MAX_ATTEMPTS: u32 = 4;
/// Delay before the second attempt. It doubles.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// A file that was read.
#[derive(Debug)]
struct Hashed {
    state: FileState,
    format: FileFormat,
    /// Whether it has its digest.
    is_right: bool,
    /// Whether its state was the same before and after.
    is_stable: bool,
}

/// What follows from reading a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It has its digest.
    Right,
    /// It does not have its digest.
    Damaged,
    /// It is not there.
    Gone,
    /// The service is stopping.
    Stopping,
    /// It is not known: it was changed meanwhile, or the system has no file descriptor or memory for it, or the disk errs.
    Unknown,
}

impl Verdict {
    fn of(read: &io::Result<Hashed>) -> Self {
        match read {
            Ok(Hashed { is_right: false, .. }) => Self::Damaged,
            Ok(Hashed { is_stable: true, .. }) => Self::Right,
            Ok(Hashed { is_stable: false, .. }) => Self::Unknown,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Gone,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Self::Stopping,
            Err(_) => Self::Unknown,
        }
    }
}

/// How a verification ended.
enum Ended {
    /// The file is verified, or nothing is to be done about it.
    Over,
    /// These files were removed: it, and those that it was made of.
    Removed(Vec<Digest>),
    /// It must be verified again.
    Again,
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
            self.usage.with(digest, |usage| usage.last_used = clock::now());
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
        self.note_state(digest, state, clock::now());
        self.usage.with(digest, |usage| {
            (usage.verified, usage.is_present) = (Some(state), true);
        });
        Ok(())
    }

    /// Notes the state of a file and its last use for the next run, which otherwise verifies it again.
    fn note_state(&self, digest: &Digest, state: FileState, used: Timestamp) {
        let json = serde_json::to_vec(&state).unwrap_or_default();
        if let Err(error) = durable_file::write(&self.note_path(digest), &json, Access::Owner) {
            tracing::warn!(%digest, error = status::chain(&error), "cannot note the state of an image");
        }
        self.note_time(digest, used);
        self.usage.with(digest, |usage| (usage.last_used, usage.noted_use) = (used.max(usage.last_used), used));
    }

    /// Records a file that was verified, if it is still there.
    fn record_verified(&self, digest: &Digest, state: FileState) -> bool {
        let used = self.usage.with(digest, |usage| usage.last_used);
        self.note_state(digest, state, used);
        let _downloads = self.downloads.lock();
        let is_there = fs::metadata(self.path(digest)).is_ok_and(|now| FileState::of(&now).is_same_file(&state));
        if is_there {
            self.usage.with(digest, |usage| (usage.verified, usage.is_present) = (Some(state), true));
        } else {
            // It was evicted or replaced meanwhile; a note that does not fit is not used.
            drop(fs::remove_file(self.note_path(digest)));
        }
        is_there
    }

    fn note_time(&self, digest: &Digest, used: Timestamp) {
        let at = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(used.millis()).unwrap_or(0));
        let noted = File::options().write(true).open(self.note_path(digest)).and_then(|note| note.set_modified(at));
        if let Err(error) = noted {
            tracing::debug!(%digest, %error, "cannot note the use of an image");
        }
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
        let metadata = file.metadata()?;
        let used = fs::metadata(&note).and_then(|note| note.modified());
        let used = used.or_else(|_| metadata.accessed()).or_else(|_| metadata.modified()).ok();
        let used = used.and_then(|used| used.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
        // A verification is no use: a file that no deployment asks for may leave the cache before it.
        let used = Timestamp::default().plus(used).min(clock::now());
        self.usage.with(digest, |usage| {
            (usage.is_present, usage.last_used, usage.noted_use) = (true, used, used);
        });
        if noted != Some(state) {
            self.set(digest, Download::Unverified { total: state.size });
            self.verify_in_background(digest);
            return Ok(());
        }
        self.usage.with(digest, |usage| usage.verified = Some(state));
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
            self.note_time(digest, now);
        }
    }

    /// Remembers where a file comes from, so that it can be downloaded again, and that it was asked for.
    pub(super) fn note_source(&self, wanted: &Wanted<'_>) {
        self.usage.with(wanted.digest, |usage| {
            (usage.source, usage.last_used) = (Some(KnownSource::of(wanted)), clock::now());
        });
        self.usage.forget_absent(MAX_ABSENT);
    }

    /// Verifies a file unless that is under way. One that does not have its digest is downloaded again if it is known where
    /// from.
    pub(super) fn verify_in_background(&self, digest: &Digest) {
        if self.usage.with(digest, |usage| std::mem::replace(&mut usage.is_verifying, true)) {
            return;
        }
        let (cache, digest) = (self.clone(), digest.clone());
        self.host.spawn(async move {
            for digest in cache.verify(&digest).await {
                let source = cache.usage.with(&digest, |usage| usage.source.clone());
                if let Some(source) = source {
                    cache.ensure(&source.wanted(&digest));
                }
            }
        });
    }

    /// Verifies a file. Returns the files that were removed because it does not have its digest, with those that it was made
    /// of.
    async fn verify(&self, digest: &Digest) -> Vec<Digest> {
        let (mut attempt, mut delay) = (1, RETRY_DELAY);
        let removed = loop {
            match self.try_verify(digest).await {
                Ended::Over => break Vec::new(),
                Ended::Removed(removed) => break removed,
                Ended::Again if attempt < MAX_ATTEMPTS => {
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = self.host.stopping() => break Vec::new(),
                    }
                    (attempt, delay) = (attempt + 1, delay * 2);
                }
                Ended::Again => {
                    self.give_up(digest);
                    break Vec::new();
                }
            }
        };
        self.usage.with(digest, |usage| usage.is_verifying = false);
        removed
    }

    /// Forgets a file that cannot be verified, and leaves it on disk: a download replaces it when it is asked for.
    fn give_up(&self, digest: &Digest) {
        tracing::warn!(%digest, attempts = MAX_ATTEMPTS, "cannot verify a file of the image cache, will download it when needed");
        self.downloads.lock().retain(|other, download| !download.is_of_file(other, digest));
    }

    /// Forgets results of a file that is not there, which would wait for its verification for ever. It was evicted when it was
    /// there already and its download or conversion was about to end.
    fn forget_results_of_absent(&self, digest: &Digest, path: &Path) {
        let mut downloads = self.downloads.lock();
        // A result is recorded after its file has its place.
        if !path.exists() {
            downloads.retain(|other, download| {
                !(matches!(download, Download::Done(_)) && download.is_of_file(other, digest))
            });
        }
    }

    async fn try_verify(&self, digest: &Digest) -> Ended {
        let permit = tokio::select! {
            permit = std::sync::Arc::clone(&self.verifications).acquire_owned() => permit.ok(),
            () = self.host.stopping() => None,
        };
        let (cache, own) = (self.clone(), digest.clone());
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit?;
            cache.verify_now(&own)
        });
        // Without a permit the process stops.
        working.await.map_or(Ended::Again, |ended| ended.unwrap_or(Ended::Over))
    }

    fn verify_now(&self, digest: &Digest) -> Option<Ended> {
        tracing::info!(%digest, "verifying a file of the image cache");
        let path = self.path(digest);
        let read = self.read_and_hash(digest, &path);
        match (Verdict::of(&read), read) {
            (Verdict::Right, Ok(Hashed { state, format, .. })) => {
                if !self.record_verified(digest, state) {
                    // It was replaced or removed meanwhile.
                    return Some(Ended::Again);
                }
                self.finish_verification(digest, Cached { size: state.size, format, raw: None });
                Some(Ended::Over)
            }
            (Verdict::Damaged, Ok(Hashed { state, .. })) => {
                // Another download may have replaced it.
                let is_same = || fs::metadata(&path).is_ok_and(|now| FileState::of(&now).is_same_file(&state));
                let Some(removed) = self.forget_if(digest, |_, _| is_same()) else { return Some(Ended::Again) };
                tracing::warn!(
                    %digest,
                    "a file of the image cache was changed or cut on disk and does not have its digest any more, removed it"
                );
                metrics::damaged();
                Some(Ended::Removed(removed))
            }
            (Verdict::Gone, _) => {
                // One that was evicted is not downloaded again, and neither is one that came back.
                let removed = self.forget_if(digest, |_, usage| usage.is_present && !path.exists());
                if removed.is_some() {
                    tracing::warn!(%digest, "a file of the image cache was removed on disk");
                    metrics::damaged();
                }
                self.forget_results_of_absent(digest, &path);
                Some(removed.map_or(Ended::Over, Ended::Removed))
            }
            (Verdict::Unknown, Err(error)) => {
                tracing::warn!(%digest, %error, "cannot read a file of the image cache, will verify it later");
                Some(Ended::Again)
            }
            (Verdict::Unknown, Ok(_)) => Some(Ended::Again),
            (Verdict::Stopping | Verdict::Right | Verdict::Damaged, _) => None,
        }
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
        let is_right = hasher.finish() == digest.hex();
        let is_stable = FileState::of(&file.metadata()?) == state;
        Ok(Hashed { state, format, is_right, is_stable })
    }

    /// Ends the progress that a verification shows. A converted file stays one, and a download or conversion goes on.
    fn finish_verification(&self, digest: &Digest, cached: Cached) {
        let mut downloads = self.downloads.lock();
        match downloads.get(digest) {
            Some(Download::Done(_) | Download::InProgress { .. }) => {}
            Some(Download::Unverified { .. } | Download::Failed { .. }) | None => {
                downloads.insert(digest.clone(), Download::Done(cached));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_removed_only_if_its_digest_differs_or_it_is_gone() {
        let file = tempfile::tempfile().unwrap();
        let state = FileState::of(&file.metadata().unwrap());
        let read = |is_right, is_stable| Ok(Hashed { state, format: FileFormat::Raw, is_right, is_stable });
        let error = |code| Err(io::Error::from_raw_os_error(code));
        for (read, source, right) in [
            (read(true, true), "it has its digest", Verdict::Right),
            (read(true, false), "touched while it was read", Verdict::Unknown),
            (read(false, true), "another content", Verdict::Damaged),
            (read(false, false), "written while it was read", Verdict::Damaged),
            (error(2), "ENOENT", Verdict::Gone),
            (error(24), "EMFILE", Verdict::Unknown),
            (error(23), "ENFILE", Verdict::Unknown),
            (error(12), "ENOMEM", Verdict::Unknown),
            (error(13), "EACCES", Verdict::Unknown),
            (error(5), "EIO", Verdict::Unknown),
            (Err(io::ErrorKind::Interrupted.into()), "the service ends", Verdict::Stopping),
        ] {
            assert_eq!(Verdict::of(&read), right, "{source}");
        }
    }
}
