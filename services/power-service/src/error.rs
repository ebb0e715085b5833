//! Errors of the power-service, and what a caller can do about them.

use domain::id::NodeId;
use service_kit::{
    serve::BindError,
    status::{Failure, Kind, status},
};

use crate::bmc::BmcError;

/// Errors of the power-service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed.
    #[error("invalid request")]
    Request(#[from] proto::convert::Invalid),
    /// The node is not in this rack.
    #[error("node {0} is not in this rack")]
    UnknownNode(NodeId),
    /// The mesh refused the operation, for example because another instance owns the node.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// A newer instruction for the node is being executed.
    #[error("a newer instruction for node {0} is in progress")]
    Outdated(NodeId),
    /// The BMC cannot be used.
    #[error("node {node}: {why}")]
    Bmc {
        /// The node.
        node: NodeId,
        /// What happened.
        why: String,
        /// What the caller can do.
        kind: Kind,
        /// Stable identifier of the cause.
        reason: &'static str,
    },
    /// The BMC password of the node cannot be decrypted.
    #[error("cannot decrypt the BMC password of node {node}; check service.sealing_keys")]
    Sealed {
        /// The node.
        node: NodeId,
        /// The reason.
        source: keyspace::Error,
    },
    /// The service cannot join the mesh.
    #[error(transparent)]
    Join(#[from] mesh::JoinError),
    /// The rules for destinations cannot be used.
    #[error("outbound")]
    Outbound(#[from] service_kit::outbound_http::OutboundError),
    /// The gRPC listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The IPMI socket cannot be bound.
    #[error("cannot bind the UDP socket for IPMI to power.bind = {address}")]
    Socket {
        /// The address.
        address: std::net::SocketAddrV4,
        /// The I/O error.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn bmc(node: NodeId, error: &BmcError) -> Self {
        let kind = if error.verdict().may_pass() { Kind::Unavailable } else { Kind::NotNow };
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
            Self::Sealed { .. } | Self::Join(_) | Self::Bind(_) | Self::Outbound(_) | Self::Socket { .. } => {
                Kind::Internal
            }
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
            Self::Join(_) | Self::Bind(_) | Self::Outbound(_) | Self::Socket { .. } => "BEGIN",
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
