//! Reading and conditional writing, over etcd.

mod change;
mod look;
mod pair;
mod reach;

use std::{future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use etcd_client::{Client, GetOptions, ResponseHeader, Txn, TxnOp, TxnOpResponse, TxnResponse};
use serde::de::DeserializeOwned;

pub(crate) use self::reach::Line;
use self::reach::Reach;
pub use self::{
    change::{Change, Expect},
    pair::{Pair, Versioned},
};
use crate::{
    Error, Key, Prefix,
    key::ROOT,
    lineage::{Guard, Known, Trouble},
};

/// How long one request may take; a client-wide limit would end campaigns and streams too.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a read is tried, each time of the member whose turn it is then; a write whose outcome is unknown is never repeated here.
const READS: u32 = 2;
/// The most operations of one change; etcd takes 128.
const MOST_OPERATIONS: usize = 120;
/// The most octets of one change; etcd takes 1.5 MiB.
const MOST_OCTETS: usize = 1 << 20;

/// Keys of one page of a list.
const PAGE: i64 = 1000;
/// The largest page that is taken; the gRPC library's own limit of 4 MiB is less than a list may be.
const LARGEST_PAGE: usize = 1 << 30;

/// How etcd is reached. Clones share the connection.
#[derive(Clone)]
pub struct Store {
    reach: Arc<ArcSwap<Reach>>,
    pub(crate) guard: Arc<Guard>,
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
        let reach = Reach::prepare(members, pem).await?;
        Ok(Self { reach: Arc::new(ArcSwap::from_pointee(reach)), guard: Arc::default() })
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

    pub(crate) fn reach(&self) -> Arc<Reach> {
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
    pub async fn get<V: DeserializeOwned>(&self, key: &Key<V>) -> Result<Option<Versioned<V>>, Error> {
        self.get_pair(key.path()).await?.map(|pair| pair.read()).transpose()
    }

    /// The value of a key that was written with [`Change::put_packed`].
    ///
    /// # Errors
    /// [`Error::Unavailable`], or the value is not what its key says.
    pub async fn get_packed<V: DeserializeOwned>(&self, key: &Key<V>) -> Result<Option<Versioned<V>>, Error> {
        self.get_pair(key.path()).await?.map(Pair::read_packed).transpose()
    }

    /// The values of keys that were written with [`Change::put_packed`], in the order of the keys, all as of one moment; at
    /// most 120, and 4 MiB of them.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or a value is not what its key says.
    pub async fn get_all_packed<'a, V: DeserializeOwned + 'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Key<V>>,
    ) -> Result<Vec<Option<Versioned<V>>>, Error> {
        let gets: Vec<_> = keys.into_iter().map(|key| TxnOp::get(key.path(), None)).collect();
        let least = self.guard.highest();
        let all = async |mut client: Client| client.txn(Txn::new().and_then(gets.clone())).await;
        let response = self.read("reading", all).await?;
        self.answered(response.header(), least)?;
        let found = response.op_responses().into_iter().map(|answer| match answer {
            TxnOpResponse::Get(got) => got.kvs().first().map(Pair::from_etcd).map(Pair::read_packed).transpose(),
            TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => Ok(None),
        });
        found.collect()
    }

    pub(crate) async fn get_pair(&self, path: &str) -> Result<Option<Pair>, Error> {
        let least = self.guard.highest();
        let response = self.read("reading", async |mut client: Client| client.get(path, None).await).await?;
        self.answered(response.header(), least)?;
        Ok(response.kvs().first().map(Pair::from_etcd))
    }

    /// Everything under a prefix, and the revision that it stood at.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn list_pairs(&self, prefix: &str) -> Result<(Vec<Pair>, i64), Error> {
        let (mut pairs, mut at, mut from) = (Vec::new(), None, prefix.as_bytes().to_vec());
        let end = GetOptions::new().with_range(end_of(prefix)).with_limit(PAGE);
        loop {
            let least = self.guard.highest();
            // Every page is of the revision of the first one.
            let options = at.map_or_else(|| end.clone(), |revision| end.clone().with_revision(revision));
            let page = async |client: Client| {
                let mut client = client.kv_client().max_decoding_message_size(LARGEST_PAGE);
                client.get(from.clone(), Some(options.clone())).await
            };
            let response = self.read("listing", page).await?;
            let revision = self.answered(response.header(), least)?;
            let revision = *at.get_or_insert(revision);
            pairs.extend(response.kvs().iter().map(Pair::from_etcd));
            match response.kvs().last() {
                // The next key is the smallest one after the last.
                Some(last) if response.more() => from = [last.key(), &[0]].concat(),
                Some(_) | None => return Ok((pairs, revision)),
            }
        }
    }

    /// All values under a prefix.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or a value is not what its key says.
    pub async fn list<V: DeserializeOwned>(&self, prefix: &Prefix<V>) -> Result<Vec<(String, Versioned<V>)>, Error> {
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
        let (response, revision) = self.write(Txn::new().when(compares).and_then(operations)).await?;
        if !response.succeeded() {
            return Err(Error::Conflict);
        }
        Ok(revision)
    }

    /// A write that was done in a store that went back counts as not done: nobody acts on it.
    async fn write(&self, transaction: Txn) -> Result<(TxnResponse, i64), Error> {
        self.look_first().await?;
        let least = self.guard.highest();
        let response = match self.ask("writing", async |mut client| client.txn(transaction).await).await {
            Err(error @ Error::Full { .. }) => {
                self.guard.is_full();
                return Err(error);
            }
            outcome => outcome?,
        };
        // What was written is newer than all that was seen when it was asked for.
        let least = if response.succeeded() { least.saturating_add(1) } else { least };
        let revision = self.answered(response.header(), least)?;
        if response.succeeded() {
            self.guard.has_space();
        }
        Ok((response, revision))
    }

    /// Nothing is written to a store that went back, and nothing to one that may have.
    async fn look_first(&self) -> Result<(), Error> {
        self.guard.check()?;
        if self.guard.is_doubted() { Box::pin(self.look()).await.map(drop) } else { Ok(()) }
    }

    fn answered(&self, header: Option<&ResponseHeader>, least: i64) -> Result<i64, Error> {
        let Some(header) = header else { return Ok(0) };
        self.guard.answered(header.cluster_id(), header.revision(), least)?;
        Ok(header.revision())
    }

    /// What is wrong with the store although it answers.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.guard.trouble()
    }

    /// Whether an answer belied what was known.
    pub(crate) fn is_restored_backup(&self) -> bool {
        matches!(self.trouble(), Some(Trouble::RestoredBackup(_)))
    }

    /// What is known of the store; none before it was first read or [`Self::expect`]ed.
    #[must_use]
    pub fn known(&self) -> Option<Known> {
        self.guard.known()
    }

    /// Begins with what was known of the store when it was last seen: an answer that belies it is
    /// [`Error::RestoredBackup`].
    pub fn expect(&self, known: Known) {
        self.guard.begin(known);
    }

    /// Makes a change, and where its expectations do not hold says what the first of these keys is instead.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_or_read<V: DeserializeOwned>(
        &self,
        change: Change,
        otherwise: &Key<V>,
    ) -> Result<Result<i64, Option<Versioned<V>>>, Error> {
        let txn =
            Txn::new().when(change.compares).and_then(change.operations).or_else([TxnOp::get(otherwise.path(), None)]);
        let (response, revision) = self.write(txn).await?;
        if response.succeeded() {
            return Ok(Ok(revision));
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
        self.look_first().await?;
        match self.ask("asking for a lease", async |mut client| client.lease_grant(seconds, None).await).await {
            Err(error @ Error::Full { .. }) => {
                self.guard.is_full();
                Err(error)
            }
            granted => Ok(granted?.id()),
        }
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

    pub(crate) async fn ask<T, F>(&self, doing: &'static str, request: impl FnOnce(Client) -> F) -> Result<T, Error>
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

/// The smallest key that does not begin with this prefix, which ends with a slash or another character below 255.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

/// etcd's words for its alarm NOSPACE, and for a write that would raise it.
const NO_SPACE: &str = "database space exceeded";

fn judge(doing: &'static str, source: etcd_client::Error) -> Error {
    use tonic::Code;
    if let etcd_client::Error::GRpcStatus(status) = &source
        && status.code() == Code::ResourceExhausted
        && status.message().contains(NO_SPACE)
    {
        return Error::Full { doing };
    }
    let answered = if let etcd_client::Error::GRpcStatus(status) = &source { Some(status.code()) } else { None };
    let away = answered.is_none_or(|code| {
        [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown, Code::ResourceExhausted]
            .contains(&code)
    });
    let source = Box::new(source);
    if away { Error::Unavailable { doing, source: Some(source) } } else { Error::Refused { doing, source } }
}
