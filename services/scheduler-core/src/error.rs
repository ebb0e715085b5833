//! Everything that can go wrong in a scheduler-service, and what a caller can do about it.

use std::time::Duration;

use domain::{
    id::{InstanceId, NodeId},
    provision::Refused,
    service::Service,
};
use service_kit::{
    serve::BindError,
    status::{Failure, Kind, status},
};

use crate::collections::Unique;

/// Why it did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can not be read.
    #[error("the request is not right")]
    Request(#[from] proto::convert::Invalid),
    /// Another resource of the collection has a value that must be unique.
    #[error("another {kind} has {value}; see: ironmesh {kind} list")]
    NotUnique {
        /// Kind of the resource.
        kind: &'static str,
        /// The value.
        value: Unique,
    },
    /// The thing named does not exist.
    #[error("there is no {kind} {name:?}; see: ironmesh {kind} list")]
    Missing {
        /// What kind of thing.
        kind: &'static str,
        /// How it was named.
        name: String,
    },
    /// Somebody else has it.
    #[error("{what} {value} is taken by {kind} {holder}")]
    Taken {
        /// What is taken.
        what: &'static str,
        /// Which.
        value: String,
        /// What has it.
        kind: String,
        /// Its name.
        holder: String,
    },
    /// The node's life does not move that way.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Not while it is in use.
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
    /// It has no NIC that it could boot from the network with.
    #[error("node {name} has {lacks} and can not boot from the network for that; {next}")]
    NoMac {
        /// The node.
        name: String,
        /// What it has not.
        lacks: &'static str,
        /// What gives it that.
        next: String,
    },
    /// The lock is another one than was seen.
    #[error("the {service}'s lock of node {node} is not the one that was seen; look again: ironmesh lock list {node}")]
    LockChanged {
        /// The node.
        node: String,
        /// Whose lock.
        service: Service,
    },
    /// The change is made, and one replica does not say that it has it.
    #[error(
        "the change is made, but the scheduler at {endpoint} did not say for {} s that it has it: what is read through \
         it may be older; see: ironmesh rack show",
        waited.as_secs()
    )]
    NotEverywhere {
        /// The replica.
        instance: InstanceId,
        /// Where it answers.
        endpoint: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The rack has no address left.
    #[error("rack {rack:?} has no free address between {first} and {last}; widen its range: ironmesh rack set …")]
    NoAddress {
        /// The rack.
        rack: String,
        /// The first of its range.
        first: std::net::Ipv4Addr,
        /// The last.
        last: std::net::Ipv4Addr,
    },
    /// This instance may not act.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// The store did not do it.
    #[error("the store did not do it")]
    Store(#[from] keyspace::Error),
    /// A secret can not be sealed or opened.
    #[error("a secret of node {node} can not be used")]
    Sealed {
        /// The node.
        node: NodeId,
        /// Why.
        source: keyspace::Error,
    },
    /// No randomness.
    #[error("the operating system gives no randomness")]
    Random(#[from] getrandom::Error),
    /// A leaf did not do it.
    #[error("{0}")]
    Leaf(String),
    /// This replica ends.
    #[error("this scheduler stops; ask another one, which goes on from the last revision that was told")]
    Stopping,
    /// It can not begin.
    #[error(transparent)]
    Join(#[from] mesh::JoinError),
    /// Who may ask at the REST API can not be told.
    #[error("{0}")]
    Auth(String),
    /// It can not listen.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl Error {
    /// Whether somebody else wrote first: read again, then try again.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Mesh(mesh::Error::Store(keyspace::Error::Conflict)))
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::Invalid,
            Self::Missing { .. } => Kind::Missing,
            Self::Taken { .. } | Self::NotUnique { .. } => Kind::Taken,
            Self::Refused(_)
            | Self::InUse(_)
            | Self::Busy { .. }
            | Self::NoMac { .. }
            | Self::NoAddress { .. }
            | Self::LockChanged { .. } => Kind::NotNow,
            Self::Mesh(error) => error.kind(),
            Self::Store(keyspace::Error::Conflict) => Kind::Conflict,
            Self::Store(keyspace::Error::RestoredBackup(_) | keyspace::Error::Full { .. }) => Kind::Island,
            Self::Store(error) if error.is_away() => Kind::Unavailable,
            Self::Leaf(_) | Self::NotEverywhere { .. } | Self::Stopping => Kind::Unavailable,
            Self::Store(_) | Self::Sealed { .. } | Self::Random(_) | Self::Join(_) | Self::Bind(_) | Self::Auth(_) => {
                Kind::Internal
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "REQUEST",
            Self::NotUnique { .. } => "NOT_UNIQUE",
            Self::Missing { .. } => "MISSING",
            Self::Taken { .. } => "TAKEN",
            Self::Refused(_) => "REFUSED",
            Self::InUse(_) => "IN_USE",
            Self::Busy { .. } => "BUSY",
            Self::NoMac { .. } => "NO_MAC",
            Self::NoAddress { .. } => "NO_ADDRESS",
            Self::LockChanged { .. } => "LOCK_CHANGED",
            Self::NotEverywhere { .. } => "NOT_EVERYWHERE",
            Self::Mesh(error) => error.reason(),
            Self::Store(error) => error.reason(),
            Self::Sealed { .. } => "SEALED",
            Self::Random(_) => "RANDOM",
            Self::Leaf(_) => "LEAF",
            Self::Stopping => "STOPPING",
            Self::Join(_) | Self::Bind(_) | Self::Auth(_) => "BEGIN",
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
