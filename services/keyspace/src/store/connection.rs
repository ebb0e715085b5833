//! The seam between [`Store`](super::Store) and what it talks to: a connection to one member of etcd.
//!
//! There are two implementations: [`etcd`](super::etcd), which services use, and the in-memory one in
//! `crate::testing`. Everything above this seam (timeouts, retries, switching members, noticing a restored backup) is
//! written once and runs over both. Requests and answers are what etcd's gRPC API has, reduced to what we use of it.

use futures::future::BoxFuture;

use super::Pair;
use crate::{
    Error,
    access::{Present, Step},
};

/// The future of one request. Dropping it does not undo the request: etcd may still carry it out.
pub(crate) type Answer<T> = BoxFuture<'static, Result<T, Failure>>;

/// A connection to one member of etcd.
pub(crate) trait Connection: Send + Sync {
    /// Reads keys.
    fn range(&self, range: Range) -> Answer<RangeAnswer>;
    /// Carries out a transaction.
    fn transact(&self, transaction: Transaction) -> Answer<TransactionAnswer>;
    /// Grants a lease of this many seconds and returns its id.
    fn grant(&self, seconds: i64) -> Answer<i64>;
    /// Revokes a lease and deletes all keys under it.
    fn revoke(&self, lease: i64) -> Answer<()>;
    /// Renews a lease. Returns `false` if the lease does not exist.
    fn keep_alive(&self, lease: i64) -> Answer<bool>;
    /// Opens one stream with a watcher for each of these prefixes.
    fn watch(&self, watchers: Vec<Watcher>) -> Answer<Box<dyn WatchStream>>;
    /// Returns what the member reports about itself.
    fn status(&self) -> Answer<MemberState>;
    /// Returns all members of the cluster.
    fn members(&self) -> Answer<Vec<ClusterMember>>;
    /// Changes the members of the cluster. Returns the id of the member that was changed.
    fn change_members(&self, change: MemberChange) -> Answer<u64>;
    /// Returns the alarms that are raised.
    fn alarms(&self) -> Answer<Vec<RaisedAlarm>>;
    /// Starts streaming a snapshot of the member's database.
    fn snapshot(&self) -> Answer<Box<dyn SnapshotStream>>;
    /// Reads users and roles.
    fn access(&self) -> Answer<Present>;
    /// Changes users and roles.
    fn change_access(&self, step: Step) -> Answer<()>;
    /// Makes the member return unused space to its file system. It serves no requests until it is done.
    fn defragment(&self) -> Answer<()>;
}

/// The answers of a watch.
pub(crate) trait WatchStream: Send {
    /// Waits for the next message. Safe to drop at any await and call again.
    fn message(&mut self) -> BoxFuture<'_, Result<WatchMessage, Failure>>;
    /// Asks the member to send a [`WatchMessage`] even if nothing changed.
    fn request_progress(&mut self) -> BoxFuture<'_, Result<(), Failure>>;
}

/// The pieces of a snapshot.
pub(crate) trait SnapshotStream: Send {
    /// Waits for the next piece; `None` is the end.
    fn piece(&mut self) -> BoxFuture<'_, Result<Option<SnapshotPiece>, Failure>>;
}

/// Reason a member did not carry out a request.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There was no answer. Whether the request was carried out is unknown.
    Unavailable(Option<Box<etcd_client::Error>>),
    /// The database is full, and the request would make it larger.
    NoSpace,
    /// The requested revision is compacted or in the future.
    OutOfRange(Box<etcd_client::Error>),
    /// The member refused the request as too large.
    TooLarge(Box<etcd_client::Error>),
    /// The user of the certificate may not do that.
    Forbidden(Box<etcd_client::Error>),
    /// The member refused the request for another reason.
    Refused(Box<etcd_client::Error>),
}

impl Failure {
    /// Adds what the request was for.
    pub(crate) fn doing(self, doing: &'static str) -> Error {
        match self {
            Self::Unavailable(source) => Error::Unavailable { doing, source },
            Self::NoSpace => Error::Full { doing },
            Self::OutOfRange(source) => Error::OutOfRange { doing, source },
            Self::TooLarge(source) => Error::RefusedSize { doing, source },
            Self::Forbidden(source) => Error::Forbidden { doing, source },
            Self::Refused(source) => Error::Refused { doing, source },
        }
    }
}

/// Which cluster answered, and at which revision it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// The cluster's id; 0 if the answer does not say.
    pub(crate) cluster: u64,
    /// The revision of the store when it answered.
    pub(crate) revision: i64,
}

/// Which keys a [`Range`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    /// One key.
    One(String),
    /// All keys that begin with a prefix, whose last character must be ASCII.
    Under {
        /// The prefix.
        prefix: String,
        /// Only keys after this one.
        after: Option<String>,
    },
}

/// A linearizable read.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    /// Which keys.
    pub(crate) keys: Keys,
    /// As of this revision, or as of now.
    pub(crate) revision: Option<i64>,
    /// Maximum number of keys in the answer; 0 means no limit.
    pub(crate) limit: i64,
    /// Whether the answer holds the pairs or nothing.
    pub(crate) content: Content,
}

/// Whether a read returns the pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The pairs.
    Pairs,
    /// Nothing: the caller only wants to know whether the revision can be read.
    Nothing,
}

impl Range {
    /// Reads one key as of now.
    pub(crate) fn one(path: &str) -> Self {
        Self { keys: Keys::One(path.to_owned()), revision: None, limit: 0, content: Content::Pairs }
    }

