//! gRPC servers: mutual TLS, authorization, traces; and the plain HTTP listener for monitoring.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use futures::future::BoxFuture;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use metrics_exporter_prometheus::PrometheusHandle;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tonic::{Status, body::Body, service::Routes};
use tracing::Instrument as _;

use crate::{
    Host, telemetry,
    tls::{Identity, Role},
};

/// Maximum duration of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long calls in flight may take to end when the process stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long, and for how many reads, a refused connection is drained so that the client receives the TLS alert.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_DRAIN_READS: u32 = 16;
/// Maximum number of connections of one listener; further clients wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;

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

/// Allows all callers with a certificate of our CA.
#[must_use]
pub fn authenticated(caller: Option<&Identity>, _: &str) -> bool {
    caller.is_some()
}

/// Health and reflection, open to all callers with a certificate of our CA.
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
    /// Returns the TLS configuration for the next connection.
    pub tls: Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>,
    /// The services.
    pub routes: Routes,
    /// Who may call what.
    pub rules: Arc<[Rule]>,
    /// The rack that this process serves.
    pub rack: Arc<str>,
}

impl std::fmt::Debug for GrpcListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcListener").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Accepts connections until the host stops, then waits for calls in flight.
pub async fn accept(host: Host, socket: TcpListener, listener: GrpcListener) {
    let slots = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            () = host.stopping() => return,
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                                        // Most likely out of file descriptors: wait for other connections to end.
                    tracing::warn!(name = listener.name, %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (listener, inner) = (listener.clone(), host.clone());
        host.spawn(async move {
            if let Err(error) = connection(&inner, stream, &listener).await {
                tracing::debug!(name = listener.name, %error, "connection ended");
            }
            drop(slot);
        });
    }
}

async fn connection(
    host: &Host,
    stream: TcpStream,
    listener: &GrpcListener,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from((listener.tls)());
    let peer = stream.peer_addr()?;
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream).into_fallible());
    let stream = match handshake.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
        Ok(stream) => stream,
        Err((error, stream)) => {
            // A client that only probed the port has not violated TLS.
            if error.kind() == io::ErrorKind::InvalidData {
                tracing::warn!(name = listener.name, %peer, %error, "refused a connection");
            }
            drain_refused(stream).await;
            return Err(error.into());
        }
    };
    let certificate =
        stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|certificate| certificate.to_vec());
    let guard = Guard {
        routes: listener.routes.clone(),
        rules: Arc::clone(&listener.rules),
        rack: Arc::clone(&listener.rack),
        caller: certificate.as_deref().and_then(Identity::of_certificate),
        certificate: certificate.map(PeerCertificate),
    };
    let builder = auto::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(guard));
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return ended,
        () = host.stopping() => serving.as_mut().graceful_shutdown(),
    }
    // Streams do not end by themselves: their clients reconnect to another replica.
    tokio::time::timeout(SHUTDOWN_GRACE, serving).await.unwrap_or(Ok(()))
}

/// Closes a refused connection so that the client receives the TLS alert: with unread data the kernel would reset the
/// connection and discard the alert.
async fn drain_refused(mut stream: TcpStream) {
    let mut rest = [0; 4096];
    let drain = async {
        stream.shutdown().await?;
        for _ in 0..MAX_DRAIN_READS {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // The connection is refused already; a client that does not read the alert changes nothing.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain).await;
}

/// Authorizes each request and runs it in a span of the caller's trace.
#[derive(Clone)]
struct Guard {
    routes: Routes,
    rules: Arc<[Rule]>,
    rack: Arc<str>,
    caller: Option<Identity>,
    certificate: Option<PeerCertificate>,
}

impl tower::Service<http::Request<hyper::body::Incoming>> for Guard {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let rule = Rule::find(self.rules.iter().chain(COMMON_RULES), &path);
        let allowed = rule.is_some_and(|rule| (rule.allows)(self.caller.as_ref(), &self.rack));
        if !allowed {
            let who = self.caller.as_ref().map_or_else(|| "an unidentified caller".to_owned(), Identity::to_string);
            tracing::warn!(path, caller = who, "call denied");
            let status = Status::permission_denied(format!("{who} may not call {path}: another role is needed"));
            return Box::pin(async move { Ok(status.into_http()) });
        }
        let mut request = request.map(Body::new);
        if let Some(caller) = &self.caller {
            request.extensions_mut().insert(caller.clone());
        }
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        let span = tracing::info_span!("rpc", path);
        telemetry::set_remote_parent(&span, request.headers());
        let mut routes = self.routes.clone();
        Box::pin(async move { routes.call(request).await }.instrument(span))
    }
}

/// Serves metrics and health over plain HTTP for monitoring: `/metrics`, `/healthz`.
pub async fn monitor(host: Host, listener: TcpListener, metrics: PrometheusHandle) {
    let pages = Router::new()
        .route("/metrics", get(|State(metrics): State<PrometheusHandle>| async move { metrics.render() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(metrics);
    let stop = host.clone();
    let serving = axum::serve(listener, pages).with_graceful_shutdown(async move { stop.stopping().await });
    if let Err(error) = serving.await {
        tracing::warn!(%error, "monitoring listener failed");
    }
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
