//! The cache: each file is downloaded once, verified, and stored under its digest.

mod digest_discovery;
mod source;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use domain::{
    failure::{Cause, Failure},
    image::{Algorithm, Digest},
};
use parking_lot::Mutex;
use service_kit::{Host, clock};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::time::Instant;

pub(crate) use self::digest_discovery::DigestDiscovery;
use self::source::{FetchRequest, Fetched};
use crate::{Error, metrics};

/// How long the source of a file may send nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of attempts of a download.
const MAX_ATTEMPTS: u32 = 3;
/// Delay before a download is retried.
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// How long a result is returned without a new attempt.
const RESULT_TTL: Duration = Duration::from_secs(10);

/// State of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Download {
    /// In progress; sizes in bytes, `total` is 0 if unknown.
    InProgress { done: u64, total: u64 },
    /// In the cache; the size in bytes.
    Done { size: u64 },
    /// Failed.
    Failed { failure: Failure, at: Instant },
}

/// The cache. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
    files_from: Arc<[PathBuf]>,
    client: reqwest::Client,
    downloads: Arc<Mutex<HashMap<Digest, Download>>>,
    discoveries: Arc<Mutex<HashMap<String, DigestDiscovery>>>,
    host: Host,
}

impl Cache {
    /// Opens the cache. Deletes incomplete files of a previous run.
    pub(crate) fn open(folder: PathBuf, files_from: Vec<PathBuf>, host: Host) -> Result<Self, Error> {
        let unusable = |source| Error::Folder { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(unusable)?;
        let mut downloads = HashMap::new();
        for entry in fs::read_dir(&folder).map_err(unusable)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match (name.parse::<Digest>(), entry.metadata()) {
                (Ok(digest), Ok(metadata)) => drop(downloads.insert(digest, Download::Done { size: metadata.len() })),
                _ => fs::remove_file(entry.path()).map_err(unusable)?,
            }
        }
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(READ_TIMEOUT)
            .build()
            .map_err(Error::Http)?;
        let downloads = Arc::new(Mutex::new(downloads));
        Ok(Self { folder, files_from: files_from.into(), client, downloads, discoveries: Arc::default(), host })
    }

    /// Returns the path of a file, whether it is cached or not.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.file_name())
    }

    /// Lists the cached files with their sizes in bytes.
    pub(crate) fn list(&self) -> Vec<(Digest, u64)> {
        let downloads = self.downloads.lock();
        downloads
            .iter()
            .filter_map(
                |(digest, pull)| if let Download::Done { size } = pull { Some((digest.clone(), *size)) } else { None },
            )
            .collect()
    }

    /// Returns the state of a file's download. Starts it if it is neither cached nor in progress.
    pub(crate) fn ensure(&self, digest: &Digest, url: &str, name: &str) -> Download {
        let mut downloads = self.downloads.lock();
        if let Some(pull) = downloads.get(digest)
            && !matches!(pull, Download::Failed { at, .. } if at.elapsed() > RESULT_TTL)
        {
            return pull.clone();
        }
        let started = Download::InProgress { done: 0, total: 0 };
        downloads.insert(digest.clone(), started.clone());
        let (cache, digest, url, name) = (self.clone(), digest.clone(), url.to_owned(), name.to_owned());
        self.host.spawn(async move { cache.download(digest, &url, &name).await });
        started
    }

    fn set(&self, digest: &Digest, pull: Download) {
        self.downloads.lock().insert(digest.clone(), pull);
    }

    async fn download(&self, digest: Digest, url: &str, name: &str) {
        tracing::info!(%digest, url, name, "downloading");
        let mut attempt = 0;
        let ended = loop {
            attempt += 1;
            match self.try_download(&digest, url, name).await {
                Ok(size) => break Download::Done { size },
                Err(error)
                    if error.cause == Cause::ImageUnreachable && attempt < MAX_ATTEMPTS && !self.host.is_stopping() =>
                {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(DownloadError { cause, text }) => {
                    tracing::warn!(%digest, cause = cause.word(), text, "download failed");
                    break Download::Failed { failure: Failure { cause, text, at: clock::now() }, at: Instant::now() };
                }
            }
        };
        metrics::downloaded(if matches!(ended, Download::Done { .. }) { "done" } else { "failed" });
        self.set(&digest, ended);
    }

    async fn try_download(&self, digest: &Digest, url: &str, name: &str) -> Result<u64, DownloadError> {
        let part = self.path(digest).with_extension("part");
        let outcome = self.copy(digest, url, name, &part).await;
        if outcome.is_ok() {
            let moved = fs::rename(&part, self.path(digest));
            moved.map_err(|error| DownloadError::disk(format!("cannot move image {name} into the cache: {error}")))?;
        } else if let Err(error) = fs::remove_file(&part) {
            tracing::debug!(%error, "no partial file to delete");
        }
        outcome
    }

    async fn copy(&self, digest: &Digest, url: &str, name: &str, part: &Path) -> Result<u64, DownloadError> {
        let progress = |done, total| self.set(digest, Download::InProgress { done, total });
        let request = FetchRequest { url, name, algorithm: digest.algorithm, path: part, known: None };
        let fetched = self.fetch(request, progress).await?;
        let Some(Fetched { size, hex, .. }) = fetched else { return Ok(0) };
        if hex != digest.hex() {
            let text = format!("image {name} from {url} has digest {hex}, but {} is registered", digest.hex());
            return Err(DownloadError { cause: Cause::ImageDigest, text });
        }
        Ok(size)
    }
}

