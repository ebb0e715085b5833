//! Boot files: loaders from a directory, kernels and ramdisks by digest from the rack's storage-service. The latter are
//! stored on disk, so that they are available on an island.

use std::{
    collections::HashMap,
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use domain::{image::Digest, service::Service};
use durable_file::{Access, DurableFileError};
use keyspace::{
    key,
    value::{BootDecision, BootFile},
    view::News,
};
use service_kit::Host;
use sha2::{Digest as _, Sha256, Sha512};
use tokio::sync::Mutex;

use crate::{Error, metrics, rack::Rack};

/// Maximum size of a boot file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// How long a storage-service may send nothing during a transfer.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a storage-service may take to start its response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of the boot files stored in memory, in bytes.
const MAX_CACHE_BYTES: usize = 512 << 20;

/// Provides boot files. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    rack: Rack,
    loaders: PathBuf,
    directory: PathBuf,
    client: reqwest::Client,
    cache: Arc<Mutex<HashMap<Digest, Bytes>>>,
    /// The loaders that were read, each with the state of its file. Requests share the content.
    read_loaders: Arc<Mutex<HashMap<&'static str, (FileState, Bytes)>>>,
}

/// What tells two states of a file apart: inode, time of the last change (seconds, nanoseconds) and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState([i64; 2], [u64; 2]);

impl FileState {
    fn of(file: &Metadata) -> Self {
        Self([file.mtime(), file.mtime_nsec()], [file.ino(), file.size()])
    }
}

impl Files {
    pub(crate) fn new(rack: Rack, loaders: PathBuf, directory: PathBuf) -> Result<Self, Error> {
        let unusable = |source| Error::Folder { path: directory.clone(), source };
        std::fs::create_dir_all(&directory).map_err(unusable)?;
        durable_file::remove_leftovers(&directory).map_err(|error| unusable(error.into()))?;
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .read_timeout(READ_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| Error::BootFile { name: "HTTP".to_owned(), why: error.to_string() })?;
        Ok(Self { rack, loaders, directory, client, cache: Arc::default(), read_loaders: Arc::default() })
    }

    /// Fetches the files of every decided boot before a machine requests them: any replica may receive the request,
    /// possibly while the storage-service is unavailable.
    pub(crate) async fn prefetch(self, host: Host) {
        let mut news = self.rack.view().subscribe();
        let mut due = self.decisions();
        loop {
            for decision in due.drain(..) {
                for file in decision.boot_files() {
                    if let Err(error) = self.get(file).await {
                        // The fetch is repeated when a machine requests the file.
                        tracing::debug!(error = %service_kit::status::chain(&error), "cannot prefetch a boot file");
                    }
                }
            }
            tokio::select! {
                () = host.stopping() => return,
                news = news.next() => match news {
                    Some(News::Path(path)) => due.extend(self.rack.decision_at(&path)),
                    Some(News::Everything) => due = self.decisions(),
                    None => return,
                },
            }
        }
    }

    fn decisions(&self) -> Vec<BootDecision> {
        let paths = self.rack.view().paths(&key::node_prefix(self.rack.id));
        paths.iter().filter_map(|path| self.rack.decision_at(path)).collect()
    }

    /// Returns a loader by its name. It is read again if its file was changed.
    pub(crate) async fn loader(&self, name: &'static str) -> Result<Bytes, Error> {
        let path = self.loaders.join(name);
        self.read_loader(name, &path).await.map_err(|error| Error::BootFile {
            name: name.to_owned(),
            why: format!(
                "cannot read {}: {error}; install Debian's package ipxe or change pxe.loaders",
                path.display()
            ),
        })
    }

    async fn read_loader(&self, name: &'static str, path: &Path) -> io::Result<Bytes> {
        let mut known = self.read_loaders.lock().await;
        let state = FileState::of(&tokio::fs::metadata(path).await?);
        if let Some((read, content)) = known.get(name)
            && *read == state
        {
            return Ok(content.clone());
        }
        let content = Bytes::from(tokio::fs::read(path).await?);
        known.insert(name, (state, content.clone()));
        Ok(content)
    }

    /// Returns a kernel or ramdisk from memory, disk or the rack's storage-service, verified by its digest. Only one
    /// fetch runs at a time; other requests wait for it.
    pub(crate) async fn get(&self, file: &BootFile) -> Result<Bytes, Error> {
        let mut cache = self.cache.lock().await;
        if let Some(content) = cache.get(&file.digest) {
            return Ok(content.clone());
        }
        let path = self.directory.join(file.digest.file_name());
        let content = match tokio::fs::read(&path).await {
            Ok(content) if has_digest(&file.digest, &content) => Bytes::from(content),
            Ok(_) => {
                tracing::warn!(
                    path = %path.display(),
                    "a boot file on disk is cut or was changed, removed it and fetch it again"
                );
                metrics::file("disk", "damaged");
                drop(tokio::fs::remove_file(&path).await);
                self.fetch(file, &path).await?
            }
            Err(_) => self.fetch(file, &path).await?,
        };
        let size: usize = cache.values().map(Bytes::len).sum();
        if size + content.len() > MAX_CACHE_BYTES {
            cache.clear();
        }
        cache.insert(file.digest.clone(), content.clone());
        Ok(content)
    }

