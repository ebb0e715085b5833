//! The data of the in-memory store: what etcd's MVCC store and its lessor do, without I/O and without a clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use tokio::time::Instant;
use tonic::Status;

use crate::store::{
    Event, Pair,
    connection::{
        Compare, Content, Failure, Header, Keys, LeasedPair, Operation, Range, RangeAnswer, Transaction,
        TransactionAnswer,
    },
};

/// etcd raises shorter leases to this: one and a half election timeouts of 1 s, rounded up.
const MIN_LEASE_SECONDS: i64 = 2;

/// All changes of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub revision: i64,
    /// When it came to be, on tokio's clock.
    pub at: Instant,
    /// The changes, in the order in which they were made.
    pub events: Vec<Event>,
}

#[derive(Debug, Clone)]
struct Stored {
    pair: Pair,
    /// Writes since the key was created.
    version: i64,
    lease: i64,
}

/// A key at a revision; no value if it was deleted then.
#[derive(Debug, Clone)]
struct Version {
    revision: i64,
    stored: Option<Stored>,
}

#[derive(Debug, Clone)]
struct Lease {
    time_to_live: Duration,
    until: Instant,
    keys: BTreeSet<String>,
}

/// The data.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) cluster: u64,
    pub(super) revision: i64,
    pub(super) compacted: i64,
    pub(super) is_full: bool,
    keys: BTreeMap<String, Vec<Version>>,
    log: Vec<Revision>,
    leases: BTreeMap<i64, Lease>,
    /// How many leases were granted, which gives them their ids.
    granted: i64,
}

impl State {
    pub(super) fn new(cluster: u64) -> Self {
        Self {
            cluster,
            // As a new etcd has it.
            revision: 1,
            compacted: 0,
            is_full: false,
            keys: BTreeMap::new(),
            log: Vec::new(),
            leases: BTreeMap::new(),
            granted: 0,
        }
    }

    pub(super) const fn header(&self) -> Header {
        Header { cluster: self.cluster, revision: self.revision }
    }

    /// All revisions with changes, in order, compacted ones too: compaction hides them from clients only.
    pub(super) fn log(&self) -> &[Revision] {
        &self.log
    }

    fn current(&self, path: &str) -> Option<&Stored> {
        self.keys.get(path)?.last()?.stored.as_ref()
    }

    pub(super) fn pair(&self, path: &str) -> Option<&Pair> {
        self.current(path).map(|stored| &stored.pair)
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.keys.values().filter_map(|versions| Some(&versions.last()?.stored.as_ref()?.pair))
    }

    pub(super) fn version(&self, path: &str) -> Option<i64> {
        self.current(path).map(|stored| stored.version)
    }

    pub(super) fn lease_of(&self, path: &str) -> Option<i64> {
        self.current(path).map(|stored| stored.lease)
    }

    pub(super) fn range(&self, range: &Range) -> Result<RangeAnswer, Failure> {
        let at = range.revision.filter(|revision| *revision > 0).unwrap_or(self.revision);
        if at > self.revision {
            return Err(out_of_range("etcdserver: mvcc: required revision is a future revision"));
        }
        if at < self.compacted {
            return Err(out_of_range("etcdserver: mvcc: required revision has been compacted"));
        }
        let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut found = self.versions(&range.keys).filter_map(|versions| stored_at(versions, at));
        let pairs: Vec<_> = if range.content == Content::Pairs {
            found
                .by_ref()
                .take(limit)
                .map(|stored| LeasedPair { pair: stored.pair.clone(), lease: stored.lease })
                .collect()
        } else {
            Vec::new()
        };
        let more = range.content == Content::Pairs && found.next().is_some();
        Ok(RangeAnswer { header: self.header(), pairs, more })
    }