/// Why a file cannot be downloaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct DownloadError {
    cause: Cause,
    text: String,
}

impl DownloadError {
    const fn disk(text: String) -> Self {
        Self { cause: Cause::DiskError, text }
    }

    const fn unreachable(text: String) -> Self {
        Self { cause: Cause::ImageUnreachable, text }
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
mod tests {
    use super::*;

    async fn download(cache: &Cache, digest: &Digest, url: &str) -> Download {
        loop {
            let pull = cache.ensure(digest, url, "test");
            if !matches!(pull, Download::InProgress { .. }) {
                return pull;
            }
            tokio::task::yield_now().await;
        }
    }

    fn cache(folder: &Path) -> Cache {
        service_kit::tls::install_provider();
        Cache::open(folder.join("cache"), vec![folder.join("images")], Host::default()).unwrap()
    }

    fn digest_of(content: &[u8]) -> Digest {
        format!("sha256:{}", hex::encode(Sha256::digest(content))).parse().unwrap()
    }

    fn failure(pull: Download) -> Failure {
        if let Download::Failed { failure, .. } = pull { failure } else { panic!("{pull:?}") }
    }

    #[tokio::test]
    async fn a_file_is_pulled_verified_and_found_again_by_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let file = folder.path().join("images/a");
        fs::write(&file, b"content").unwrap();
        let (digest, url) = (digest_of(b"content"), format!("file://{}", file.display()));
        assert_eq!(download(&cache(folder.path()), &digest, &url).await, Download::Done { size: 7 });
        assert_eq!(cache(folder.path()).list(), [(digest, 7)]);
    }

    #[tokio::test]
    async fn a_wrong_digest_names_both_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let file = folder.path().join("images/a");
        fs::write(&file, b"content").unwrap();
        let (digest, url) = (digest_of(b"other"), format!("file://{}", file.display()));
        let cache = cache(folder.path());
        let failure = failure(download(&cache, &digest, &url).await);
        assert_eq!(failure.cause, Cause::ImageDigest);
        assert!(failure.text.contains(digest.hex()) && failure.text.contains(digest_of(b"content").hex()));
        assert_eq!(fs::read_dir(folder.path().join("cache")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_outside_the_named_folders_is_refused_even_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        fs::write(folder.path().join("secret"), b"content").unwrap();
        let link = folder.path().join("images/link");
        std::os::unix::fs::symlink(folder.path().join("secret"), &link).unwrap();
        let cache = cache(folder.path());
        assert!(
            cache
                .source(&format!("file://{}", link.display()), None)
                .await
                .is_err_and(|error| matches!(error, source::SourceError::NotPermitted))
        );
    }
}
