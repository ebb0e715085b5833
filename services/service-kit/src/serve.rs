//! gRPC servers: mutual TLS, authorization, traces; and the plain HTTP listener for monitoring.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, extract::State, routing::get};
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::{Status, body::Body, service::Routes};
use tracing::Instrument as _;

use crate::{
    Host,
    bearer_token::{TokenBearer, TokenError, TokenVerifier, UntilExpiry, token_of},
    listener::{
        self, BodyBudget, Class, GrpcBody, HttpLimits, Listener, ListenerKind, Peer, Refusal, TlsSource, class_of,
    },
    telemetry,
    tls::{ExpiryReport, Identity, Realm, Revocations, Role, Tls, Urgency},
};

/// Allows callers to call a method. A method without a rule is denied to all.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Path of the method, such as `/ironmesh.power.v1.PowerService/GetPower`. It is compared as a whole.
    pub path: &'static str,
    /// Returns whether this caller may call it.
    pub allows: fn(Option<&Identity>, rack: &str) -> bool,
}

impl Rule {
    /// Creates the rule of one method.
    #[must_use]
    pub const fn new(path: &'static str, allows: fn(Option<&Identity>, rack: &str) -> bool) -> Self {
        Self { path, allows }
    }

    /// Returns the rule of the method that has this path, if any.
    #[must_use]
    pub fn find<'a>(rules: impl IntoIterator<Item = &'a Self>, path: &str) -> Option<&'a Self> {
        rules.into_iter().find(|rule| rule.path == path)
    }
}

/// Allows schedulers of any rack.
#[must_use]
pub fn schedulers(caller: Option<&Identity>, _: &str) -> bool {
    matches!(caller, Some(Identity::Service { service: domain::service::Service::Scheduler, .. }))
}

/// Allows operators with any role.
#[must_use]
pub fn operators(caller: Option<&Identity>, _: &str) -> bool {
    has(caller, Role::Reader)
}

/// Allows operators with at least the member role.
#[must_use]
pub fn members(caller: Option<&Identity>, _: &str) -> bool {
    has(caller, Role::Member)
}

/// Allows operators with at least the service role.
#[must_use]
pub fn service_operators(caller: Option<&Identity>, _: &str) -> bool {
    has(caller, Role::Service)
}

/// Allows operators with the admin role.
#[must_use]
pub fn admins(caller: Option<&Identity>, _: &str) -> bool {
    has(caller, Role::Admin)
}

fn has(caller: Option<&Identity>, least: Role) -> bool {
    matches!(caller, Some(Identity::Operator { role, .. }) if *role >= least)
}

/// Allows all callers with an identity: that of a certificate of our CA, or of a valid token.
#[must_use]
pub fn authenticated(caller: Option<&Identity>, _: &str) -> bool {
    caller.is_some()
}

/// Health and reflection, open to all callers with an identity.
pub const COMMON_RULES: &[Rule] = &[
    Rule::new("/grpc.health.v1.Health/Check", authenticated),
    Rule::new("/grpc.health.v1.Health/Watch", authenticated),
    Rule::new("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", authenticated),
    Rule::new("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", authenticated),
];

/// The certificate (DER) that the client presented and proved possession of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate(pub Vec<u8>);

/// A gRPC listener: its TLS configuration, its services and who may call them.
#[derive(Clone)]
pub struct GrpcListener {
    /// Name for log messages.
    pub name: &'static str,
    /// Whether it is for the mesh and operators ([`ListenerKind::Grpc`]) or for agents ([`ListenerKind::AgentGrpc`]).
    pub purpose: ListenerKind,
    /// Returns the TLS configuration for the next connection.
    pub tls: TlsSource,
    /// The revoked certificates of our CA; `None` for a listener for agents, which have certificates of their own.
    pub revocations: Option<Revocations>,
    /// The realm of the callers' identities.
    pub realm: Realm,
    /// Verifies the tokens of peers without a certificate; `None` if each peer must have one.
    pub tokens: Option<TokenVerifier>,
    /// The services.
    pub routes: Routes,
    /// Who may call what.
    pub rules: Arc<[Rule]>,
    /// The rack that this process serves.
    pub rack: Arc<str>,
    /// Limits of all listeners.
    pub limits: HttpLimits,
    /// Memory for the bodies of requests to all listeners.
    pub budget: BodyBudget,
}