    fn versions(&self, keys: &Keys) -> Box<dyn Iterator<Item = &Vec<Version>> + '_> {
        match keys {
            Keys::One(path) => Box::new(self.keys.get(path).into_iter()),
            Keys::Under { prefix, after } => {
                let from = after.as_ref().map_or(Bound::Included(prefix), Bound::Excluded);
                let prefix = prefix.clone();
                let range = self.keys.range::<String, _>((from, Bound::Unbounded));
                Box::new(range.take_while(move |(path, _)| path.starts_with(&prefix)).map(|(_, versions)| versions))
            }
        }
    }

    /// Carries out a transaction. If it changed anything, the last entry of the log says what.
    pub(super) fn transact(&mut self, now: Instant, transaction: Transaction) -> Result<TransactionAnswer, Failure> {
        let Transaction { compares, then, otherwise } = transaction;
        let writes = |operations: &[Operation]| operations.iter().any(|one| matches!(one, Operation::Put { .. }));
        // etcd looks at both branches before it compares.
        if self.is_full && (writes(&then) || writes(&otherwise)) {
            return Err(Failure::NoSpace);
        }
        check_duplicates(&then)?;
        check_duplicates(&otherwise)?;
        let succeeded = compares.iter().all(|compare| self.holds(compare));
        let operations = if succeeded { then } else { otherwise };
        let lost = |operation: &Operation| match operation {
            Operation::Put { lease, .. } => *lease != 0 && !self.leases.contains_key(lease),
            Operation::Delete(_) | Operation::Get(_) => false,
        };
        if operations.iter().any(lost) {
            return Err(no_lease());
        }
        let (mut events, mut found) = (Vec::new(), Vec::new());
        for operation in operations {
            match operation {
                Operation::Put { path, value, lease } => events.push(self.put(path, value, lease)),
                Operation::Delete(path) => events.extend(self.remove(&path)),
                Operation::Get(path) => found.push(self.pair(&path).cloned()),
            }
        }
        self.record(now, events);
        Ok(TransactionAnswer { header: self.header(), succeeded, found })
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::ModRevision(path, revision) => self.pair(path).map_or(0, |pair| pair.revision) == *revision,
            Compare::CreateRevision(path, revision) => self.pair(path).map_or(0, |pair| pair.created) == *revision,
            Compare::NoneUnder(prefix) => self.has_none_under(prefix),
        }
    }

    fn has_none_under(&self, prefix: &str) -> bool {
        let under = self.keys.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        under.into_iter().all(|(path, _)| self.current(path).is_none())
    }

    /// Writes a key at the next revision.
    fn put(&mut self, path: String, value: Vec<u8>, lease: i64) -> Event {
        let revision = self.revision + 1;
        self.detach(&path);
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(path.clone());
        }
        let known = self.current(&path);
        let (created, version) = known.map_or((revision, 1), |stored| (stored.pair.created, stored.version + 1));
        let pair = Pair { path: path.clone(), value, revision, created };
        let stored = Stored { pair: pair.clone(), version, lease };
        self.keys.entry(path).or_default().push(Version { revision, stored: Some(stored) });
        Event::Put(pair)
    }

    /// Deletes a key at the next revision, if it exists.
    fn remove(&mut self, path: &str) -> Option<Event> {
        let revision = self.revision + 1;
        self.current(path)?;
        self.detach(path);
        self.keys.get_mut(path)?.push(Version { revision, stored: None });
        Some(Event::Delete { path: path.to_owned(), revision })
    }

    fn detach(&mut self, path: &str) {
        if let Some(lease) = self.lease_of(path).and_then(|lease| self.leases.get_mut(&lease)) {
            lease.keys.remove(path);
        }
    }

    fn record(&mut self, at: Instant, events: Vec<Event>) {
        if !events.is_empty() {
            self.revision += 1;
            self.log.push(Revision { revision: self.revision, at, events });
        }
    }

    pub(super) fn delete(&mut self, now: Instant, path: &str) {
        let events = self.remove(path).into_iter().collect();
        self.record(now, events);
    }

    pub(super) fn grant(&mut self, now: Instant, seconds: i64) -> Result<i64, Failure> {
        if self.is_full {
            return Err(Failure::NoSpace);
        }
        self.granted += 1;
        let seconds = u64::try_from(seconds.max(MIN_LEASE_SECONDS)).unwrap_or_default();
        let time_to_live = Duration::from_secs(seconds);
        let lease = Lease { time_to_live, until: now + time_to_live, keys: BTreeSet::new() };
        self.leases.insert(self.granted, lease);
        Ok(self.granted)
    }

    pub(super) fn keep_alive(&mut self, now: Instant, lease: i64) -> bool {
        let Some(lease) = self.leases.get_mut(&lease) else { return false };
        lease.until = now + lease.time_to_live;
        true
    }

    pub(super) fn revoke(&mut self, now: Instant, lease: i64) -> Result<(), Failure> {
        let lease = self.leases.remove(&lease).ok_or_else(no_lease)?;
        let events = lease.keys.iter().filter_map(|path| self.remove(path)).collect();
        self.record(now, events);
        Ok(())
    }

    /// The lease that expires next, and when.
    pub(super) fn next_expiry(&self) -> Option<(Instant, i64)> {
        self.leases.iter().map(|(id, lease)| (lease.until, *id)).min()
    }

    /// Gives all leases their full time, as a new leader of etcd does.
    pub(super) fn extend_leases(&mut self, now: Instant) {
        for lease in self.leases.values_mut() {
            lease.until = now + lease.time_to_live;
        }
    }

    /// Forgets what was superseded up to this revision.
    pub(super) fn compact(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision.min(self.revision));
        for versions in self.keys.values_mut() {
            let kept = versions.iter().rposition(|version| version.revision <= self.compacted).unwrap_or(0);
            versions.drain(..kept);
        }
        self.keys.retain(|_, versions| {
            versions.iter().any(|version| version.stored.is_some() || version.revision > self.compacted)
        });
    }

    /// The changes from a revision on, or `None` if some of them are compacted.
    pub(super) fn since(&self, from: i64) -> Option<&[Revision]> {
        if from < self.compacted {
            return None;
        }
        let first = self.log.partition_point(|entry| entry.revision < from);
        Some(self.log.get(first..).unwrap_or_default())
    }
}

fn stored_at(versions: &[Version], revision: i64) -> Option<&Stored> {
    versions.iter().rev().find(|version| version.revision <= revision)?.stored.as_ref()
}

/// etcd refuses to write a key twice in one transaction, and to write and delete it.
fn check_duplicates(operations: &[Operation]) -> Result<(), Failure> {
    let (mut put, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    for operation in operations {
        let is_duplicate = match operation {
            Operation::Put { path, .. } => !put.insert(path.as_str()) || deleted.contains(path.as_str()),
            Operation::Delete(path) => {
                deleted.insert(path.as_str());
                put.contains(path.as_str())
            }
            Operation::Get(_) => false,
        };
        if is_duplicate {
            return Err(refused(Status::invalid_argument("etcdserver: duplicate key given in txn request")));
        }
    }
    Ok(())
}

fn no_lease() -> Failure {
    refused(Status::not_found("etcdserver: requested lease not found"))
}

fn refused(status: Status) -> Failure {
    Failure::Refused(Box::new(etcd_client::Error::GRpcStatus(status)))
}

fn out_of_range(why: &'static str) -> Failure {
    Failure::OutOfRange(Box::new(etcd_client::Error::GRpcStatus(Status::out_of_range(why))))
}
