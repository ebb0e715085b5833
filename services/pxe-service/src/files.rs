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
        let mut failures = Vec::new();
        for endpoint in self.rack.data_endpoints(Service::Storage) {
            match self.fetch_from(&endpoint, &file.digest).await {
                Ok(content) if is(&file.digest, &content) => {
                    self.keep(path, &content).await;
                    return Ok(content);
                }
                Ok(_) => {
                    failures.push((endpoint, Unhad::Wrong("sent another content than its digest says".to_owned())))
                }
                Err(why) => failures.push((endpoint, why)),
            }
        }
        Err(lacks(&file.name, &failures))
    }

    async fn fetch_from(&self, endpoint: &str, digest: &Digest) -> Result<Bytes, Unhad> {
        let url = format!("http://{endpoint}/files/{digest}");
        // What is asked for is in its cache, or it would not be booted: one that does not begin at once hangs.
        let asking = tokio::time::timeout(BEGIN, self.client.get(&url).send());
        let silent = |_| Unhad::Silent(format!("did not begin to answer within {} s", BEGIN.as_secs()));
        let broken = |error: reqwest::Error| Unhad::Silent(service_kit::status::chain(&error));
        let response = asking.await.map_err(silent)?.map_err(broken)?;
        if !response.status().is_success() {
            return Err(Unhad::Wrong(format!("answered {}", response.status())));
        }
        if response.content_length().is_none_or(|size| size > LARGEST) {
            return Err(Unhad::Wrong(format!("has a file that is larger than {LARGEST} octets")));
        }
        response.bytes().await.map_err(broken)
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

/// Why one storage-service did not hand a file out.
#[derive(Debug)]
enum Unhad {
    /// It does not answer now.
    Silent(String),
    /// It answered, and what it has is of no use.
    Wrong(String),
}

/// Why a file is not to be had: for good only where everybody answered and nobody has it. A rack all of whose
/// storage-services are away, or have just lost their leases, has some again in a moment.
fn lacks(name: &str, failures: &[(String, Unhad)]) -> Error {
    let name = name.to_owned();
    let words = |endpoint: &str, why: &str| format!("the storage-service at {endpoint} {why}");
    let silent = failures.iter().find_map(|(endpoint, unhad)| match unhad {
        Unhad::Silent(why) => Some(words(endpoint, why)),
        Unhad::Wrong(_) => None,
    });
    match (silent, failures.last()) {
        (Some(why), _) => Error::NoStorage { name, why },
        (None, Some((endpoint, Unhad::Wrong(why) | Unhad::Silent(why)))) => {
            Error::BootFile { name, why: words(endpoint, why) }
        }
        (None, None) => Error::NoStorage { name, why: "the rack has no storage-service that answers".to_owned() },
    }
}

fn is(digest: &Digest, content: &[u8]) -> bool {
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
        let at = |unhad| ("10.0.0.1:80".to_owned(), unhad);
        let (silent, wrong) =
            (|| at(Unhad::Silent("hangs".to_owned())), || at(Unhad::Wrong("answered 404".to_owned())));
        for now in [vec![], vec![silent()], vec![wrong(), silent()], vec![silent(), wrong()]] {
            let error = lacks("kernel", &now);
            assert!(matches!(error, Error::NoStorage { .. }), "{error} {now:?}");
        }
        let error = lacks("kernel", &[wrong(), wrong()]);
        assert!(matches!(&error, Error::BootFile { why, .. } if why.contains("10.0.0.1:80 answered 404")), "{error}");
    }
}