impl std::fmt::Debug for GrpcListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcListener").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Accepts connections until the host stops, then waits for calls in flight.
pub async fn accept(host: Host, socket: TcpListener, listener: GrpcListener) {
    let GrpcListener { name: _, purpose, tls, revocations, realm, tokens, routes, rules, rack, limits, budget } =
        listener;
    let front = Listener {
        tls: Some(tls),
        revocations,
        realm,
        takes_tokens: tokens.is_some(),
        ..Listener::new(purpose, &limits, budget)
    };
    listener::serve(host, socket, front, move |peer| Guard {
        routes: routes.clone(),
        rules: Arc::clone(&rules),
        rack: Arc::clone(&rack),
        certificate: peer.certificate().map(|certificate| PeerCertificate(certificate.to_vec())),
        tokens: tokens.clone(),
        peer: peer.clone(),
    })
    .await;
}

/// Authenticates and authorizes each request and runs it in a span of the caller's trace.
#[derive(Clone)]
struct Guard {
    routes: Routes,
    rules: Arc<[Rule]>,
    rack: Arc<str>,
    peer: Peer,
    certificate: Option<PeerCertificate>,
    tokens: Option<TokenVerifier>,
}

/// Who sent a request.
#[derive(Debug, Default)]
struct Sender {
    identity: Option<Identity>,
    /// Set if a token named the identity.
    token: Option<TokenBearer>,
}

impl Guard {
    /// Returns the sender of a request: who the certificate of the connection names, or without a certificate the token of
    /// the request. With a certificate a token is not read, so that a request has one sender.
    async fn sender(&self, headers: &http::HeaderMap) -> Result<Sender, TokenError> {
        let verifier = self.tokens.as_ref().filter(|_| self.certificate.is_none());
        let Some(verifier) = verifier else {
            return Ok(Sender { identity: self.peer.identity().cloned(), token: None });
        };
        let bearer = verifier.verify(token_of(headers)?).await?;
        Ok(Sender { identity: Some(bearer.identity()), token: Some(bearer) })
    }

    /// Authorizes a request and serves it.
    async fn serve(mut self, request: http::Request<hyper::body::Incoming>) -> Result<http::Response<Body>, Status> {
        let path = request.uri().path().to_owned();
        let Sender { identity, token } = self.sender(request.headers()).await.map_err(|error| {
            note_refused(&error, &path, &self.peer);
            error.status()
        })?;
        let rule = Rule::find(self.rules.iter().chain(COMMON_RULES), &path);
        let allowed = rule.is_some_and(|rule| (rule.allows)(identity.as_ref(), &self.rack));
        if !allowed {
            let who = identity.as_ref().map_or_else(|| "an unidentified caller".to_owned(), Identity::to_string);
            tracing::warn!(path, caller = who, "call denied");
            return Err(Status::permission_denied(format!("{who} may not call {path}: another role is needed")));
        }
        let class = identity.as_ref().map_or(Class::Stranger, class_of);
        let slot = match &token {
            Some(bearer) => self.peer.begin(&bearer.account, class),
            None => self.peer.begin_identified(),
        };
        let slot = slot.map_err(refused)?;
        let mut request = request.map(|body| Body::new(GrpcBody::new(body, self.peer, class)));
        // What handlers need of a token is who sent it.
        request.headers_mut().remove(http::header::AUTHORIZATION);
        let extensions = request.extensions_mut();
        identity.map(|identity| extensions.insert(identity));
        self.certificate.map(|certificate| extensions.insert(certificate));
        let expires = token.as_ref().map(|bearer| bearer.expires);
        token.map(|bearer| extensions.insert(bearer));
        let span = tracing::info_span!("rpc", path);
        telemetry::set_remote_parent(&span, request.headers());
        let calling = async move {
            let Ok(mut response) = tower::Service::call(&mut self.routes, request).await;
            if let Some(expires) = expires {
                response = response.map(|body| Body::new(UntilExpiry::new(body, expires)));
            }
            // A response can be a stream, which lasts longer than the call of the handler.
            slot.last_as_long_as(&mut response);
            response
        };
        Ok(calling.instrument(span).await)
    }
}