    /// The same read as of a revision.
    pub(crate) fn at(self, revision: Option<i64>) -> Self {
        Self { revision, ..self }
    }
}

/// The answer to a [`Range`].
#[derive(Debug, Clone, Default)]
pub(crate) struct RangeAnswer {
    /// Who answered.
    pub(crate) header: Header,
    /// The pairs in the order of their keys.
    pub(crate) pairs: Vec<LeasedPair>,
    /// Whether there are more keys than the limit.
    pub(crate) more: bool,
}

/// A pair and the lease that it is under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeasedPair {
    /// The pair.
    pub(crate) pair: Pair,
    /// The lease's id; 0 if it is under none.
    pub(crate) lease: i64,
}

/// A condition of a [`Transaction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compare {
    /// The key was last written at this revision; 0 means it does not exist.
    ModRevision(String, i64),
    /// The key was created at this revision; 0 means it does not exist.
    CreateRevision(String, i64),
    /// No key begins with this prefix.
    NoneUnder(String),
}

/// What a [`Transaction`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Writes a key.
    Put {
        /// The key.
        path: String,
        /// Its value.
        value: Vec<u8>,
        /// The lease that it is under from now on; 0 for none.
        lease: i64,
    },
    /// Deletes a key if it exists.
    Delete(String),
    /// Reads a key.
    Get(String),
}

/// Operations that are carried out together, at one revision.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transaction {
    /// Conditions.
    pub(crate) compares: Vec<Compare>,
    /// What is done if all conditions hold.
    pub(crate) then: Vec<Operation>,
    /// What is done otherwise.
    pub(crate) otherwise: Vec<Operation>,
}

/// The answer to a [`Transaction`].
#[derive(Debug, Clone, Default)]
pub(crate) struct TransactionAnswer {
    /// Who answered.
    pub(crate) header: Header,
    /// Whether all conditions held.
    pub(crate) succeeded: bool,
    /// What each [`Operation::Get`] found, in order.
    pub(crate) found: Vec<Option<Pair>>,
}

/// A watcher to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watcher {
    /// The prefix of the keys that it watches.
    pub(crate) prefix: String,
    /// The first revision that it reports.
    pub(crate) from: i64,
}

/// A message of a [`WatchStream`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WatchMessage {
    /// Changes, or none if it answers a request for progress.
    Changes {
        /// The watcher's position in the list that was given to [`Connection::watch`], if it is known.
        watcher: Option<usize>,
        /// The revision of the store when the message was sent.
        revision: Option<i64>,
        /// The changes in the order of their revisions.
        changes: Vec<Event>,
    },
    /// A watcher was canceled: what it asked for is compacted.
    Canceled,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key has this value.
    Put(Pair),
    /// The key was deleted.
    Delete {
        /// The key.
        path: String,
        /// The revision at which it was deleted.
        revision: i64,
    },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Put(pair) => &pair.path,
            Self::Delete { path, .. } => path,
        }
    }

    /// The revision at which it changed.
    #[must_use]
    pub const fn revision(&self) -> i64 {
        match self {
            Self::Put(pair) => pair.revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// A piece of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotPiece {
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// Bytes that are still to come.
    pub(crate) remaining: u64,
}

/// What a member of etcd reports about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberState {
    /// etcd's version.
    pub version: String,
    /// The member's own id.
    pub id: u64,
    /// The leader's id; 0 if the member knows none.
    pub leader: u64,
    /// The cluster's id.
    pub cluster: u64,
    /// The revision of its store.
    pub revision: i64,
    /// Size of its database file in bytes.
    pub size: u64,
    /// Bytes of the database file that are in use.
    pub in_use: u64,
    /// The term of the consensus protocol; it grows with each election.
    pub raft_term: u64,
    /// The last entry of the log that the member knows to be committed.
    pub raft_index: u64,
    /// The last entry that it has applied to its store.
    pub raft_applied: u64,
    /// Whether it is a learner: it has no vote and serves no clients.
    pub is_learner: bool,
    /// Errors that it reports.
    pub errors: Vec<String>,
}

/// A member of the cluster, as etcd's member list has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterMember {
    /// Its id.
    pub id: u64,
    /// Its name; empty if it has never run.
    pub name: String,
    /// The URLs at which the other members reach it.
    pub peer_urls: Vec<String>,
    /// The client URLs that it advertises; empty if it has never run.
    pub client_urls: Vec<String>,
    /// Whether it is a learner: it has no vote and serves no clients.
    pub is_learner: bool,
}

/// A change of the cluster's members. etcd makes one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberChange {
    /// Adds a member without a vote.
    AddLearner {
        /// The URLs at which the other members will reach it.
        peer_urls: Vec<String>,
    },
    /// Gives a learner a vote.
    Promote(u64),
    /// Removes a member.
    Remove(u64),
    /// Changes the URLs at which the other members reach a member.
    Update {
        /// The member.
        id: u64,
        /// Its new URLs.
        peer_urls: Vec<String>,
    },
    /// Makes another member the leader. Only the leader accepts this.
    MoveLeader(u64),
}

/// An alarm that etcd raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The database is full, and etcd refuses all writes.
    NoSpace,
    /// A member found its data damaged.
    Corrupt,
}

/// An alarm, and the member that raised it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaisedAlarm {
    /// The member's id.
    pub member: u64,
    /// The alarm.
    pub alarm: Alarm,
}
