//! Records every revision of every key with a watch from before a run, without taking part in it.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use domain::{id::NodeId, service::Service, time::Timestamp};
use keyspace::{
    Store,
    key::ROOT,
    store::{Event, Pair, Pem},
    value::{Claim, Journal},
    watch::{Update, Watch},
};
use serde::{Deserialize, de::DeserializeOwned};
use service_kit::{Host, clock};
use tokio::{sync::watch, time::Instant};

use crate::check::Revision;

/// Pause before etcd is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Maximum time to receive the content of the store.
const CATCHING_UP: Duration = Duration::from_secs(20);

/// One write.
#[derive(Debug, Clone)]
pub struct Write {
    /// When it was received.
    pub at: Instant,
    /// The same, by the wall clock.
    pub heard: Timestamp,
    /// The key.
    pub path: String,
    /// Revision of the write.
    pub revision: i64,
    /// The value; `None`: deleted.
    pub value: Option<Vec<u8>>,
}

impl Write {
    /// The value, if it has this type.
    #[must_use]
    pub fn read<V: DeserializeOwned>(&self) -> Option<V> {
        serde_json::from_slice(self.value.as_deref()?).ok()
    }
}

/// Everything that was written since it began. It ends when it is dropped.
#[derive(Debug)]
pub struct Recorder {
    writes: Arc<Mutex<Vec<Write>>>,
    count: watch::Receiver<usize>,
    store: Store,
    host: Host,
}

/// Part of a service's configuration: the connection to etcd.
#[derive(Debug, Deserialize)]
struct Config {
    service: Reach,
}

#[derive(Debug, Deserialize)]
struct Reach {
    etcd: Vec<String>,
}

/// Opens an own connection to the store that the service in `data` uses, as etcd's administrator.
///
/// # Errors
/// There is no configuration of a service.
pub async fn store(data: &Path, service: &str) -> Result<Store> {
    let file = data.join(service).join("config.toml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let Config { service: reach } = toml::from_str(&text)?;
    let read = |name: &str| fs::read(data.join("certs").join(name)).with_context(|| name.to_owned());
    let (ca, certificate, key) = (read("etcd-ca.pem")?, read("etcd-root.pem")?, read("etcd-root.key")?);
    Ok(Store::connect(&reach.etcd, Pem { ca: &ca, certificate: &certificate, key: &key }).await?)
}

impl Recorder {
    /// Begins with the present content.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn begin(data: &Path) -> Result<Self> {
        Self::begin_in(store(data, "power-service-1").await?).await
    }

    /// The same for this store.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn begin_in(store: Store) -> Result<Self> {
        let mut watch = Watch::new(store.clone(), vec![ROOT.to_owned()]);
        let writes = Arc::new(Mutex::new(Vec::new()));
        let (counted, count) = watch::channel(0);
        note(&writes, watch.next().await?, &counted);
        let heard = Arc::clone(&writes);
        let host = Host::default();
        let stopping = host.clone();
        host.spawn(async move {
            let listening = async {
                loop {
                    match watch.next().await {
                        Ok(seen) => note(&heard, seen, &counted),
                        Err(_) => tokio::time::sleep(RETRY_DELAY).await,
                    }
                }
            };
            tokio::select! {
                () = stopping.stopping() => {}
                () = listening => {}
            }
        });
        Ok(Self { writes, count, store, host })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Write>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of received writes: where to continue from.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no write was received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// All writes from number `from` on.
    #[must_use]
    pub fn since(&self, from: usize) -> Vec<Write> {
        self.lock().get(from..).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// Waits for a write from number `from` on.
    ///
    /// # Errors
    /// There was none within `timeout`.
    pub async fn hears(
        &self,
        what: &str,
        from: usize,
        timeout: Duration,
        is_it: impl Fn(&Write) -> bool,
    ) -> Result<Write> {
        let (mut count, mut from, end) = (self.count.clone(), from, Instant::now() + timeout);
        loop {
            count.mark_unchanged();
            {
                let writes = self.lock();
                if let Some(write) = writes.iter().skip(from).find(|write| is_it(write)) {
                    return Ok(write.clone());
                }
                from = writes.len();
            }
            if tokio::time::timeout_at(end, count.changed()).await.is_err() {
                bail!("{what}: nothing of it was written within {timeout:?}");
            }
        }
    }

    /// Waits until it has received everything that the store has by now: its watch may hang if a member of etcd does.
    ///
    /// # Errors
    /// The store does not answer, or not everything is received in time.
    pub async fn catches_up(&self) -> Result<()> {
        let (pairs, _) = self.store.list_pairs(ROOT).await?;
        let newest = pairs.iter().map(|pair| pair.revision).max().unwrap_or(0);
        self.hears("what is in the store", 0, CATCHING_UP, |write| write.revision >= newest).await.map(drop)
    }

    /// Every revision of a node's claim.
    #[must_use]
    pub fn claims(&self, service: Service, node: NodeId) -> Vec<Revision<Claim>> {
        self.revisions(&format!("/{service}/claim/{node}"), |_: &Claim| None)
    }

    /// Every revision of a node's journal.
    #[must_use]
    pub fn journal(&self, service: Service, node: NodeId) -> Vec<Revision<Journal>> {
        // An entry's time is read before it is written; an entry with a result was written before its result.
        let begun =
            |journal: &Journal| journal.entry.as_ref().filter(|entry| entry.outcome.is_none()).map(|entry| entry.at);
        self.revisions(&format!("/{service}/journal/{node}"), begun)
    }

    fn revisions<V: DeserializeOwned>(
        &self,
        suffix: &str,
        not_before: impl Fn(&V) -> Option<Timestamp>,
    ) -> Vec<Revision<V>> {
        let writes = self.lock();
        let of_key = writes.iter().filter(|write| write.path.ends_with(suffix));
        let revisions = of_key.map(|write| {
            let value: Option<V> = write.read();
            let not_before = value.as_ref().and_then(&not_before);
            Revision { revision: write.revision, not_before, not_after: Some(write.heard), value }
        });
        revisions.collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.host.stop();
    }
}

fn note(writes: &Mutex<Vec<Write>>, update: Update, counted: &watch::Sender<usize>) {
    let (at, heard) = (Instant::now(), clock::now());
    let written = |pair: Pair| Write { at, heard, path: pair.path, revision: pair.revision, value: Some(pair.value) };
    let new: Vec<Write> = match update {
        Update::Snapshot { pairs, .. } | Update::Rebuilt { pairs, .. } => pairs.into_iter().map(written).collect(),
        Update::Changes { changes, .. } => changes
            .into_iter()
            .map(|change| match change {
                Event::Put(pair) => written(pair),
                Event::Delete { path, revision } => Write { at, heard, path, revision, value: None },
            })
            .collect(),
        Update::Unchanged => return,
    };
    let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
    writes.extend(new);
    counted.send_replace(writes.len());
}
