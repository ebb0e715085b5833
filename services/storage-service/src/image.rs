//! The cache: each file is downloaded once, verified, and stored under its digest.

mod content;
mod convert;
mod digest_discovery;
mod eviction;
mod free_space;
mod local_file;
mod room;
mod source;
mod usage;
mod verify;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{
    failure::{Cause, Failure},
    image::{
        Algorithm, Digest, Encoding,
        format::{FileFormat, ImageFormatError},
    },
};
use parking_lot::Mutex;
use service_kit::{
    Host, clock,
    outbound_http::{Purpose, redacted},
};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use self::{
    content::Expected,
    digest_discovery::DigestDiscovery,
    eviction::CacheLimits,
    source::Sources,
    verify::{NotServed, Reading},
};
use self::{
    source::{FetchRequest, Fetched},
    usage::{Usage, UsageTable},
};
use crate::{Error, metrics};

/// Maximum number of attempts of a download.
const MAX_ATTEMPTS: u32 = 3;
/// Delay before a download is retried.
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// How long a result is returned without a new attempt.
const RESULT_TTL: Duration = Duration::from_secs(10);

/// Extension of a file that was removed. The next run removes what a crash leaves.
const LEFTOVER: &str = "leftover";
/// Number of the next of them.
static NEXT_LEFTOVER: AtomicU64 = AtomicU64::new(0);

/// State of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Download {
    /// In progress; sizes in bytes, `total` is 0 if unknown.
    InProgress { done: u64, total: u64 },
    /// In the cache.
    Done(Cached),
    /// Failed, for callers with the same expectation.
    Failed { failure: Failure, at: Instant, expected: Expected },
}

/// A file in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cached {
    /// Size of the served file, in bytes.
    pub(crate) size: u64,
    /// Format of the downloaded file.
    format: FileFormat,
    /// Digest of the raw content that is served in place of a converted file.
    pub(crate) raw: Option<Digest>,
}

/// The file to download.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    pub(crate) digest: &'w Digest,
    pub(crate) url: &'w str,
    /// Name of the image, for messages.
    pub(crate) name: &'w str,
    pub(crate) expected: Expected,
}

impl Cached {
    /// Returns the answer for a caller that expects a content. `None` if the file must be converted first.
    fn answer(&self, wanted: &Wanted<'_>) -> Option<Download> {
        let Expected::Disk(expected) = wanted.expected else { return Some(Download::Done(self.clone())) };
        let found = self.format;
        if found.encoding() != Some(expected) {
            let error = ImageFormatError::Content { expected, found };
            return Some(DownloadError::format(wanted.name, wanted.url, &error).failed(wanted.expected));
        }
        (expected != Encoding::Qcow2 || self.raw.is_some()).then(|| Download::Done(self.clone()))
    }
}

/// The cache. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
    sources: Sources,
    downloads: Arc<Mutex<HashMap<Digest, Download>>>,
    discoveries: Arc<Mutex<HashMap<String, DigestDiscovery>>>,
    usage: UsageTable,
    host: Host,
    limits: CacheLimits,
    /// Held while files are evicted.
    evictions: Arc<Mutex<()>>,
    /// Permits for conversions.
    conversions: Arc<Semaphore>,
    /// The permit for verifying a file, which reads all of it.
    verifications: Arc<Semaphore>,
}

