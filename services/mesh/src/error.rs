//! Everything that can prevent an instance from acting.

use domain::{
    id::{InstanceId, NodeId},
    time::Timestamp,
};
use service_kit::status::{Failure, Kind};

use crate::island::IslandReason;

/// Reason why this instance cannot act on a node now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another instance owns the node.
    #[error("node {node} belongs to another instance, at {endpoint}")]
    NotOwner {
        /// The node.
        node: NodeId,
        /// The owner.
        instance: InstanceId,
        /// Its gRPC address.
        endpoint: String,
        /// Its address for machines; empty if it has none.
        data_endpoint: String,
    },
    /// The node has no owner yet, or its last owner has not released it.
    #[error("node {node} is being handed over; try again in a moment")]
    HandingOver {
        /// The node.
        node: NodeId,
    },
    /// This instance has no store that it can change.
    #[error("the rack is an island since {since}: {why}")]
    Island {
        /// Since when.
        since: Timestamp,
        /// Why.
        why: IslandReason,
    },
    /// A newer instruction was accepted before.
    #[error("a newer instruction about node {node} was accepted before")]
    Outdated {
        /// The node.
        node: NodeId,
    },
    /// The request to etcd failed.
    #[error("the etcd request failed")]
    Store(#[source] keyspace::Error),
}

impl From<keyspace::Error> for Error {
    fn from(error: keyspace::Error) -> Self {
        Self::Store(error)
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotOwner { .. } => Kind::NotOwner,
            Self::HandingOver { .. } => Kind::Unavailable,
            Self::Island { .. } => Kind::Island,
            Self::Outdated { .. } => Kind::NotNow,
            Self::Store(keyspace::Error::Conflict) => Kind::Conflict,
            Self::Store(keyspace::Error::RestoredBackup(_) | keyspace::Error::Full { .. }) => Kind::Island,
            Self::Store(error) if error.is_away() => Kind::Unavailable,
            Self::Store(error) if error.is_too_large() => Kind::Invalid,
            Self::Store(_) => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotOwner { .. } => "NOT_OWNER",
            Self::HandingOver { .. } => "HANDING_OVER",
            Self::Island { .. } => "ISLAND",
            Self::Outdated { .. } => "OUTDATED",
            Self::Store(keyspace::Error::RestoredBackup(_) | keyspace::Error::Full { .. }) => "ISLAND",
            Self::Store(error) => error.reason(),
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NotOwner { instance, endpoint, data_endpoint, .. } => {
                let (inside, outside) = (endpoint.clone(), data_endpoint.clone());
                vec![("instance", instance.to_string()), ("endpoint", inside), ("data_endpoint", outside)]
            }
            Self::Island { since, why } => vec![("since", since.to_string()), ("why", why.word().to_owned())],
            Self::Store(error) if error.is_away() => vec![("why", error.reason().to_owned())],
            Self::HandingOver { .. } | Self::Outdated { .. } | Self::Store(_) => vec![],
        }
    }
}
