//! Errors of the storage-service, and what a caller can do about them.

use std::{io, path::PathBuf};

use service_kit::{
    outbound_http::OutboundError,
    serve::BindError,
    status::{Failure, Kind, status},
};

/// Errors of the storage-service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed.
    #[error("invalid request")]
    Request(#[from] proto::convert::Invalid),
    /// The service cannot join the mesh.
    #[error(transparent)]
    Join(#[from] mesh::JoinError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The cache directory cannot be used.
    #[error("cannot use {path}")]
    Folder {
        /// The directory.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The HTTP client cannot be created.
    #[error("outbound")]
    Http(#[from] OutboundError),
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::Invalid,
            Self::Join(_) | Self::Bind(_) | Self::Folder { .. } | Self::Http(_) => Kind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "REQUEST",
            Self::Join(_) | Self::Bind(_) | Self::Folder { .. } | Self::Http(_) => "BEGIN",
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        status("storage-service", &error)
    }
}
