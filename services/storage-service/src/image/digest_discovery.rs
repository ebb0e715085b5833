//! Discovers the digest of files that were named without one: they are downloaded, and identified by their digest from
//! then on.
//!
//! Examples are kernels and ramdisks that Ironic's clients name. A caller gets the digest of the file's current
//! content; a previous result is reused if the source confirms that the file is unchanged.

use std::fs;

use domain::{
    failure::Failure,
    image::{Algorithm, Digest},
};
use service_kit::{
    clock,
    outbound_http::{Purpose, redacted},
};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Cache, Cached, DownloadError, Expected, FetchRequest, Fetched, RESULT_TTL};

/// Maximum number of sources remembered; the oldest is forgotten first.
const MAX_SOURCES: usize = 256;

/// A file whose digest is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// Digest of the content.
    digest: Digest,
    /// Validator of the content at its source, if the source provides one.
    validator: Option<String>,
}

/// State of a digest discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DigestDiscovery {
    /// The file is being downloaded or revalidated.
    InProgress {
        /// The previous result, if any.
        before: Option<Discovered>,
    },
    /// The file is in the cache.
    Known {
        /// Digest of the content.
        digest: Digest,
        /// Validator of the content at its source.
        validator: Option<String>,
        /// When it was discovered.
        at: Instant,
    },
    /// The file cannot be downloaded.
    Failed {
        /// The reason.
        failure: Failure,
        /// When it failed.
        at: Instant,
    },
}

impl Cache {
    /// Returns the digest of the content at a URL. Starts its discovery if there is no recent result.
    pub(crate) fn discover_digest(&self, url: &str, name: &str) -> DigestDiscovery {
        let mut discoveries = self.discoveries.lock();
        let before = match discoveries.get(url) {
            Some(DigestDiscovery::Known { at, digest, .. }) if at.elapsed() < RESULT_TTL && self.is_intact(digest) => {
                return discoveries.get(url).cloned().unwrap_or(DigestDiscovery::InProgress { before: None });
            }
            Some(DigestDiscovery::Failed { at, .. }) if at.elapsed() < RESULT_TTL => {
                return discoveries.get(url).cloned().unwrap_or(DigestDiscovery::InProgress { before: None });
            }
            Some(DigestDiscovery::InProgress { before }) => {
                return DigestDiscovery::InProgress { before: before.clone() };
            }
            Some(DigestDiscovery::Known { digest, validator, .. }) if self.is_intact(digest) => {
                Some(Discovered { digest: digest.clone(), validator: validator.clone() })
            }
            Some(DigestDiscovery::Known { .. } | DigestDiscovery::Failed { .. }) | None => None,
        };
        if discoveries.len() >= MAX_SOURCES {
            let oldest =
                discoveries.iter().filter_map(|(url, discovery)| Some((ended_at(discovery)?, url.clone()))).min();
            oldest.into_iter().for_each(|(_, url)| drop(discoveries.remove(&url)));
        }
        let started = DigestDiscovery::InProgress { before: before.clone() };
        discoveries.insert(url.to_owned(), started.clone());
        let (cache, url, name) = (self.clone(), url.to_owned(), name.to_owned());
        self.host.spawn(async move {
            let ended = match cache.try_discover_digest(&url, &name, before).await {
                Ok(Discovered { digest, validator }) => {
                    cache.note_use(&digest);
                    DigestDiscovery::Known { digest, validator, at: Instant::now() }
                }
                Err(DownloadError { cause, text, .. }) => {
                    tracing::warn!(url = redacted(&url), cause = cause.word(), text, "digest discovery failed");
                    DigestDiscovery::Failed { failure: Failure { cause, text, at: clock::now() }, at: Instant::now() }
                }
            };
            cache.discoveries.lock().insert(url, ended);
        });
        started
    }

    async fn try_discover_digest(
        &self,
        url: &str,
        name: &str,
        before: Option<Discovered>,
    ) -> Result<Discovered, DownloadError> {
        let part = self.folder.join(format!("{}.discoveries", hex::encode(Sha256::digest(url.as_bytes()))));
        let known = before.as_ref().and_then(|before| before.validator.as_deref());
        let request = FetchRequest {
            url,
            name,
            algorithm: Algorithm::Sha256,
            path: &part,
            expected: Expected::BootFile,
            known,
            purpose: Purpose::BootFile,
        };
        let fetched = self.fetch(request, |_, _| {}).await;
        let fetched = fetched.inspect_err(|_| drop(fs::remove_file(&part)))?;
        let Some(Fetched { size, format, hex, validator }) = fetched else {
            let unknown = || {
                DownloadError::unreachable(format!(
                    "{} reports an unchanged file that was never downloaded",
                    redacted(url)
                ))
            };
            return before.ok_or_else(unknown);
        };
        let disk = |why: &dyn std::fmt::Display| DownloadError::cache(format!("cannot store image {name}: {why}"));
        let digest: Digest = format!("sha256:{hex}").parse().map_err(|error| disk(&error))?;
        self.store(&part, &digest, name)?;
        self.add_unless_known(&digest, Cached { size, format, raw: None });
        Ok(Discovered { digest, validator })
    }
}