impl tower::Service<http::Request<hyper::body::Incoming>> for Guard {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let guard = self.clone();
        Box::pin(async move { Ok(guard.serve(request).await.unwrap_or_else(Status::into_http)) })
    }
}

/// Counts and logs a call that is refused for its token. The name in a message is verified if the user has no rights, and
/// then an administrator should know; all else may be a stranger's, who could fill the log.
fn note_refused(error: &TokenError, path: &str, peer: &Peer) {
    error.count();
    let peer = peer.address();
    match error {
        TokenError::Forbidden(_) => tracing::warn!(path, %peer, %error, "call denied to the user of a valid token"),
        TokenError::Missing
        | TokenError::Malformed
        | TokenError::Invalid(_)
        | TokenError::Expired
        | TokenError::Unavailable(_) => tracing::debug!(path, %peer, %error, "call without valid credentials"),
    }
}

/// Returns the status of a call that is not served because of a limit.
fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Connections => Status::unavailable(refusal.to_string()),
        Refusal::IdentityConnections | Refusal::IdentityRequests => Status::resource_exhausted(refusal.to_string()),
    }
}

/// The certificates of this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct OwnCertificates(Arc<Mutex<Vec<Tls>>>);

impl OwnCertificates {
    /// Adds a certificate.
    pub fn add(&self, tls: Tls) {
        self.0.lock().push(tls);
    }

    fn reports(&self) -> Vec<ExpiryReport> {
        self.0.lock().iter().filter_map(Tls::expiry).collect()
    }
}

/// Serves metrics and health over plain HTTP for monitoring: `/metrics`, `/healthz`.
pub async fn monitor(
    host: Host,
    socket: TcpListener,
    listener: Listener,
    metrics: PrometheusHandle,
    certificates: OwnCertificates,
) {
    let pages = Router::new()
        .route("/metrics", get(|State(metrics): State<PrometheusHandle>| async move { metrics.render() }))
        .route("/healthz", get(move || std::future::ready(health_page(&certificates.reports()))))
        .with_state(metrics);
    listener::serve(host, socket, listener, move |_| pages.clone()).await;
}

/// The page for health checks: `ok`, and what is to be said of certificates. With a certificate that is not valid the
/// service reaches nothing and is reached by nothing, so it is not healthy.
fn health_page(reports: &[ExpiryReport]) -> (http::StatusCode, String) {
    let is_over = reports.iter().any(|report| report.urgency == Urgency::Now);
    let status = if is_over { http::StatusCode::SERVICE_UNAVAILABLE } else { http::StatusCode::OK };
    let first = if is_over { "not healthy\n" } else { "ok\n" };
    (status, std::iter::once(first.to_owned()).chain(reports.iter().map(|report| format!("{report}\n"))).collect())
}

/// Binds a TCP listener.
///
/// # Errors
/// [`BindError`] with the setting and the address.
pub async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { what, address, source })
}

/// An address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} ({what}); choose another address in the configuration, or stop the process that uses it"
)]
pub struct BindError {
    /// The configuration key.
    pub what: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// The I/O error.
    pub source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_the_whole_path_only() {
        let rules = [Rule::new("/a.Nodes/GetNode", authenticated), Rule::new("/a.Nodes/GetNodeTimeline", operators)];
        let found = |path: &str| Rule::find(&rules, path).map(|rule| rule.path);
        for rule in rules {
            assert_eq!(found(rule.path), Some(rule.path));
        }
        for path in
            ["", "/", "/a.Nodes/", "/a.Nodes/Get", "/a.Nodes/GetNodes", "/a.Nodes/GetNode/", "/b/a.Nodes/GetNode"]
        {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
