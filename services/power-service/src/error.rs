//! Everything that can go wrong in a power-service, and what a caller can do about it.

use domain::id::NodeId;
use service_kit::{
    serve::BindError,
    status::{Failure, Kind, status},
};

use crate::bmc::BmcError;

/// Why it did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can not be read.
    #[error("the request is not right")]
    Request(#[from] proto::convert::Invalid),
    /// This rack has no such node.
    #[error("node {0} is not in this rack")]
    UnknownNode(NodeId),
    /// This instance may not act.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// A newer instruction is at work.
    #[error("a newer instruction about node {0} is under way")]
    Outdated(NodeId),
    /// The BMC is of no use now.
    #[error("node {node}: {why}")]
    Bmc {
        /// The node.
        node: NodeId,
        /// Why, in words.
        why: String,
        /// What the caller can do.
        kind: Kind,
        /// The stable word.
        reason: &'static str,
    },
    /// The node's BMC password can not be opened.
    #[error("the BMC password of node {node} can not be opened")]
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
    /// The socket for BMCs can not be had.
    #[error("cannot open a UDP socket at power.bind = {address}")]
    Socket {
        /// The address.
        address: std::net::SocketAddrV4,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn bmc(node: NodeId, error: &BmcError) -> Self {
        let kind = if error.may_pass() { Kind::Unavailable } else { Kind::NotNow };
        Self::Bmc { node, why: error.to_string(), kind, reason: error.cause().word() }
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::Invalid,
            Self::UnknownNode(_) => Kind::Missing,
            Self::Mesh(error) => error.kind(),
            Self::Outdated(_) => Kind::NotNow,
            Self::Bmc { kind, .. } => *kind,
            Self::Sealed { .. } | Self::Join(_) | Self::Bind(_) | Self::Socket { .. } => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "REQUEST",
            Self::UnknownNode(_) => "UNKNOWN_NODE",
            Self::Mesh(error) => error.reason(),
            Self::Outdated(_) => "OUTDATED",
            Self::Bmc { reason, .. } => reason,
            Self::Sealed { .. } => "SEALED",
            Self::Join(_) | Self::Bind(_) | Self::Socket { .. } => "BEGIN",
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        if let Self::Mesh(error) = self { error.facts() } else { Vec::new() }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        status("power-service", &error)
    }
}
