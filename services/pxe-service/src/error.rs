//! Everything that can go wrong in a pxe-service, and what a caller can do about it.

use std::{io, path::PathBuf};

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
    /// The decision has not reached this replica.
    #[error("the boot decision of node {0} has not reached this replica; ask again in a moment")]
    NotYetSeen(NodeId),
    /// A boot file is not to be had.
    #[error("the boot file {name} is not to be had: {why}")]
    BootFile {
        /// Its name.
        name: String,
        /// Why, in words.
        why: String,
    },
    /// Nobody who may have a boot file answers now.
    #[error("the boot file {name} can not be fetched now: {why}; ask again in a moment")]
    NoStorage {
        /// Its name.
        name: String,
        /// Why, in words.
        why: String,
    },
    /// Boot files are still being fetched.
    #[error("the boot file {0} is still being fetched; ask again in a moment")]
    Fetching(String),
    /// This instance may not act.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// It can not begin.
    #[error(transparent)]
    Join(#[from] mesh::JoinError),
    /// It can not listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket can not be had.
    #[error(
        "cannot open the socket of {what}; it needs the right to use low ports and the interface that pxe.device names"
    )]
    Socket {
        /// Which.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A folder can not be used.
    #[error("cannot use {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something sealed can not be opened.
    #[error("the boot token of node {node} can not be opened")]
    Sealed {
        /// The node.
        node: NodeId,
        /// Why.
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
            Self::Join(_) | Self::Bind(_) | Self::Socket { .. } | Self::Folder { .. } | Self::Sealed { .. } => {
                Kind::Internal
            }
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
            Self::Join(_) | Self::Bind(_) | Self::Socket { .. } | Self::Folder { .. } => "BEGIN",
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
