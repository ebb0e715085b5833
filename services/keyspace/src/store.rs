//! Reading and conditional writing, over etcd.

mod change;
mod reach;

use std::{future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use etcd_client::{Client, GetOptions, Txn, TxnOp, TxnOpResponse};
use serde::{Serialize, de::DeserializeOwned};

pub use self::change::{Change, Expect};
pub(crate) use self::reach::Line;
use self::reach::Reach;
use crate::{Error, Key, Prefix, key::ROOT};

/// How long one request may take; a client-wide limit would end campaigns and streams too.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a read is tried, each time of the member whose turn it is then; a write whose outcome is unknown is never repeated here.
const READS: u32 = 2;
/// The most operations of one change; etcd takes 128.
const MOST_OPERATIONS: usize = 120;
/// The most octets of one change; etcd takes 1.5 MiB.
const MOST_OCTETS: usize = 1 << 20;

/// A value with what conditional writes need to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revised<V> {
    /// The value.
    pub value: V,
    /// The revision at which it was last written.
    pub revision: i64,
    /// The revision at which it came to be.
    pub created: i64,
}

/// A pair as etcd has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Pair {
    /// The key's path.
    pub path: String,
    /// JSON, usually.
    pub value: Vec<u8>,
    /// The revision at which it was last written.
    pub revision: i64,
    /// The revision at which it came to be.
    pub created: i64,
}

impl Pair {
    /// Reads the value as what its key says.
    ///
    /// # Errors
    /// [`Error::Value`]
    pub fn read<V: DeserializeOwned>(&self) -> Result<Revised<V>, Error> {
        let value =
            serde_json::from_slice(&self.value).map_err(|source| Error::Value { key: self.path.clone(), source })?;
        Ok(Revised { value, revision: self.revision, created: self.created })
    }

    pub(crate) fn from_etcd(pair: &etcd_client::KeyValue) -> Self {
        Self {
            path: String::from_utf8_lossy(pair.key()).into_owned(),
            value: pair.value().to_vec(),
            revision: pair.mod_revision(),
            created: pair.create_revision(),
        }
    }
}

/// How etcd is reached. Clones share the connection.
#[derive(Clone)]
pub struct Store {
    reach: Arc<ArcSwap<Reach>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// The certificates that etcd is spoken to with (PEM).
#[derive(Debug, Clone, Copy)]
pub struct Pem<'a> {
    /// The CA.
    pub ca: &'a [u8],
    /// The own certificate.
    pub certificate: &'a [u8],
    /// Its key.
    pub key: &'a [u8],
}

impl Store {
    /// Prepares to reach these members. Does not need them to be there.
    ///
    /// # Errors
    /// An address can not be read, or the certificates can not be used.
    pub async fn connect(members: &[String], pem: Pem<'_>) -> Result<Self, Error> {
        Ok(Self { reach: Arc::new(ArcSwap::from_pointee(Reach::prepare(members, pem).await?)) })
    }