impl Cache {
    /// Opens the cache. Deletes incomplete files of a previous run, and verifies files that were changed since. Must be called
    /// within a runtime.
    pub(crate) fn open(folder: PathBuf, sources: Sources, host: Host, limits: CacheLimits) -> Result<Self, Error> {
        let unusable = |source| Error::Folder { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(unusable)?;
        let cache = Self {
            folder: folder.clone(),
            sources,
            downloads: Arc::default(),
            discoveries: Arc::default(),
            usage: UsageTable::default(),
            host,
            limits,
            evictions: Arc::default(),
            conversions: Arc::new(Semaphore::new(convert::MAX_CONVERSIONS)),
            verifications: Arc::new(Semaphore::new(1)),
        };
        let mut marks = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unusable)?.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(digest) = name.parse::<Digest>() {
                cache.adopt(&digest).map_err(unusable)?;
            } else if convert::is_mark(&path) {
                marks.push(path);
            } else if !(path.extension().is_some_and(|it| it == verify::NOTE) && path.with_extension("").exists()) {
                fs::remove_file(&path).map_err(unusable)?;
            }
        }
        for mark in marks {
            match cache.converted(&mark) {
                Some((digest, converted)) => cache.add(&digest, converted),
                None => fs::remove_file(&mark).map_err(unusable)?,
            }
        }
        Ok(cache)
    }

    /// Returns the path of a file, whether it is cached or not.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.file_name())
    }

    /// Lists the cached files with their sizes in bytes.
    pub(crate) fn list(&self) -> Vec<(Digest, u64)> {
        let downloads = self.downloads.lock();
        let files = downloads.iter().filter_map(|(digest, download)| match download {
            Download::Done(Cached { size, raw: None, .. }) => Some((digest.clone(), *size)),
            Download::Done(_) | Download::InProgress { .. } | Download::Failed { .. } => None,
        });
        files.collect()
    }

    /// Returns the state of a file's download. Starts it if it is neither cached nor in progress.
    pub(crate) fn ensure(&self, wanted: &Wanted<'_>) -> Download {
        let mut downloads = self.downloads.lock();
        self.note_source(wanted);
        let known = match downloads.get(wanted.digest) {
            Some(Download::Done(cached)) => {
                let served = cached.raw.as_ref().unwrap_or(wanted.digest);
                [served, wanted.digest].into_iter().for_each(|digest| self.note_use(digest));
                if !self.is_intact(served) {
                    self.verify_in_background(served);
                    return Download::InProgress { done: 0, total: cached.size };
                }
                if let Some(answer) = cached.answer(wanted) {
                    return answer;
                }
                Some(cached.clone())
            }
            Some(Download::Failed { at, expected, .. })
                if at.elapsed() > RESULT_TTL || *expected != wanted.expected =>
            {
                None
            }
            Some(download) => return download.clone(),
            None => None,
        };
        let started = Download::InProgress { done: 0, total: 0 };
        downloads.insert(wanted.digest.clone(), started.clone());
        let Wanted { digest, url, name, expected } = *wanted;
        let (cache, digest, url, name) = (self.clone(), digest.clone(), url.to_owned(), name.to_owned());
        self.host.spawn(async move {
            let wanted = Wanted { digest: &digest, url: &url, name: &name, expected };
            cache.download(&wanted, known).await;
        });
        started
    }

    /// Removes a file, and forgets what was converted to it. Returns the digests of all of them. Transfers go on. Blocks.
    #[cfg(test)]
    fn forget(&self, digest: &Digest) -> Vec<Digest> {
        self.forget_if(digest, |_, _| true).unwrap_or_default()
    }

    /// Removes a file and forgets what was converted to it if its state is still such. Returns the digests of all of them.
    /// Transfers go on. Blocks: the file loses its name while no other task can ask for it, and its content after that, which
    /// can take long.
    fn forget_if(
        &self,
        digest: &Digest,
        is_such: impl FnOnce(Option<&Download>, &Usage) -> bool,
    ) -> Option<Vec<Digest>> {
        let leftover =
            self.path(digest).with_extension(format!("{}.{LEFTOVER}", NEXT_LEFTOVER.fetch_add(1, Ordering::Relaxed)));
        let gone = self.forget_under_lock(digest, is_such, &leftover);
        remove_if_there(&leftover);
        gone
    }

    fn forget_under_lock(
        &self,
        digest: &Digest,
        is_such: impl FnOnce(Option<&Download>, &Usage) -> bool,
        leftover: &Path,
    ) -> Option<Vec<Digest>> {
        let mut downloads = self.downloads.lock();
        let is_taken = self.usage.with(digest, |usage| {
            let is_taken = is_such(downloads.get(digest), usage);
            if is_taken {
                (usage.verified, usage.is_present) = (None, false);
                let path = self.path(digest);
                match fs::rename(&path, leftover) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => warn_of(&path, &error),
                    Ok(()) | Err(_) => {}
                }
            }
            is_taken
        });
        if !is_taken {
            return None;
        }
        let is_gone = |other: &Digest, download: &Download| {
            other == digest || matches!(download, Download::Done(Cached { raw: Some(raw), .. }) if raw == digest)
        };
        let gone: Vec<Digest> = downloads
            .iter()
            .filter(|(other, download)| is_gone(other, download))
            .map(|(other, _)| other.clone())
            .collect();
        for digest in gone.iter().chain([digest]) {
            downloads.remove(digest);
            self.usage.forget(digest);
            // The file itself has another name by now; that of an image that was converted is gone.
            for path in [self.path(digest), self.note_path(digest), convert::mark_path(&self.path(digest))] {
                remove_if_there(&path);
            }
        }
        Some(gone)
    }

    fn set(&self, digest: &Digest, download: Download) {
        self.downloads.lock().insert(digest.clone(), download);
    }

    fn add(&self, digest: &Digest, cached: Cached) {
        self.set(digest, Download::Done(cached));
    }

    /// Adds a file that was stored under its digest by other means than its download. A download or conversion in
    /// progress goes on, and a converted file stays one.
    fn add_unless_known(&self, digest: &Digest, cached: Cached) {
        let mut downloads = self.downloads.lock();
        if matches!(downloads.get(digest), None | Some(Download::Failed { .. })) {
            downloads.insert(digest.clone(), Download::Done(cached));
        }
    }

    /// Downloads a file unless it is `known`, and converts it if its format is not served.
    async fn download(&self, wanted: &Wanted<'_>, known: Option<Cached>) {
        let Wanted { digest, url, name, expected } = *wanted;
        tracing::info!(%digest, url = redacted(url), name, "downloading");
        let mut attempt = 0;
        let ended = loop {
            attempt += 1;
            let cached = match known.clone() {
                Some(known) => Ok(known),
                None => self.try_download(wanted).await,
            };
            let cached = match cached {
                Ok(cached) if expected == Expected::Disk(Encoding::Qcow2) && cached.raw.is_none() => {
                    self.convert(digest, name).await
                }
                cached => cached,
            };
            match cached {
                Ok(cached) => break Download::Done(cached),
                Err(error)
                    if !error.is_final
                        && error.cause == Cause::ImageUnreachable
                        && attempt < MAX_ATTEMPTS
                        && !self.host.is_stopping() =>
                {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => {
                    tracing::warn!(%digest, cause = error.cause.word(), text = error.text, "download failed");
                    break error.failed(expected);
                }
            }
        };
        // What the end of the service interrupts has not failed: another replica or the next run does it.
        if self.host.is_stopping() && !matches!(ended, Download::Done(_)) {
            return;
        }
        metrics::downloaded(if matches!(ended, Download::Done(_)) { "done" } else { "failed" });
        self.set(digest, ended);
    }

    async fn try_download(&self, wanted: &Wanted<'_>) -> Result<Cached, DownloadError> {
        let (part, name) = (self.path(wanted.digest).with_extension("part"), wanted.name);
        let outcome = self.copy(wanted, &part).await;
        if outcome.is_ok() {
            publish(&part, &self.path(wanted.digest), name)?;
            self.record(wanted.digest)?;
        } else {
            drop(fs::remove_file(&part));
        }
        outcome
    }

    async fn copy(&self, wanted: &Wanted<'_>, part: &Path) -> Result<Cached, DownloadError> {
        let Wanted { digest, url, name, expected } = *wanted;
        let progress = |done, total| self.set(digest, Download::InProgress { done, total });
        let request = FetchRequest {
            url,
            name,
            algorithm: digest.algorithm,
            path: part,
            expected,
            known: None,
            purpose: Purpose::Image,
        };
        let fetched = self.fetch(request, progress).await?;
        let unchanged = || DownloadError::unreachable(format!("{} reports an unchanged file", redacted(url)));
        let Fetched { size, format, hex, .. } = fetched.ok_or_else(unchanged)?;
        // The digest that it has would tell a user about a file that the user cannot read.
        if hex != digest.hex() {
            let text = format!("image {name} from {} does not have the registered digest {digest}", redacted(url));
            return Err(DownloadError { cause: Cause::ImageDigest, text, is_final: true });
        }
        Ok(Cached { size, format, raw: None })
    }
}

