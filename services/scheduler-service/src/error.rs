//! Reasons that the service cannot start.

use ironic_api::RestTlsError;
use service_kit::{outbound_http::OutboundError, serve::BindError};

/// Reason that the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mesh cannot be joined.
    #[error(transparent)]
    Join(#[from] mesh::JoinError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The authentication of the REST API cannot be set up.
    #[error(transparent)]
    Auth(#[from] api_auth::Error),
    /// The clients for servers that users name cannot be set up.
    #[error("outbound")]
    Outbound(#[from] OutboundError),
    /// The certificate of the REST API cannot be used.
    #[error(transparent)]
    RestTls(#[from] RestTlsError),
}