    async fn fetch(&self, file: &BootFile, path: &Path) -> Result<Bytes, Error> {
        let mut failures = Vec::new();
        for endpoint in self.rack.data_endpoints(Service::Storage) {
            match self.fetch_from(&endpoint, &file.digest).await {
                Ok(content) if has_digest(&file.digest, &content) => {
                    self.store(path, &content).await;
                    return Ok(content);
                }
                Ok(_) => failures.push((endpoint, FetchError::Unusable("sent content with another digest".to_owned()))),
                Err(why) => failures.push((endpoint, why)),
            }
        }
        Err(combine_failures(&file.name, &failures))
    }

    async fn fetch_from(&self, endpoint: &str, digest: &Digest) -> Result<Bytes, FetchError> {
        let url = format!("http://{endpoint}/files/{digest}");
        // Storage has the file in its cache, or the boot would not have been decided: a slow response means that it
        // hangs.
        let asking = tokio::time::timeout(RESPONSE_TIMEOUT, self.client.get(&url).send());
        let unavailable =
            |_| FetchError::Unavailable(format!("did not respond within {} s", RESPONSE_TIMEOUT.as_secs()));
        let broken = |error: reqwest::Error| FetchError::Unavailable(service_kit::status::chain(&error));
        let response = asking.await.map_err(unavailable)?.map_err(broken)?;
        if response.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE {
            return Err(FetchError::Unavailable("has to verify the file first".to_owned()));
        }
        if !response.status().is_success() {
            return Err(FetchError::Unusable(format!("responded with {}", response.status())));
        }
        if response.content_length().is_none_or(|size| size > MAX_FILE_BYTES) {
            return Err(FetchError::Unusable(format!("has a file larger than {MAX_FILE_BYTES} bytes")));
        }
        response.bytes().await.map_err(broken)
    }

    async fn store(&self, path: &Path, content: &Bytes) {
        let (to, content) = (path.to_owned(), content.clone());
        let storing = tokio::task::spawn_blocking(move || durable_file::write(&to, &content, Access::Owner));
        let stored = storing.await.unwrap_or_else(|_| {
            Err(DurableFileError::damaged(path, &"the write was interrupted", "it is fetched again when it is needed"))
        });
        if let Err(error) = stored {
            tracing::warn!(error = %service_kit::status::chain(&error), "cannot store a boot file on disk");
        }
    }
}

/// Why a storage-service did not provide a file.
#[derive(Debug)]
enum FetchError {
    /// It is unavailable.
    Unavailable(String),
    /// It responded, but not with the file.
    Unusable(String),
}

/// Combines the failures. The file is permanently missing only if every storage-service responded without it. If some
/// are unavailable, a retry may succeed.
fn combine_failures(name: &str, failures: &[(String, FetchError)]) -> Error {
    let name = name.to_owned();
    let sentence = |endpoint: &str, why: &str| format!("the storage-service at {endpoint} {why}");
    let unavailable = failures.iter().find_map(|(endpoint, error)| match error {
        FetchError::Unavailable(why) => Some(sentence(endpoint, why)),
        FetchError::Unusable(_) => None,
    });
    match (unavailable, failures.last()) {
        (Some(why), _) => Error::NoStorage { name, why },
        (None, Some((endpoint, FetchError::Unusable(why) | FetchError::Unavailable(why)))) => {
            Error::BootFile { name, why: sentence(endpoint, why) }
        }
        (None, None) => Error::NoStorage { name, why: "the rack has no available storage-service".to_owned() },
    }
}

fn has_digest(digest: &Digest, content: &[u8]) -> bool {
    let found = match digest.algorithm {
        domain::image::Algorithm::Sha256 => hex::encode(Sha256::digest(content)),
        domain::image::Algorithm::Sha512 => hex::encode(Sha512::digest(content)),
    };
    found == digest.hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_missing_for_good_only_where_every_storage_service_answered() {
        let at = |error| ("10.0.0.1:80".to_owned(), error);
        let (unavailable, unusable) = (
            || at(FetchError::Unavailable("hangs".to_owned())),
            || at(FetchError::Unusable("responded with 404".to_owned())),
        );
        for now in [vec![], vec![unavailable()], vec![unusable(), unavailable()], vec![unavailable(), unusable()]] {
            let error = combine_failures("kernel", &now);
            assert!(matches!(error, Error::NoStorage { .. }), "{error} {now:?}");
        }
        let error = combine_failures("kernel", &[unusable(), unusable()]);
        assert!(
            matches!(&error, Error::BootFile { why, .. } if why.contains("10.0.0.1:80 responded with 404")),
            "{error}"
        );
    }
}
