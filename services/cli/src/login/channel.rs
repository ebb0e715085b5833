//! A channel whose calls have the certificate of the context, or the access token of its login.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Full};
use service_kit::{client::MeshChannel, status::DOMAIN};
use tokio::time::sleep;
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{Service, ServiceExt as _};

use super::{LoginError, session::Session, token::SecretToken};
use crate::refusal::is_refused;

/// Reason in the status of a call that was not sent, because there is no token for it.
pub(crate) const REASON: &str = "LOGIN";

/// How often a call that changes nothing is sent.
const READ_TRIES: u32 = 3;
/// Delay between two tries of it.
const READ_RETRY_DELAY: Duration = Duration::from_millis(100);
/// What the names of such calls begin with.
const READS: &[&str] = &["Get", "List", "Plan"];

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A channel whose calls are authenticated.
#[derive(Debug, Clone)]
pub(crate) struct ApiChannel {
    inner: MeshChannel,
    /// `None` if the connection has a certificate.
    session: Option<Arc<Session>>,
}

impl ApiChannel {
    pub(crate) const fn new(inner: MeshChannel, session: Option<Arc<Session>>) -> Self {
        Self { inner, session }
    }

    /// Sends a request. One that changes nothing is sent again if its connection broke, or if the replica stops: the next
    /// connection is to one that answers.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        if !is_read(request.uri().path()) {
            return self.send_once(request).await;
        }
        let (head, body) = request.into_parts();
        // All calls of the command line send one message.
        let body = body.collect().await?.to_bytes();
        let mut tries = 1;
        loop {
            let request = Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
            let outcome = self.send_once(request).await;
            let is_over = match &outcome {
                Ok(response) => code_of(response) != Some(Code::Unavailable),
                // No replica is there.
                Err(error) => is_refused(Some(error.as_ref() as &(dyn std::error::Error + 'static))),
            };
            if is_over || tries == READ_TRIES {
                return outcome;
            }
            tries += 1;
            sleep(READ_RETRY_DELAY).await;
        }
    }

    async fn send_once(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let response = self.inner.clone().oneshot(request).await?;
        Ok(response.map(Body::new))
    }
}

/// Whether a call changes nothing and has one answer, by its path.
fn is_read(path: &str) -> bool {
    let call = path.rsplit('/').next().unwrap_or_default();
    READS.iter().any(|read| call.starts_with(read))
}

impl Service<Request<Body>> for ApiChannel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.clone();
        match self.session.clone() {
            None => Box::pin(async move { channel.send(request).await }),
            Some(session) => Box::pin(async move {
                match with_token(&channel, &session, request).await {
                    Ok(response) => response,
                    Err(error) => Ok(status_of(&error).into_http()),
                }
            }),
        }
    }
}

/// Sends a request with the access token; once more with another one if the server refuses it.
async fn with_token(
    channel: &ApiChannel,
    session: &Session,
    request: Request<Body>,
) -> Result<Result<Response<Body>, BoxError>, LoginError> {
    let mut token = session.token().await?;
    let (head, body) = request.into_parts();
    // All calls of the command line send one message.
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(status) => return Ok(Err(status.into())),
    };
    for is_last in [false, true] {
        let mut request = Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
        request.headers_mut().insert(AUTHORIZATION, header(&token)?);
        let response = match channel.send(request).await {
            Ok(response) => response,
            Err(error) => return Ok(Err(error)),
        };
        if is_last || !is_unauthenticated(&response) {
            return Ok(Ok(response));
        }
        token = match session.replaced(&token).await {
            Ok(token) => token,
            // The server's words say more.
            Err(LoginError::NoRefreshToken) => return Ok(Ok(response)),
            Err(error) => return Err(error),
        };
    }
    Err(LoginError::NotLoggedIn)
}

/// Returns the header with a token, which is not printed (RFC 6750 §2.1).
fn header(token: &SecretToken) -> Result<HeaderValue, LoginError> {
    let value = zeroize::Zeroizing::new(format!("Bearer {}", token.reveal()));
    let malformed = |_| LoginError::Malformed("its access token has characters that no token has".to_owned());
    let mut value = HeaderValue::from_str(&value).map_err(malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error without messages has its status in the header (gRPC over HTTP/2, "Trailers-Only").
fn is_unauthenticated(response: &Response<Body>) -> bool {
    code_of(response) == Some(Code::Unauthenticated)
}

/// The status of an error without messages.
fn code_of(response: &Response<Body>) -> Option<Code> {
    response.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}

/// Returns the status that a command shows.
fn status_of(error: &LoginError) -> Status {
    let details = ErrorDetails::with_error_info(REASON, DOMAIN, HashMap::new());
    // A command that watches goes on when the provider is back.
    let code = if error.is_transient() { Code::Unavailable } else { Code::Unauthenticated };
    Status::with_error_details(code, error.to_string(), details)
}

#[cfg(test)]
mod tests {
    use service_kit::{outbound_http::OutboundError, status::reason};

    use super::*;
    use crate::error::may_continue;

    #[test]
    fn only_calls_that_change_nothing_are_reads() {
        for (call, wanted) in [
            ("NodeService/GetNode", true),
            ("NodeService/GetNodeTimeline", true),
            ("StatusService/GetStatus", true),
            ("RackService/ListRacks", true),
            ("AllocationService/PlanAllocation", true),
            ("NodeService/WatchNodes", false),
            ("NodeService/CreateNode", false),
            ("HostService/RemoveHost", false),
            ("NodeService/ProvisionNode", false),
            ("", false),
        ] {
            assert_eq!(is_read(&format!("/ironmesh.api.v1.{call}")), wanted, "{call}");
        }
    }

    #[test]
    fn a_watch_goes_on_only_after_an_error_of_the_login_that_may_pass() {
        for (error, goes_on) in [
            (LoginError::Away(429), true),
            (LoginError::Away(503), true),
            (LoginError::Locked("client.login.lock".to_owned()), true),
            (LoginError::Unreachable(OutboundError::Url), false),
            (LoginError::Unreachable(OutboundError::Header), false),
            (LoginError::Refused("invalid_client".to_owned()), false),
            (LoginError::Ended("invalid_grant".to_owned()), false),
            (LoginError::NotLoggedIn, false),
            (LoginError::NoRefreshToken, false),
        ] {
            let status = status_of(&error);
            assert_eq!(may_continue(&status), goes_on, "{error}");
            assert_eq!(reason(&status).as_deref(), Some(REASON), "{error}");
        }
    }
}
