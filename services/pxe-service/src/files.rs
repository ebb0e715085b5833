//! The files that go through the doors: loaders from a folder, kernels and ramdisks by digest from the rack's
//! storage-service, kept on disk so that they are there on an island too.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use domain::{image::Digest, service::Service};
use keyspace::{
    key,
    value::{BootDecision, BootFile},
    view::News,
};
use service_kit::Host;
use sha2::{Digest as _, Sha256, Sha512};
use tokio::sync::Mutex;

use crate::{Error, rack::Rack};

/// The largest boot file; beyond it something else was registered as one.
const LARGEST: u64 = 1 << 30;
/// How long one replica of the storage-service may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it may take to begin with its answer.
const BEGIN: Duration = Duration::from_secs(2);
/// Octets of boot files kept in memory.
const MEMORY: usize = 512 << 20;

/// The files. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    rack: Rack,
    loaders: PathBuf,
    folder: PathBuf,
    client: reqwest::Client,
    held: Arc<Mutex<HashMap<Digest, Bytes>>>,
}

impl Files {
    pub(crate) fn new(rack: Rack, loaders: PathBuf, folder: PathBuf) -> Result<Self, Error> {
        std::fs::create_dir_all(&folder).map_err(|source| Error::Folder { path: folder.clone(), source })?;
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .read_timeout(SILENCE)
            .no_proxy()
            .build()
            .map_err(|error| Error::BootFile { name: "HTTP".to_owned(), why: error.to_string() })?;
        Ok(Self { rack, loaders, folder, client, held: Arc::default() })
    }

    /// Has the files of every boot that is decided, before a machine asks for them: any replica may be the one that is
    /// asked, also when the storage-service is away by then.
    pub(crate) async fn prepare(self, host: Host) {
        let mut news = self.rack.view().subscribe();
        let mut due = self.decided();
        loop {
            for decision in due.drain(..) {
                for file in [&decision.kernel, &decision.ramdisk] {
                    if let Err(error) = self.get(file).await {
                        // Whoever asks is told, and it is tried again then.
                        tracing::debug!(error = %service_kit::status::chain(&error), "cannot have a boot file yet");
                    }
                }
            }
            tokio::select! {
                () = host.stopping() => return,
                news = news.next() => match news {
                    Some(News::Path(path)) => due.extend(self.rack.decision_at(&path)),
                    Some(News::Everything) => due = self.decided(),
                    None => return,
                },
            }
        }
    }

    fn decided(&self) -> Vec<BootDecision> {
        let paths = self.rack.view().paths(&key::node_prefix(self.rack.id));
        paths.iter().filter_map(|path| self.rack.decision_at(path)).collect()
    }

    /// A loader by its name.
    pub(crate) async fn loader(&self, name: &'static str) -> Result<Bytes, Error> {
        let path = self.loaders.join(name);
        tokio::fs::read(&path).await.map(Bytes::from).map_err(|error| Error::BootFile {
            name: name.to_owned(),
            why: format!("{}: {error}; Debian's package ipxe has it, pxe.loaders names its folder", path.display()),
        })
    }

    /// A kernel or ramdisk: from memory, from disk, or from the rack's storage-service; verified by its digest.
    /// One is fetched at a time: others that want the same wait for it.
    pub(crate) async fn get(&self, file: &BootFile) -> Result<Bytes, Error> {
        let mut held = self.held.lock().await;
        if let Some(content) = held.get(&file.digest) {
            return Ok(content.clone());
        }
        let path = self.folder.join(file.digest.file_name());
        let content = match tokio::fs::read(&path).await {
            Ok(content) if is(&file.digest, &content) => Bytes::from(content),
            Ok(_) | Err(_) => self.fetch(file, &path).await?,
        };
        let size: usize = held.values().map(Bytes::len).sum();
        if size + content.len() > MEMORY {
            held.clear();
        }
        held.insert(file.digest.clone(), content.clone());
        Ok(content)
    }

    async fn fetch(&self, file: &BootFile, path: &Path) -> Result<Bytes, Error> {
        let missing = |why: String| Error::BootFile { name: file.name.clone(), why };
        let mut why = "the rack has no storage-service that answers".to_owned();
        for endpoint in self.rack.data_endpoints(Service::Storage) {
            match self.fetch_from(&endpoint, &file.digest).await {
                Ok(content) if is(&file.digest, &content) => {
                    self.keep(path, &content).await;
                    return Ok(content);
                }
                Ok(_) => why = format!("the storage-service at {endpoint} sent another content than its digest says"),
                Err(error) => why = format!("the storage-service at {endpoint}: {error}"),
            }
        }
        Err(missing(why))
    }

    async fn fetch_from(&self, endpoint: &str, digest: &Digest) -> Result<Bytes, String> {
        let url = format!("http://{endpoint}/files/{digest}");
        // What is asked for is in its cache, or it would not be booted: one that does not begin at once hangs.
        let asking = tokio::time::timeout(BEGIN, self.client.get(&url).send());
        let silent = |_| format!("did not begin to answer within {} s", BEGIN.as_secs());
        let response = asking.await.map_err(silent)?.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("answered {}", response.status()));
        }
        if response.content_length().is_none_or(|size| size > LARGEST) {
            return Err(format!("the file is larger than {LARGEST} octets"));
        }
        response.bytes().await.map_err(|error| error.to_string())
    }

    async fn keep(&self, path: &Path, content: &[u8]) {
        let new = path.with_extension("new");
        let kept = match tokio::fs::write(&new, content).await {
            Ok(()) => tokio::fs::rename(&new, path).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::warn!(path = %path.display(), %error, "cannot keep a boot file on disk");
        }
    }
}

fn is(digest: &Digest, content: &[u8]) -> bool {
    let found = match digest.algorithm {
        domain::image::Algorithm::Sha256 => hex::encode(Sha256::digest(content)),
        domain::image::Algorithm::Sha512 => hex::encode(Sha512::digest(content)),
    };
    found == digest.hex()
}
