//! Errors of the inventory-service, and what a caller can do about them.

use domain::id::NodeId;
use service_kit::{
    serve::BindError,
    status::{Failure, Kind, status},
};

/// Errors of the inventory-service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed.
    #[error("invalid request")]
    Request(#[from] proto::convert::Invalid),
    /// The node has never reported its hardware.
    #[error("node {0} has not reported its hardware yet")]
    NoReport(NodeId),
    /// The agent presented no certificate.
    #[error("agents must present a certificate")]
    NoCertificate,
    /// The boot token is not that of the current boot.
    #[error("the boot token is not that of the current boot of node {0}")]
    BootToken(NodeId),
    /// Another key is already bound to the boot.
    #[error("two machines claim to be node {0}")]
    TwoMachines(NodeId),
    /// The agent's key is not bound to the node.
    #[error("this agent is not bound to node {0}; call Hello first")]
    NotBound(NodeId),
    /// No storage-service of the rack is available.
    #[error("the rack has no available storage-service for the image of node {0}; retry in a moment")]
    NoStorage(NodeId),
    /// The record of the node cannot be read.
    #[error(
        "the record of node {0} in the store cannot be read, so it is not known which of its disks must not be written; the \
         log of this service tells the key; retry when it is repaired"
    )]
    NodeUnreadable(NodeId),
    /// The mesh refused the operation, for example because another instance owns the node.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// A secret cannot be decrypted.
    #[error("cannot decrypt a secret of node {node}; check service.sealing_keys")]
    Sealed {
        /// The node.
        node: NodeId,
        /// The reason.
        source: keyspace::Error,
    },
    /// The service cannot join the mesh.
    #[error(transparent)]
    Join(#[from] mesh::JoinError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::Invalid,
            Self::NoReport(_) => Kind::Missing,
            Self::NoStorage(_) | Self::NodeUnreadable(_) => Kind::Unavailable,
            Self::NoCertificate | Self::BootToken(_) | Self::TwoMachines(_) | Self::NotBound(_) => Kind::Denied,
            Self::Mesh(error) => error.kind(),
            Self::Sealed { .. } | Self::Join(_) | Self::Bind(_) => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "REQUEST",
            Self::NoReport(_) => "NO_REPORT",
            Self::NoStorage(_) => "NO_STORAGE",
            Self::NodeUnreadable(_) => "NODE_UNREADABLE",
            Self::NoCertificate => "NO_CERTIFICATE",
            Self::BootToken(_) => "BOOT_TOKEN",
            Self::TwoMachines(_) => "TWO_MACHINES",
            Self::NotBound(_) => "NOT_BOUND",
            Self::Mesh(error) => error.reason(),
            Self::Sealed { .. } => "SEALED",
            Self::Join(_) | Self::Bind(_) => "BEGIN",
        }
    }

    /// An agent reaches the owner only at its listener for agents.
    fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Mesh(mesh::Error::NotOwner { data_endpoint, .. }) => vec![("endpoint", data_endpoint.clone())],
            Self::Mesh(error) => error.facts(),
            Self::Request(_)
            | Self::NoReport(_)
            | Self::NoStorage(_)
            | Self::NodeUnreadable(_)
            | Self::NoCertificate
            | Self::BootToken(_)
            | Self::TwoMachines(_)
            | Self::NotBound(_)
            | Self::Sealed { .. }
            | Self::Join(_)
            | Self::Bind(_) => Vec::new(),
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        status("inventory-service", &error)
    }
}
