//! The cache: each file is downloaded once, verified, and stored under its digest.

mod content;
mod convert;
mod digest_discovery;
mod download;
mod download_error;
mod eviction;
mod free_space;
mod hasher;
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
    failure::Failure,
    image::{
        Digest, Encoding,
        format::{FileFormat, ImageFormatError},
    },
};
use parking_lot::Mutex;
use service_kit::Host;
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use self::{
    content::Expected,
    digest_discovery::DigestDiscovery,
    eviction::CacheLimits,
    source::Sources,
    verify::{NotServed, Reading},
};
use self::{
    download_error::DownloadError,
    hasher::Hasher,
    source::{FetchRequest, Fetched},
    usage::{Usage, UsageTable},
};
use crate::Error;

/// Maximum number of files of which something is remembered though they are not in the cache.
const MAX_ABSENT: usize = 1024;
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
    /// In the cache since an earlier run, and not verified since; its size in bytes.
    Unverified { total: u64 },
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

impl Download {
    /// Whether this entry, which `of` has, is lost with a file. A download or conversion in progress is not: it brings the file.
    fn is_of_file(&self, of: &Digest, file: &Digest) -> bool {
        match self {
            Self::InProgress { .. } => false,
            Self::Done(Cached { raw: Some(raw), .. }) => of == file || raw == file,
            Self::Done(_) | Self::Unverified { .. } | Self::Failed { .. } => of == file,
        }
    }
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
    /// Held while a complete file is given its place.
    storing: Arc<Mutex<()>>,
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
            storing: Arc::default(),
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
            Download::Done(_) | Download::InProgress { .. } | Download::Unverified { .. } | Download::Failed { .. } => {
                None
            }
        });
        files.collect()
    }

    /// Returns the state of a file's download. Starts it if it is neither cached nor in progress. A file that is being verified
    /// is [`Download::Unverified`], or in progress if it was downloaded by this run.
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
        forget_failures(&mut downloads);
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
        let gone: Vec<Digest> = downloads
            .iter()
            .filter(|(other, download)| download.is_of_file(other, digest))
            .map(|(other, _)| other.clone())
            .collect();
        for digest in &gone {
            downloads.remove(digest);
        }
        for digest in gone.iter().chain([digest]) {
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
}

/// Forgets failures that are not returned any more, once there are many entries. Clients name files without end.
fn forget_failures(downloads: &mut HashMap<Digest, Download>) {
    if downloads.len() >= MAX_ABSENT {
        downloads.retain(|_, download| !matches!(download, Download::Failed { at, .. } if at.elapsed() > RESULT_TTL));
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

#[cfg(test)]
mod tests;
