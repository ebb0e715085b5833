//! Errors of the pxe-service, and what a caller can do about them.

use std::{io, path::PathBuf};

use domain::id::NodeId;
use service_kit::{
    serve::BindError,
    status::{Failure, Kind, status},
};

/// Errors of the pxe-service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed.
    #[error("invalid request")]
    Request(#[from] proto::convert::Invalid),
    /// The boot decision has not reached this replica yet.
    #[error("the boot decision of node {0} has not reached this replica; retry in a moment")]
    NotYetSeen(NodeId),
    /// A boot file is missing or invalid.
    #[error("boot file {name}: {why}")]
    BootFile {
        /// Name of the file.
        name: String,
        /// The reason.
        why: String,
    },
    /// No storage-service that may have the boot file is available.
    #[error("boot file {name} cannot be fetched: {why}; retry in a moment")]
    NoStorage {
        /// Name of the file.
        name: String,
        /// The reason.
        why: String,
    },
    /// The boot file is still being fetched.
    #[error("boot file {0} is being fetched; retry in a moment")]
    Fetching(String),
    /// The mesh refused the operation, for example because another instance owns the node.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// The service cannot join the mesh.
    #[error(transparent)]
    Join(#[from] mesh::JoinError),
    /// A TCP listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The interface on the provisioning network does not exist.
    #[error("interface {device:?} does not exist in the network namespace of the service; check pxe.device")]
    NoInterface {
        /// Name of the interface.
        device: String,
        /// The I/O error.
        source: io::Error,
    },
    /// A socket on the provisioning network cannot be opened.
    #[error(
        "cannot open the socket for {what}; check pxe.device and pxe.address, and that the service may use low ports and raw sockets"
    )]
    Socket {
        /// The protocol.
        what: &'static str,
        /// The I/O error.
        source: io::Error,
    },
    /// A directory cannot be created.
    #[error("cannot create directory {path}")]
    Folder {
        /// The directory.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The boot token of a node cannot be decrypted.
    #[error("cannot decrypt the boot token of node {node}; check service.sealing_keys")]
    Sealed {
        /// The node.
        node: NodeId,
        /// The reason.
        source: keyspace::Error,
    },
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::Invalid,
            Self::NotYetSeen(_) | Self::Fetching(_) | Self::NoStorage { .. } => Kind::Unavailable,
            Self::BootFile { .. } => Kind::NotNow,
            Self::Mesh(error) => error.kind(),
            Self::Join(_)
            | Self::Bind(_)
            | Self::NoInterface { .. }
            | Self::Socket { .. }
            | Self::Folder { .. }
            | Self::Sealed { .. } => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "REQUEST",
            Self::NotYetSeen(_) => "NOT_YET_SEEN",
            Self::Fetching(_) => "FETCHING",
            Self::NoStorage { .. } => "NO_STORAGE",
            Self::BootFile { .. } => "BOOT_FILE",
            Self::Mesh(error) => error.reason(),
            Self::Join(_) | Self::Bind(_) | Self::NoInterface { .. } | Self::Socket { .. } | Self::Folder { .. } => {
                "BEGIN"
            }
            Self::Sealed { .. } => "SEALED",
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        if let Self::Mesh(error) = self { error.facts() } else { Vec::new() }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        status("pxe-service", &error)
    }
}
