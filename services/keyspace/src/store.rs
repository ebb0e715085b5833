//! Reading and conditional writing, over etcd or, in tests, over an in-memory store with etcd's semantics.

mod change;
pub(crate) mod connection;
mod endpoints;
mod etcd;
mod guard;
mod kv;
mod verify;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub(crate) use self::endpoints::{Endpoint, Endpoints};
pub use self::{
    change::{Change, Expect, stored_size},
    connection::{Alarm, ClusterMember, Event, MemberState, RaisedAlarm},
    etcd::Pem,
    kv::{Pair, Versioned},
};
use self::{
    connection::{Answer, Connection, Content, Header, Keys, Operation, Range, Transaction, TransactionAnswer},
    guard::Guard,
};
use crate::{
    Error, Key, Prefix, key,
    store_identity::{Known, Trouble},
};

/// How long one request may take. A limit for the whole client would also end streams.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a read is tried, each time with the member in use. A write whose outcome is unknown is never repeated here.
const READ_ATTEMPTS: u32 = 2;
/// Keys in one page of a list.
const PAGE_KEYS: i64 = 1000;

/// A handle of the store. Clones share the connections and what is known of the store.
#[derive(Clone)]
pub struct Store {
    endpoints: Arc<ArcSwap<Endpoints>>,
    pub(crate) guard: Arc<Guard>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Prepares connections to these members of etcd. They need not answer yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if an address or the certificates are invalid.
    pub async fn connect(members: &[String], pem: Pem<'_>) -> Result<Self, Error> {
        Ok(Self::over(Endpoints::prepare(members, pem).await?))
    }

    /// A store over these connections.
    pub(crate) fn over(endpoints: Endpoints) -> Self {
        Self { endpoints: Arc::new(ArcSwap::from_pointee(endpoints)), guard: Arc::default() }
    }

    /// Uses these members and certificates from now on, for all clones. Requests in flight finish on the old
    /// connections. The member in use stays the same if it is among these.
    ///
    /// # Errors
    /// As [`Self::connect`], or [`Error::Unavailable`] if no member accepts the certificates. The old connections stay
    /// in use then.
    pub async fn reconnect(&self, members: &[String], pem: Pem<'_>) -> Result<(), Error> {
        let endpoints = Arc::new(Endpoints::prepare(members, pem).await?);
        for left in (0..members.len()).rev() {
            let outcome = endpoints.ask("trying new certificates", REQUEST_TIMEOUT, |member| {
                // A key that every service may read.
                member.range(Range::one(key::incarnation().path()))
            });
            match outcome.await {
                Err(error) if error.is_away() && left > 0 => {}
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        // All requests of the loop have ended.
        let endpoints = Arc::into_inner(endpoints).ok_or(Error::Unavailable { doing: "connecting", source: None })?;
        self.endpoints.store(Arc::new(endpoints.in_place_of(&self.endpoints())));
        Ok(())
    }

    /// The addresses of the members that it uses.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.endpoints().addresses()
    }

    /// Number of members that it uses, one at a time.
    #[must_use]
    pub fn members_count(&self) -> usize {
        self.endpoints().count()
    }

    /// Counts how often a member was left because it did not answer, over all lists of members.
    #[must_use]
    pub fn departures(&self) -> watch::Receiver<u64> {
        self.endpoints().departures()
    }

    /// A handle of the same store with connections of its own, which the calling runtime drives: a connection is only as
    /// prompt as the runtime that made it. It shares what is known of the store. When it leaves a member that does not
    /// answer, this handle does, too; a runtime that is too busy to hear answers in time does not move the other one.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn with_own_connections(&self, members: &[String], pem: Pem<'_>) -> Result<Self, Error> {
        let own = Endpoints::prepare(members, pem).await?.followed_by(&self.endpoints());
        Ok(Self { endpoints: Arc::new(ArcSwap::from_pointee(own)), guard: Arc::clone(&self.guard) })
    }