fn remove_if_there(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => warn_of(path, &error),
        Ok(()) | Err(_) => {}
    }
}

fn warn_of(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "cannot remove a file of the image cache");
}

/// Gives a complete file its name in the cache.
fn publish(part: &Path, path: &Path, name: &str) -> Result<(), DownloadError> {
    durable_file::publish(part, path).map_err(|error| {
        let error = service_kit::status::chain(&error);
        DownloadError::cache(format!("cannot move image {name} into the cache: {error}"))
    })
}

/// Why a file cannot be downloaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct DownloadError {
    cause: Cause,
    text: String,
    /// Whether another attempt cannot succeed.
    is_final: bool,
}

impl DownloadError {
    const fn cache(text: String) -> Self {
        Self { cause: Cause::ImageCache, text, is_final: true }
    }

    const fn unreachable(text: String) -> Self {
        Self { cause: Cause::ImageUnreachable, text, is_final: false }
    }

    fn format(name: &str, url: &str, error: &ImageFormatError) -> Self {
        let text = format!("cannot use image {name} from {}: {error}", redacted(url));
        Self { cause: Cause::ImageFormat, text, is_final: true }
    }

    fn failed(self, expected: Expected) -> Download {
        let failure = Failure { cause: self.cause, text: self.text, at: clock::now() };
        Download::Failed { failure, at: Instant::now(), expected }
    }
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(piece),
            Self::Sha512(hasher) => hasher.update(piece),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex::encode(hasher.finalize()),
            Self::Sha512(hasher) => hex::encode(hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests;
