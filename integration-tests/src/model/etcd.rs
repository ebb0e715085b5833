//! etcd as the mesh uses it: revisions, leases, transactions with conditions, and the history that watches deliver.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use domain::{
    id::{InstanceId, NodeId},
    ring::Ring,
};
use keyspace::value::{Ack, Claim, Election, Journal, Member, PowerSeen};

/// The keys of one service in one rack (`keyspace::key`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Member(InstanceId),
    Election,
    Ring,
    Ack(InstanceId),
    Dead(InstanceId),
    Claim(NodeId),
    Journal(NodeId),
    Power(NodeId),
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Member(Member),
    Election(Election),
    Ring(Ring),
    Ack(Ack),
    Dead,
    Claim(Claim),
    Journal(Journal),
    Power(PowerSeen),
}

#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) value: Value,
    pub(crate) revision: i64,
    pub(crate) created: i64,
    lease: Option<i64>,
}

/// A condition of a transaction (`keyspace::Change`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// The mod-revision; 0: absent.
    Revision(Key, i64),
    /// The create-revision.
    Created(Key, i64),
}

#[derive(Debug)]
pub(crate) enum Write {
    Put(Key, Value),
    Leased(Key, Value, i64),
    Delete(Key),
}

#[derive(Debug)]
pub(crate) enum Request {
    Commit(Vec<Expect>, Vec<Write>),
    Get(Key),
    List,
    Grant,
    KeepAlive(i64),
    Revoke(i64),
}

#[derive(Debug)]
pub(crate) enum Answer {
    /// Written, at this revision.
    Committed(i64),
    /// An expectation did not hold, or the lease is gone.
    Conflict,
    Pair(Option<Rc<Pair>>),
    List(BTreeMap<Key, Rc<Pair>>, i64),
    Lease(i64),
    Alive(bool),
}

/// What one revision changed.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: i64,
    pub(crate) at: Duration,
    pub(crate) pairs: Vec<(Key, Option<Rc<Pair>>)>,
}

#[derive(Debug)]
struct Lease {
    until: Duration,
    keys: BTreeSet<Key>,
}

#[derive(Debug, Default)]
pub(crate) struct Etcd {
    revision: i64,
    pairs: BTreeMap<Key, Rc<Pair>>,
    leases: BTreeMap<i64, Lease>,
    granted: i64,
    pub(crate) history: Vec<Rc<Change>>,
}

impl Etcd {
    /// With the rack in it, which was created before.
    pub(crate) fn new() -> Self {
        Self { revision: 1, ..Self::default() }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Rc<Pair>> {
        self.pairs.get(&key)
    }

    /// Carries a request out; a write becomes the next revision.
    pub(crate) fn apply(&mut self, now: Duration, time_to_live: Duration, request: Request) -> Answer {
        match request {
            Request::Commit(expects, writes) => self.commit(now, &expects, writes),
            Request::Get(key) => Answer::Pair(self.pairs.get(&key).cloned()),
            Request::List => Answer::List(self.pairs.clone(), self.revision),
            Request::Grant => {
                self.granted += 1;
                self.leases.insert(self.granted, Lease { until: now + time_to_live, keys: BTreeSet::new() });
                Answer::Lease(self.granted)
            }
            Request::KeepAlive(lease) => Answer::Alive(self.leases.get_mut(&lease).is_some_and(|lease| {
                lease.until = now + time_to_live;
                true
            })),
            Request::Revoke(lease) => {
                self.end_lease(now, lease);
                Answer::Alive(false)
            }
        }
    }

    fn commit(&mut self, now: Duration, expects: &[Expect], writes: Vec<Write>) -> Answer {
        let holds = |expect: &Expect| match expect {
            Expect::Revision(key, revision) => self.pairs.get(key).map_or(0, |pair| pair.revision) == *revision,
            Expect::Created(key, created) => self.pairs.get(key).map_or(0, |pair| pair.created) == *created,
        };
        let lease_is_gone = writes
            .iter()
            .any(|write| if let Write::Leased(_, _, lease) = write { !self.leases.contains_key(lease) } else { false });
        if lease_is_gone || !expects.iter().all(holds) {
            return Answer::Conflict;
        }
        self.write(now, writes);
        Answer::Committed(self.revision)
    }

    fn write(&mut self, now: Duration, writes: Vec<Write>) {
        self.revision += 1;
        let mut pairs = Vec::with_capacity(writes.len());
        for write in writes {
            match write {
                Write::Put(key, value) => pairs.push((key, Some(self.put(key, value, None)))),
                Write::Leased(key, value, lease) => {
                    if let Some(lease) = self.leases.get_mut(&lease) {
                        lease.keys.insert(key);
                    }
                    pairs.push((key, Some(self.put(key, value, Some(lease)))));
                }
                Write::Delete(key) => {
                    if self.pairs.remove(&key).is_some() {
                        pairs.push((key, None));
                    }
                }
            }
        }
        self.history.push(Rc::new(Change { revision: self.revision, at: now, pairs }));
    }

    fn put(&mut self, key: Key, value: Value, lease: Option<i64>) -> Rc<Pair> {
        let created = self.pairs.get(&key).map_or(self.revision, |pair| pair.created);
        let pair = Rc::new(Pair { value, revision: self.revision, created, lease });
        self.pairs.insert(key, Rc::clone(&pair));
        pair
    }

    /// A lease ends, and its keys with it.
    pub(crate) fn end_lease(&mut self, now: Duration, lease: i64) {
        let Some(ended) = self.leases.remove(&lease) else { return };
        let its = |key: &Key| self.pairs.get(key).is_some_and(|pair| pair.lease == Some(lease));
        let keys: Vec<_> = ended.keys.iter().copied().filter(its).collect();
        if !keys.is_empty() {
            self.write(now, keys.into_iter().map(Write::Delete).collect());
        }
    }

    /// A key vanishes although its lease is kept.
    pub(crate) fn lose(&mut self, now: Duration, key: Key) {
        if self.pairs.contains_key(&key) {
            self.write(now, vec![Write::Delete(key)]);
        }
    }

    /// Ends the leases that ran out; says when the next one will.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<Duration> {
        let over: Vec<_> = self.leases.iter().filter(|(_, lease)| lease.until <= now).map(|(id, _)| *id).collect();
        for lease in over {
            self.end_lease(now, lease);
        }
        self.leases.values().map(|lease| lease.until).min()
    }
}