fn ended_at(discovery: &DigestDiscovery) -> Option<Instant> {
    match discovery {
        DigestDiscovery::InProgress { .. } => None,
        DigestDiscovery::Known { at, .. } | DigestDiscovery::Failed { at, .. } => Some(*at),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service_kit::{Host, outbound_http::Outbound};

    use super::{
        super::{CacheLimits, Sources},
        *,
    };

    async fn discover_digest(cache: &Cache, url: &str) -> DigestDiscovery {
        loop {
            let discovery = cache.discover_digest(url, "test");
            if !matches!(discovery, DigestDiscovery::InProgress { .. }) {
                return discovery;
            }
            tokio::task::yield_now().await;
        }
    }

    fn cache(folder: &Path) -> Cache {
        service_kit::tls::install_provider();
        let sources = Sources::new(vec![folder.join("images")], &Outbound::default(), 1 << 30).unwrap();
        let limits = CacheLimits { max_bytes: 0, reserve_bytes: 0, keep_used: std::time::Duration::ZERO };
        Cache::open(folder.join("cache"), sources, Host::default(), limits).unwrap()
    }

    fn digest(discovery: &DigestDiscovery) -> String {
        let DigestDiscovery::Known { digest, .. } = discovery else { panic!("{discovery:?}") };
        digest.hex().to_owned()
    }

    #[tokio::test]
    async fn a_file_is_known_by_what_it_is_now_and_kept_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let file = folder.path().join("images/kernel");
        fs::write(&file, b"one").unwrap();
        let (cache, url) = (cache(folder.path()), format!("file://{}", file.display()));
        let one = discover_digest(&cache, &url).await;
        assert_eq!(digest(&one), hex::encode(Sha256::digest(b"one")));
        assert_eq!(cache.list().len(), 1);
        // A recent result is returned although the file has changed.
        fs::write(&file, b"another").unwrap();
        assert_eq!(discover_digest(&cache, &url).await, one);
        let DigestDiscovery::Known { digest, validator, .. } = one else { panic!("{one:?}") };
        let changed = cache.try_discover_digest(&url, "test", Some(Discovered { digest, validator })).await.unwrap();
        assert_eq!(changed.digest.hex(), hex::encode(Sha256::digest(b"another")));
        let same = cache.try_discover_digest(&url, "test", Some(changed.clone())).await.unwrap();
        assert_eq!(same, changed);
    }

    #[tokio::test]
    async fn a_file_that_is_there_already_stays_whatever_its_url() {
        use std::os::unix::fs::MetadataExt as _;

        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let cache = cache(folder.path());
        let mut inodes = Vec::new();
        for name in ["kernel", "the same", "the same again"] {
            let file = folder.path().join("images").join(name);
            fs::write(&file, b"one").unwrap();
            let url = format!("file://{}", file.display());
            let DigestDiscovery::Known { digest, .. } = discover_digest(&cache, &url).await else { panic!("{name}") };
            // A reader opens it as it was recorded.
            assert!(cache.open_file(&digest).is_ok(), "{name}");
            inodes.push(fs::metadata(cache.path(&digest)).unwrap().ino());
            // Without a validator it is downloaded anew.
            let before = Some(Discovered { digest, validator: None });
            let again = cache.try_discover_digest(&url, "test", before).await.unwrap();
            inodes.push(fs::metadata(cache.path(&again.digest)).unwrap().ino());
        }
        inodes.dedup();
        assert_eq!(inodes.len(), 1, "it was replaced");
        let left = fs::read_dir(folder.path().join("cache")).unwrap().count();
        assert_eq!(left, 2, "the file and its note");
    }

    #[tokio::test]
    async fn a_file_that_is_not_to_be_had_fails_with_its_url() {
        let folder = tempfile::tempdir().unwrap();
        let DigestDiscovery::Failed { failure, .. } = discover_digest(&cache(folder.path()), "ftp://h/kernel").await
        else {
            panic!()
        };
        assert!(failure.text.contains("ftp://h/kernel") && failure.text.contains("http://"), "{}", failure.text);
    }
}
