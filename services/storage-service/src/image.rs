//! The cache: pull once, verify, keep under the digest's name.

mod learn;
mod source;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{
    failure::{Cause, Failure},
    image::{Algorithm, Digest},
};
use service_kit::{Host, clock};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::time::Instant;

pub(crate) use self::learn::Learning;
use self::source::Fetched;
use crate::{Error, metrics};

/// How long the source of an image may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a pull is tried.
const TRIES: u32 = 3;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(2);
/// A failure older than this is no answer to a new request: it is tried again.
const FRESH: Duration = Duration::from_secs(10);

/// How far a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pull {
    /// On its way.
    Underway { done: u64, total: u64 },
    /// In the cache.
    Done { size: u64 },
    /// Not to be had.
    Failed { failure: Failure, at: Instant },
}

/// The cache. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
    files_from: Arc<[PathBuf]>,
    client: reqwest::Client,
    pulls: Arc<Mutex<HashMap<Digest, Pull>>>,
    learned: Arc<Mutex<HashMap<String, Learning>>>,
    host: Host,
}

impl Cache {
    /// Finds what an earlier run left; what it had not finished is thrown away.
    pub(crate) fn open(folder: PathBuf, files_from: Vec<PathBuf>, host: Host) -> Result<Self, Error> {
        let unusable = |source| Error::Folder { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(unusable)?;
        let mut pulls = HashMap::new();
        for entry in fs::read_dir(&folder).map_err(unusable)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match (name.parse::<Digest>(), entry.metadata()) {
                (Ok(digest), Ok(metadata)) => drop(pulls.insert(digest, Pull::Done { size: metadata.len() })),
                _ => fs::remove_file(entry.path()).map_err(unusable)?,
            }
        }
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(SILENCE)
            .build()
            .map_err(Error::Http)?;
        let pulls = Arc::new(Mutex::new(pulls));
        Ok(Self { folder, files_from: files_from.into(), client, pulls, learned: Arc::default(), host })
    }

    /// Where a file is, if it is.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.file_name())
    }

    /// What is in the cache.
    pub(crate) fn list(&self) -> Vec<(Digest, u64)> {
        let pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls
            .iter()
            .filter_map(
                |(digest, pull)| if let Pull::Done { size } = pull { Some((digest.clone(), *size)) } else { None },
            )
            .collect()
    }

    /// How far a file is; its pull is begun where there is none.
    pub(crate) fn ensure(&self, digest: &Digest, url: &str, name: &str) -> Pull {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pull) = pulls.get(digest)
            && !matches!(pull, Pull::Failed { at, .. } if at.elapsed() > FRESH)
        {
            return pull.clone();
        }
        let begun = Pull::Underway { done: 0, total: 0 };
        pulls.insert(digest.clone(), begun.clone());
        let (cache, digest, url, name) = (self.clone(), digest.clone(), url.to_owned(), name.to_owned());
        self.host.spawn(async move { cache.pull(digest, &url, &name).await });
        begun
    }

    fn set(&self, digest: &Digest, pull: Pull) {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone(), pull);
    }

    async fn pull(&self, digest: Digest, url: &str, name: &str) {
        tracing::info!(%digest, url, name, "pulling");
        let mut tries = 0;
        let ended = loop {
            tries += 1;
            match self.try_pull(&digest, url, name).await {
                Ok(size) => break Pull::Done { size },
                Err((cause, _)) if cause == Cause::ImageUnreachable && tries < TRIES && !self.host.is_stopping() => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err((cause, text)) => {
                    tracing::warn!(%digest, cause = cause.word(), text, "cannot pull");
                    break Pull::Failed { failure: Failure { cause, text, at: clock::now() }, at: Instant::now() };
                }
            }
        };
        metrics::pulled(if matches!(ended, Pull::Done { .. }) { "done" } else { "failed" });
        self.set(&digest, ended);
    }

    async fn try_pull(&self, digest: &Digest, url: &str, name: &str) -> Result<u64, (Cause, String)> {
        let part = self.path(digest).with_extension("part");
        let outcome = self.copy(digest, url, name, &part).await;
        if outcome.is_ok() {
            let kept = fs::rename(&part, self.path(digest));
            kept.map_err(|error| (Cause::DiskError, format!("cannot keep image {name} in the cache: {error}")))?;
        } else if let Err(error) = fs::remove_file(&part) {
            tracing::debug!(%error, "nothing to throw away");
        }
        outcome
    }

    async fn copy(&self, digest: &Digest, url: &str, name: &str, part: &Path) -> Result<u64, (Cause, String)> {
        let progress = |done, total| self.set(digest, Pull::Underway { done, total });
        let fetched = self.fetch(url, name, digest.algorithm, part, None, progress).await?;
        let Some(Fetched { size, hex, .. }) = fetched else { return Ok(0) };
        if hex != digest.hex() {
            let text = format!("image {name} from {url} hashes to {hex}, registered is {}", digest.hex());
            return Err((Cause::ImageDigest, text));
        }
        Ok(size)
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

    async fn pull(cache: &Cache, digest: &Digest, url: &str) -> Pull {
        loop {
            let pull = cache.ensure(digest, url, "test");
            if !matches!(pull, Pull::Underway { .. }) {
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

    fn failure(pull: Pull) -> Failure {
        if let Pull::Failed { failure, .. } = pull { failure } else { panic!("{pull:?}") }
    }

    #[tokio::test]
    async fn a_file_is_pulled_verified_and_found_again_by_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let file = folder.path().join("images/a");
        fs::write(&file, b"content").unwrap();
        let (digest, url) = (digest_of(b"content"), format!("file://{}", file.display()));
        assert_eq!(pull(&cache(folder.path()), &digest, &url).await, Pull::Done { size: 7 });
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
        let failure = failure(pull(&cache, &digest, &url).await);
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
                .is_err_and(|why| why.contains("files_from"))
        );
    }
}
