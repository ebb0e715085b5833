//! Bearer tokens on a gRPC listener (RFC 6750): what an operator may present in place of a client certificate.
//!
//! A token makes its bearer an operator and never a service. It counts for one request; a response that lasts longer, such
//! as a watch, ends with the token.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use domain::time::Timestamp;
use futures::future::BoxFuture;
use http::{HeaderMap, header::AUTHORIZATION};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use metrics::{counter, describe_counter};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    clock, status,
    tls::{Identity, Role},
};

/// Start of the names of operators that a token names. A name in a certificate has no colon, so that none is taken for the
/// other.
const NAME_PREFIX: &str = "oidc:";
/// Number of calls that were refused for their token.
const REFUSALS: &str = "ironmesh_grpc_token_refusals_total";
/// Maximum size of a token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;
/// How often the wall clock is read while a response waits for the end of a token: it can be set, and a suspended host's
/// timers stand still.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The operator that a valid token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBearer {
    /// Name of the user at the provider, for people.
    pub name: String,
    /// What tells the user from all others, whose names may be the same.
    pub account: String,
    /// What the user is authorized to do.
    pub role: Role,
    /// When the token is not accepted any more.
    pub expires: Timestamp,
}

impl TokenBearer {
    /// Returns the identity of the user, which is an operator's.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::Operator { name: format!("{NAME_PREFIX}{}", self.name), role: self.role }
    }
}

/// Why a request with or without a token is not served. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request has neither a certificate nor a token.
    #[error(
        "the request has no credentials; log in with ironmesh login, or use a context with the certificate of an operator"
    )]
    Missing,
    /// The header is not one valid `Bearer` token.
    #[error(
        "the metadata authorization must be one bearer token of at most {MAX_TOKEN_BYTES} bytes; log in again with ironmesh login"
    )]
    Malformed,
    /// The token is not valid.
    #[error("{0}; log in again with ironmesh login")]
    Invalid(String),
    /// The token ended while the response was being sent.
    #[error("the access token has expired; log in again with ironmesh login")]
    Expired,
    /// The user is known and has no rights.
    #[error("{0}")]
    Forbidden(String),
    /// The token cannot be verified now.
    #[error("the access token cannot be verified now: {0}; repeat the request later")]
    Unavailable(String),
}

impl TokenError {
    /// Returns the reason in the status, which is the label of a metric, too.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "NO_CREDENTIALS",
            Self::Malformed | Self::Invalid(_) => "TOKEN_INVALID",
            Self::Expired => "TOKEN_EXPIRED",
            Self::Forbidden(_) => "NO_ROLE",
            Self::Unavailable(_) => "IDENTITY_PROVIDER",
        }
    }

    /// Counts a call that is refused.
    pub(crate) fn count(&self) {
        counter!(REFUSALS, "reason" => self.reason()).increment(1);
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> Status {
        let code = match self {
            Self::Missing | Self::Malformed | Self::Invalid(_) | Self::Expired => Code::Unauthenticated,
            Self::Forbidden(_) => Code::PermissionDenied,
            Self::Unavailable(_) => Code::Unavailable,
        };
        let details = ErrorDetails::with_error_info(self.reason(), status::DOMAIN, std::collections::HashMap::new());
        Status::with_error_details(code, self.to_string(), details)
    }
}

pub(crate) fn describe() {
    describe_counter!(REFUSALS, "gRPC calls without a certificate that were refused for their token, by reason");
}

/// Verifies tokens.
pub trait VerifyToken: Send + Sync {
    /// Returns the operator that a token names. Cancel safe.
    ///
    /// # Errors
    /// [`TokenError`]
    fn verify<'t>(&'t self, token: &'t str) -> BoxFuture<'t, Result<TokenBearer, TokenError>>;
}

/// A shared [`VerifyToken`].
pub type TokenVerifier = Arc<dyn VerifyToken>;

/// Returns the token of a request.
///
/// # Errors
/// [`TokenError::Missing`] without the header, [`TokenError::Malformed`] if it is not one token.
pub(crate) fn token_of(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(TokenError::Missing)?;
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(TokenError::Malformed)?;
    let token = token.trim_start_matches(' ');
    // RFC 6750 §2.1: the alphabet of a token has no space.
    let is_one = values.next().is_none() && !token.is_empty() && !token.contains(' ') && token.len() <= MAX_TOKEN_BYTES;
    if is_one && scheme.eq_ignore_ascii_case("bearer") { Ok(token) } else { Err(TokenError::Malformed) }
}

/// Resolves when the wall clock has reached a time. Cancel safe.
async fn reached(time: Timestamp) {
    loop {
        let left = u64::try_from(time.millis() - clock::now().millis()).unwrap_or(0);
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(left).min(CLOCK_CHECK_INTERVAL)).await;
    }
}

/// Body of a response that ends with the token of its request.
///
/// What is there passes even if the token has just ended: the first message, and the status after the last one. The call is
/// carried out by then, and the answer to a change that was made must not be that it was refused.
pub(crate) struct UntilExpiry {
    inner: Body,
    expiry: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_expired: bool,
    has_sent: bool,
    is_over: bool,
}

impl UntilExpiry {
    pub(crate) fn new(inner: Body, expires: Timestamp) -> Self {
        Self { inner, expiry: Box::pin(reached(expires)), has_expired: false, has_sent: false, is_over: false }
    }
}

impl HttpBody for UntilExpiry {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.has_expired = self.has_expired || self.expiry.as_mut().poll(cx).is_ready();
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        let is_another = match &frame {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_data() && self.has_sent,
            Poll::Ready(Some(Err(_)) | None) => false,
        };
        if self.has_expired && is_another {
            (self.is_over, self.inner) = (true, Body::empty());
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(match TokenError::Expired.status().add_header(&mut trailers) {
                Ok(()) => Ok(Frame::trailers(trailers)),
                Err(status) => Err(status),
            }));
        }
        let frame = ready!(frame);
        self.has_sent = true;
        self.is_over = frame.as_ref().is_none_or(|frame| frame.as_ref().map_or(true, Frame::is_trailers));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests;
