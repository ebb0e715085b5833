//! Everything that can go wrong in an inventory-service, and what a caller can do about it.

use domain::id::NodeId;
use service_kit::{
    serve::BindError,
    status::{Failure, Kind, status},
};

/// Why it did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can not be read.
    #[error("the request is not right")]
    Request(#[from] proto::convert::Invalid),
    /// Nothing was ever reported.
    #[error("node {0} has not reported its hardware yet")]
    NoReport(NodeId),
    /// The caller showed no certificate.
    #[error("an agent must show a certificate of its own")]
    NoCertificate,
    /// The token is not the one of this boot.
    #[error("the boot token is not the one of the present boot of node {0}")]
    BootToken(NodeId),
    /// Another key is bound already.
    #[error("two machines asked as node {0}")]
    TwoMachines(NodeId),
    /// The agent did not say hello with this key.
    #[error("this agent is not bound to node {0}; say hello first")]
    NotBound(NodeId),
    /// Nobody in the rack hands images out now.
    #[error("no storage-service of the rack is there to hand out the image of node {0}; ask again in a moment")]
    NoStorage(NodeId),
    /// This instance may not act.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// Something sealed can not be opened.
    #[error("a secret of node {node} can not be opened")]
    Sealed {
        /// The node.
        node: NodeId,
        /// Why.
        source: keyspace::Error,
    },
    /// It can not begin.
    #[error(transparent)]
    Join(#[from] mesh::JoinError),
    /// It can not listen.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::Invalid,
            Self::NoReport(_) => Kind::Missing,
            Self::NoStorage(_) => Kind::Unavailable,
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
            Self::NoCertificate => "NO_CERTIFICATE",
            Self::BootToken(_) => "BOOT_TOKEN",
            Self::TwoMachines(_) => "TWO_MACHINES",
            Self::NotBound(_) => "NOT_BOUND",
            Self::Mesh(error) => error.reason(),
            Self::Sealed { .. } => "SEALED",
            Self::Join(_) | Self::Bind(_) => "BEGIN",
        }
    }

    /// An agent can reach the owner at its outer door alone.
    fn facts(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Mesh(mesh::Error::NotOwner { data_endpoint, .. }) => vec![("endpoint", data_endpoint.clone())],
            Self::Mesh(error) => error.facts(),
            Self::Request(_)
            | Self::NoReport(_)
            | Self::NoStorage(_)
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
