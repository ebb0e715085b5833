//! Errors of the use cases, and what a client can do about them.

mod port;
mod resource;
mod webhook;

use std::time::Duration;

use domain::{
    id::{InstanceId, NodeId},
    net::MacAddr,
    provision::Refused,
    service::Service,
};
use keyspace::collection::Unique;
use service_kit::status::{Failure, Kind, status};
use uuid::Uuid;

pub(crate) use self::webhook::{KEY_PREFIX, MAX_KEY_BYTES, MIN_KEY_BYTES};
pub use self::{
    port::{PortRefusal, WiringField},
    resource::{ResourceRefusal, VolumeChange},
    webhook::{InvalidQuery, InvalidWebhook},
};

/// Error of a use case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is invalid.
    #[error("invalid request")]
    Request(#[from] proto::convert::Invalid),
    /// The webhook cannot work.
    #[error("invalid request: webhook")]
    Webhook(#[from] InvalidWebhook),
    /// There are as many resources as there may be.
    #[error("There are {max} {what} already, which is the most; delete one first")]
    TooMany {
        /// The resources.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// Another resource of the collection has a value that must be unique.
    #[error("{value} is taken by another {kind}; see: ironmesh {kind} list")]
    NotUnique {
        /// Kind of the resource.
        kind: &'static str,
        /// The value.
        value: Unique,
    },
    /// Another resource of the collection has the id.
    #[error("the id {id} is taken by another {kind}; see: ironmesh {kind} list")]
    IdTaken {
        /// Kind of the resource.
        kind: &'static str,
        /// The id.
        id: Uuid,
    },
    /// The named record does not exist.
    #[error("there is no {kind} {name:?}; see: ironmesh {kind} list")]
    Missing {
        /// Kind of the record.
        kind: &'static str,
        /// Name in the request.
        name: String,
    },
    /// The request has the entity tag of an earlier revision.
    #[error(
        "{kind} {name} was changed by another client since it was read; read it again, and repeat the change with the new \
         etag if it is still wanted"
    )]
    Changed {
        /// Kind of the record.
        kind: &'static str,
        /// Name of the record.
        name: String,
    },
    /// Another record has the value.
    #[error("{what} {value} is taken by {kind} {holder}")]
    Taken {
        /// Kind of the value.
        what: &'static str,
        /// The value.
        value: String,
        /// Kind of the record that has it.
        kind: String,
        /// Name of the record that has it.
        holder: String,
    },
    /// Another record has the MAC address.
    #[error("the MAC {mac} is taken by {kind} {holder}")]
    MacTaken {
        /// The MAC address.
        mac: MacAddr,
        /// Kind of the record that has it.
        kind: String,
        /// Name of the record that has it.
        holder: String,
    },
    /// The port cannot be created or changed.
    #[error(transparent)]
    Port(#[from] PortRefusal),
    /// The resource cannot be changed or deleted.
    #[error(transparent)]
    Resource(#[from] ResourceRefusal),
    /// The state machine refuses the request.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The record is in use.
    #[error("{0}")]
    InUse(String),
    /// An operation runs.
    #[error("node {name} is busy ({state}); wait for it, or abort it with: ironmesh node abort {name}")]
    Busy {
        /// The node.
        name: String,
        /// Its state.
        state: String,
    },
    /// The node cannot boot from the network.
    #[error("node {name} has {lacks}, so it cannot boot from the network; {next}")]
    NoMac {
        /// The node.
        name: String,
        /// What is missing.
        lacks: &'static str,
        /// What the operator can do.
        next: String,
    },
    /// The lock has changed since the client read it.
    #[error(
        "the {service}'s lock of node {node} has changed since it was read; list it again: ironmesh lock list {node}"
    )]
    LockChanged {
        /// The node.
        node: String,
        /// Service that holds the lock.
        service: Service,
    },
    /// The change is stored, but one replica has not confirmed that it applied it.
    #[error(
        "the change is made, but the scheduler at {endpoint} did not say for {} s that it has it: what is read through \
         it may be older; see: ironmesh rack show",
        waited.as_secs()
    )]
    NotEverywhere {
        /// The replica.
        instance: InstanceId,
        /// Endpoint of the replica.
        endpoint: String,
        /// Time that the request waited.
        waited: Duration,
    },
    /// The rack has no address left.
    #[error("rack {rack:?} has no free address between {first} and {last}; widen its range: ironmesh rack set …")]
    NoAddress {
        /// The rack.
        rack: String,
        /// First address of the range.
        first: std::net::Ipv4Addr,
        /// Last address of the range.
        last: std::net::Ipv4Addr,
    },
    /// The membership of this instance has ended.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// The etcd transaction failed.
    #[error("the etcd transaction failed")]
    Store(#[from] keyspace::Error),
    /// A secret cannot be sealed or opened.
    #[error("a secret of node {node} cannot be used")]
    Sealed {
        /// The node.
        node: NodeId,
        /// Reason.
        source: keyspace::Error,
    },
    /// The operating system provides no randomness.
    #[error("the operating system gives no randomness")]
    Random(#[from] getrandom::Error),
    /// A call of a leaf service failed.
    #[error("{0}")]
    Leaf(String),
    /// A use case of another crate was refused.
    #[error("{0}")]
    Elsewhere(Box<dyn Failure + Send + Sync>),
    /// This replica stops.
    #[error("this scheduler stops; ask another one, which goes on from the last revision that was told")]
    Stopping,
}

impl Error {
    /// Returns whether a concurrent change caused the error; the caller reads the records and retries.
    pub const fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Mesh(mesh::Error::Store(keyspace::Error::Conflict)) | Self::Store(keyspace::Error::Conflict)
        )
    }

    /// Returns whether the request is larger than the store's limits.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::Mesh(mesh::Error::Store(error)) | Self::Store(error) if error.is_too_large())
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Request(_) | Self::Webhook(_) => Kind::Invalid,
            Self::Missing { .. } => Kind::Missing,
            Self::Taken { .. } | Self::MacTaken { .. } | Self::NotUnique { .. } | Self::IdTaken { .. } => Kind::Taken,
            Self::Port(refusal) => refusal.kind(),
            Self::Resource(refusal) => refusal.kind(),
            Self::Changed { .. } => Kind::Conflict,
            Self::Refused(_)
            | Self::InUse(_)
            | Self::TooMany { .. }
            | Self::Busy { .. }
            | Self::NoMac { .. }
            | Self::NoAddress { .. }
            | Self::LockChanged { .. } => Kind::NotNow,
            Self::Mesh(error) => error.kind(),
            Self::Elsewhere(error) => error.kind(),
            Self::Store(keyspace::Error::Conflict) => Kind::Conflict,
            Self::Store(keyspace::Error::RestoredBackup(_) | keyspace::Error::Full { .. }) => Kind::Island,
            Self::Store(error) if error.is_away() => Kind::Unavailable,
            Self::Store(error) if error.is_too_large() => Kind::Invalid,
            Self::Leaf(_) | Self::NotEverywhere { .. } | Self::Stopping => Kind::Unavailable,
            Self::Store(_) | Self::Sealed { .. } | Self::Random(_) => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) | Self::Webhook(_) => "REQUEST",
            Self::NotUnique { .. } | Self::IdTaken { .. } => "NOT_UNIQUE",
            Self::Missing { .. } => "MISSING",
            Self::Changed { .. } => "ETAG",
            Self::Taken { .. } | Self::MacTaken { .. } => "TAKEN",
            Self::Port(_) => "PORT",
            Self::Resource(_) => "RESOURCE",
            Self::Refused(_) => "REFUSED",
            Self::InUse(_) | Self::TooMany { .. } => "IN_USE",
            Self::Busy { .. } => "BUSY",
            Self::NoMac { .. } => "NO_MAC",
            Self::NoAddress { .. } => "NO_ADDRESS",
            Self::LockChanged { .. } => "LOCK_CHANGED",
            Self::NotEverywhere { .. } => "NOT_EVERYWHERE",
            Self::Mesh(error) => error.reason(),
            Self::Elsewhere(error) => error.reason(),
            Self::Store(error) => error.reason(),
            Self::Sealed { .. } => "SEALED",
            Self::Random(_) => "RANDOM",
            Self::Leaf(_) => "LEAF",
            Self::Stopping => "STOPPING",
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        if let Self::Mesh(error) = self { error.facts() } else { Vec::new() }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        status("scheduler-service", &error)
    }
}
