//! Everything that can go wrong in a storage-service, and what a caller can do about it.

use std::{io, path::PathBuf};

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
    /// It can not begin.
    #[error(transparent)]
    Join(#[from] mesh::JoinError),
    /// It can not listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A folder can not be used.
    #[error("cannot use {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// HTTP can not be spoken.
    #[error("cannot set up HTTP")]
    Http(#[source] reqwest::Error),
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