    /// Reaches these members with these certificates from now on, for all clones. What is under way goes on as it began.
    ///
    /// # Errors
    /// As [`Self::connect`], or nobody answers to these certificates; what was used before stays in use.
    pub async fn reconnect(&self, members: &[String], pem: Pem<'_>) -> Result<(), Error> {
        let reach = Arc::new(Reach::prepare(members, pem).await?);
        for left in (0..members.len()).rev() {
            let trying = async |mut client: Client| client.get(ROOT, None).await;
            match reach.ask("trying other certificates", PATIENCE, trying).await {
                Err(error) if error.is_away() && left > 0 => {}
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        self.reach.store(reach);
        Ok(())
    }

    fn reach(&self) -> Arc<Reach> {
        self.reach.load_full()
    }

    /// The member whose turn it is, for a stream.
    pub(crate) fn line(&self) -> Result<Line, Error> {
        self.reach().line()
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or the value is not what its key says.
    pub async fn get<V: DeserializeOwned>(&self, key: &Key<V>) -> Result<Option<Revised<V>>, Error> {
        self.get_pair(key.path()).await?.map(|pair| pair.read()).transpose()
    }

    /// The value of a key that was written with [`Change::put_packed`].
    ///
    /// # Errors
    /// [`Error::Unavailable`], or the value is not what its key says.
    pub async fn get_packed<V: DeserializeOwned>(&self, key: &Key<V>) -> Result<Option<Revised<V>>, Error> {
        let Some(mut pair) = self.get_pair(key.path()).await? else { return Ok(None) };
        pair.value = zstd::stream::decode_all(pair.value.as_slice())
            .map_err(|source| Error::Value { key: pair.path.clone(), source: serde::de::Error::custom(source) })?;
        pair.read().map(Some)
    }

    async fn get_pair(&self, path: &str) -> Result<Option<Pair>, Error> {
        let response = self.read("reading", async |mut client: Client| client.get(path, None).await);
        Ok(response.await?.kvs().first().map(Pair::from_etcd))
    }

    /// Everything under a prefix, and the revision that it stood at.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn list_pairs(&self, prefix: &str) -> Result<(Vec<Pair>, i64), Error> {
        let all = || Some(GetOptions::new().with_prefix());
        let response = self.read("listing", async |mut client: Client| client.get(prefix, all()).await);
        let response = response.await?;
        let revision = response.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok((response.kvs().iter().map(Pair::from_etcd).collect(), revision))
    }

    /// All values under a prefix.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or a value is not what its key says.
    pub async fn list<V: DeserializeOwned>(&self, prefix: &Prefix<V>) -> Result<Vec<(String, Revised<V>)>, Error> {
        let (pairs, _) = self.list_pairs(prefix.path()).await?;
        pairs.into_iter().map(|pair| Ok((pair.path.clone(), pair.read()?))).collect()
    }

    /// Makes a change, and says at which revision.
    ///
    /// # Errors
    /// [`Error::Conflict`]: an expectation did not hold and nothing was written. [`Error::Unavailable`]: no answer, and
    /// it is not known whether it was written; read before trying again.
    pub async fn commit(&self, change: Change) -> Result<i64, Error> {
        let Change { compares, operations, octets } = change;
        if operations.len() > MOST_OPERATIONS || octets > MOST_OCTETS {
            return Err(Error::TooLarge { operations: operations.len(), octets });
        }
        let txn = Txn::new().when(compares).and_then(operations);
        let response = self.ask("writing", async |mut client| client.txn(txn).await).await?;
        if !response.succeeded() {
            return Err(Error::Conflict);
        }
        Ok(response.header().map_or(0, etcd_client::ResponseHeader::revision))
    }

    /// Makes a change, and where its expectations do not hold says what the first of these keys is instead.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_or_read<V: DeserializeOwned>(
        &self,
        change: Change,
        otherwise: &Key<V>,
    ) -> Result<Result<i64, Option<Revised<V>>>, Error> {
        let txn =
            Txn::new().when(change.compares).and_then(change.operations).or_else([TxnOp::get(otherwise.path(), None)]);
        let response = self.ask("writing", async |mut client| client.txn(txn).await).await?;
        if response.succeeded() {
            return Ok(Ok(response.header().map_or(0, etcd_client::ResponseHeader::revision)));
        }
        let found = response.op_responses().into_iter().find_map(|answer| {
            if let TxnOpResponse::Get(got) = answer { got.kvs().first().map(Pair::from_etcd) } else { None }
        });
        Ok(Err(found.map(|pair| pair.read()).transpose()?))
    }

    /// A lease of this many seconds.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn grant(&self, seconds: i64) -> Result<i64, Error> {
        Ok(self.ask("asking for a lease", async |mut client| client.lease_grant(seconds, None).await).await?.id())
    }

    /// The lease that a key is under; 0 or none: it is under no lease, or not there.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn lease_of<V>(&self, key: &Key<V>) -> Result<Option<i64>, Error> {
        let answer = self.ask("reading a lease", async |mut client| client.get(key.path(), None).await).await?;
        Ok(answer.kvs().first().map(etcd_client::KeyValue::lease))
    }

    /// Gives a lease back, with all keys under it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; it runs out by itself then.
    pub async fn revoke(&self, lease: i64) -> Result<(), Error> {
        self.ask("giving a lease back", async |mut client| client.lease_revoke(lease).await).await.map(drop)
    }

    /// Prolongs a lease once, on a stream of its own, within `patience`. Says whether the lease still is.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn keep_alive(&self, lease: i64, patience: Duration) -> Result<bool, Error> {
        // The client opens a stream with a first keep-alive, and returns when that is answered: one way there and back.
        let keeping = async |mut client: Client| match client.lease_keep_alive(lease).await {
            // Its word for an answer without time to live: the lease is no more.
            Err(etcd_client::Error::LeaseKeepAliveError(why)) if why == "lease not found" => Ok(false),
            Err(etcd_client::Error::GRpcStatus(status)) if status.code() == tonic::Code::NotFound => Ok(false),
            outcome => outcome.map(|_| true),
        };
        self.reach().ask("keeping a lease alive", patience, keeping).await
    }

    async fn ask<T, F>(&self, doing: &'static str, request: impl FnOnce(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.reach().ask(doing, PATIENCE, request).await
    }

    async fn read<T, F>(&self, doing: &'static str, once: impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.ask(doing, &once).await {
                Err(Error::Unavailable { .. }) if tries < READS => {}
                outcome => return outcome,
            }
        }
    }
}

fn judge(doing: &'static str, source: etcd_client::Error) -> Error {
    use tonic::Code;
    let answered = if let etcd_client::Error::GRpcStatus(status) = &source { Some(status.code()) } else { None };
    let away = answered.is_none_or(|code| {
        [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown, Code::ResourceExhausted]
            .contains(&code)
    });
    let source = Box::new(source);
    if away { Error::Unavailable { doing, source: Some(source) } } else { Error::Refused { doing, source } }
}