    pub(crate) fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// The member in use, for a stream.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Error> {
        self.endpoints().endpoint()
    }

    /// Reads the value of a key.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::Value`] if the value is not what its key says.
    pub async fn get<V: DeserializeOwned>(&self, key: &Key<V>) -> Result<Option<Versioned<V>>, Error> {
        self.get_pair(key.path()).await?.map(|pair| pair.read()).transpose()
    }

    /// Reads the value of a key that was written with [`Change::put_packed`].
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::Value`] if the value is not what its key says.
    pub async fn get_packed<V: DeserializeOwned>(&self, key: &Key<V>) -> Result<Option<Versioned<V>>, Error> {
        self.get_pair(key.path()).await?.map(Pair::read_packed).transpose()
    }

    /// Reads values that were written with [`Change::put_packed`], all as of one revision, in the order of `keys`. At
    /// most 120 keys and 4 MiB of values.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::Value`] if a value is not what its key says.
    pub async fn get_all_packed<'a, V: DeserializeOwned + 'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Key<V>>,
    ) -> Result<Vec<Option<Versioned<V>>>, Error> {
        let then: Vec<_> = keys.into_iter().map(|key| Operation::Get(key.path().to_owned())).collect();
        let least = self.guard.highest();
        let reading = Transaction { then, ..Transaction::default() };
        let answer = self.read("reading", |member| member.transact(reading.clone())).await?;
        self.answered(answer.header, least)?;
        answer.found.into_iter().map(|found| found.map(Pair::read_packed).transpose()).collect()
    }

    pub(crate) async fn get_pair(&self, path: &str) -> Result<Option<Pair>, Error> {
        let least = self.guard.highest();
        let answer = self.read("reading", |member| member.range(Range::one(path))).await?;
        self.answered(answer.header, least)?;
        Ok(answer.pairs.into_iter().next().map(|found| found.pair))
    }

    /// Reads all pairs under a prefix as of one revision, and returns that revision with them.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::OutOfRange`] if the revision was compacted before the last page was read.
    pub async fn list_pairs(&self, prefix: &str) -> Result<(Vec<Pair>, i64), Error> {
        let (mut pairs, mut at, mut after) = (Vec::<Pair>::new(), None, None);
        loop {
            let least = self.guard.highest();
            // Every page is as of the revision of the first one.
            let keys = Keys::Under { prefix: prefix.to_owned(), after: after.take() };
            let range = Range { keys, revision: at, limit: PAGE_KEYS, content: Content::Pairs };
            let answer = self.read("listing", |member| member.range(range.clone())).await?;
            let revision = self.answered(answer.header, least)?;
            let revision = *at.get_or_insert(revision);
            pairs.extend(answer.pairs.into_iter().map(|found| found.pair));
            match pairs.last() {
                Some(last) if answer.more => after = Some(last.path.clone()),
                Some(_) | None => return Ok((pairs, revision)),
            }
        }
    }

    /// Reads all values under a prefix.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::Value`] if a value is not what its key says.
    pub async fn list<V: DeserializeOwned>(&self, prefix: &Prefix<V>) -> Result<Vec<(String, Versioned<V>)>, Error> {
        let (pairs, _) = self.list_pairs(prefix.path()).await?;
        pairs.into_iter().map(|pair| Ok((pair.path.clone(), pair.read()?))).collect()
    }

    /// Carries out a change and returns its revision.
    ///
    /// # Errors
    /// [`Error::Conflict`] if an expectation did not hold, [`Error::TooLarge`] if etcd would not take it; nothing was
    /// written. [`Error::Unavailable`] if there was no
    /// answer: whether the change was carried out is unknown; read before trying again.
    pub async fn commit(&self, change: Change) -> Result<i64, Error> {
        change.check_size()?;
        let Change { compares, operations, .. } = change;
        let (answer, revision) = self.write(Transaction { compares, then: operations, otherwise: Vec::new() }).await?;
        if answer.succeeded { Ok(revision) } else { Err(Error::Conflict) }
    }

    /// Carries out a change. If its expectations do not hold, returns what `otherwise` holds instead.
    ///
    /// # Errors
    /// As [`Self::commit`], without [`Error::Conflict`].
    pub async fn commit_or_read<V: DeserializeOwned>(
        &self,
        change: Change,
        otherwise: &Key<V>,
    ) -> Result<Result<i64, Option<Versioned<V>>>, Error> {
        change.check_size()?;
        let otherwise = vec![Operation::Get(otherwise.path().to_owned())];
        let transaction = Transaction { compares: change.compares, then: change.operations, otherwise };
        let (answer, revision) = self.write(transaction).await?;
        if answer.succeeded {
            return Ok(Ok(revision));
        }
        let found = answer.found.into_iter().flatten().next();
        Ok(Err(found.map(|pair| pair.read()).transpose()?))
    }

    /// A write that a restored backup carried out counts as not carried out.
    async fn write(&self, transaction: Transaction) -> Result<(TransactionAnswer, i64), Error> {
        self.verify_first().await?;
        let least = self.guard.highest();
        let answer = match self.ask("writing", |member| member.transact(transaction)).await {
            Err(error @ Error::Full { .. }) => {
                self.guard.is_full();
                return Err(error);
            }
            outcome => outcome?,
        };
        // What was written is newer than all that was seen when it was asked for.
        let least = if answer.succeeded { least.saturating_add(1) } else { least };
        let revision = self.answered(answer.header, least)?;
        if answer.succeeded {
            self.guard.has_space();
        }
        Ok((answer, revision))
    }

    /// Refuses to write to a restored backup, or to a store that may be one.
    async fn verify_first(&self) -> Result<(), Error> {
        self.guard.check()?;
        if self.guard.is_doubted() { Box::pin(self.verify()).await.map(drop) } else { Ok(()) }
    }

    fn answered(&self, header: Header, least: i64) -> Result<i64, Error> {
        if header != Header::default() {
            self.guard.answered(header.cluster, header.revision, least)?;
        }
        Ok(header.revision)
    }

    /// What is wrong with the store although it answers.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.guard.trouble()
    }

    /// Whether an answer contradicted what is known of the store.
    pub(crate) fn is_restored_backup(&self) -> bool {
        matches!(self.trouble(), Some(Trouble::RestoredBackup(_)))
    }

    /// What is known of the store. `None` before it was first read or [`Self::expect`]ed.
    #[must_use]
    pub fn known(&self) -> Option<Known> {
        self.guard.known()
    }

    /// Starts with what was known of the store when it was last seen: an answer that contradicts it is
    /// [`Error::RestoredBackup`].
    pub fn expect(&self, known: Known) {
        self.guard.begin(known);
    }

    /// Grants a lease of this many seconds and returns its id. etcd raises a time that is too short for its own
    /// elections to 2 s.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn grant(&self, seconds: i64) -> Result<i64, Error> {
        self.verify_first().await?;
        match self.ask("asking for a lease", |member| member.grant(seconds)).await {
            Err(error @ Error::Full { .. }) => {
                self.guard.is_full();
                Err(error)
            }
            granted => granted,
        }
    }

    /// The lease that a key is under: `None` if the key does not exist, 0 if it is under no lease.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn lease_of<V>(&self, key: &Key<V>) -> Result<Option<i64>, Error> {
        let answer = self.ask("reading a lease", |member| member.range(Range::one(key.path()))).await?;
        Ok(answer.pairs.first().map(|found| found.lease))
    }

    /// Revokes a lease and deletes all keys under it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the lease expires by itself then. [`Error::Refused`] if it does not exist.
    pub async fn revoke(&self, lease: i64) -> Result<(), Error> {
        self.ask("revoking a lease", |member| member.revoke(lease)).await
    }

    /// Renews a lease once, within `timeout`. Returns `false` if the lease does not exist any more.
    ///
    /// # Errors
    /// [`Error::Unavailable`]
    pub async fn keep_alive(&self, lease: i64, timeout: Duration) -> Result<bool, Error> {
        self.endpoints().ask("keeping a lease alive", timeout, |member| member.keep_alive(lease)).await
    }

    pub(crate) async fn ask<T>(
        &self,
        doing: &'static str,
        request: impl FnOnce(&dyn Connection) -> Answer<T>,
    ) -> Result<T, Error> {
        self.endpoints().ask(doing, REQUEST_TIMEOUT, request).await
    }

    async fn read<T>(&self, doing: &'static str, request: impl Fn(&dyn Connection) -> Answer<T>) -> Result<T, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.ask(doing, &request).await {
                Err(Error::Unavailable { .. }) if attempts < READ_ATTEMPTS => {}
                outcome => return outcome,
            }
        }
    }
}
