//! The answering end of every gRPC call: mutual TLS, who may call what, deadlines, traces, health, reflection; and a
//! plain HTTP page for monitoring.

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

/// How long a handshake may take; a stranger who says nothing holds a socket no longer.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long calls in flight may take to end when the process stops.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// How long, and for how many reads, a refused caller is listened to so that he hears why.
const LAST_WORDS: Duration = Duration::from_secs(1);
const MOST_UNREAD: u32 = 16;
/// Connections of one listener; beyond it callers wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 4096;

/// Who may call what. A path that no rule names is nobody's.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The beginning of the method's path, such as `/ironmesh.power.v1.PowerService/`.
    pub path: &'static str,
    /// Whether this caller may.
    pub allows: fn(Option<&Identity>, rack: &str) -> bool,
}

/// Schedulers, whatever their rack.
#[must_use]
pub fn schedulers(caller: Option<&Identity>, _: &str) -> bool {
    matches!(caller, Some(Identity::Service { service: domain::service::Service::Scheduler, .. }))
}

/// People, whatever their role.
#[must_use]
pub fn operators(caller: Option<&Identity>, _: &str) -> bool {
    has(caller, Role::Reader)
}

/// People who may at least use nodes.
#[must_use]
pub fn members(caller: Option<&Identity>, _: &str) -> bool {
    has(caller, Role::Member)
}

/// People who may at least look after nodes.
#[must_use]
pub fn keepers(caller: Option<&Identity>, _: &str) -> bool {
    has(caller, Role::Service)
}

/// People who may do everything.
#[must_use]
pub fn admins(caller: Option<&Identity>, _: &str) -> bool {
    has(caller, Role::Admin)
}

fn has(caller: Option<&Identity>, least: Role) -> bool {
    matches!(caller, Some(Identity::Operator { role, .. }) if *role >= least)
}

/// Anybody whose certificate our CA signed.
#[must_use]
pub fn anybody_known(caller: Option<&Identity>, _: &str) -> bool {
    caller.is_some()
}

/// Health and reflection: open to everybody who has a certificate of ours.
pub const COMMON_RULES: &[Rule] = &[
    Rule { path: "/grpc.health.v1.Health/", allows: anybody_known },
    Rule { path: "/grpc.reflection.", allows: anybody_known },
];

/// The certificate (DER) that the caller showed and proved to have the key of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate(pub Vec<u8>);

/// How a listener of ours accepts.
#[derive(Clone)]
pub struct Door {
    /// For messages.
    pub name: &'static str,
    /// TLS for the next connection.
    pub tls: Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>,
    /// What is served.
    pub routes: Routes,
    /// Who may call what.
    pub rules: Arc<[Rule]>,
    /// The rack that we serve.
    pub rack: Arc<str>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Accepts until the host stops, then lets calls in flight end.
pub async fn accept(host: Host, listener: TcpListener, door: Door) {
    let slots = Arc::new(tokio::sync::Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            () = host.stopping() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: a pause lets others end.
                    tracing::warn!(name = door.name, %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (door, inner) = (door.clone(), host.clone());
        host.spawn(async move {
            if let Err(error) = connection(&inner, stream, &door).await {
                tracing::debug!(name = door.name, %error, "a connection ended");
            }
            drop(slot);
        });
    }
}

async fn connection(
    host: &Host,
    stream: TcpStream,
    door: &Door,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from((door.tls)());
    let peer = stream.peer_addr()?;
    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream).into_fallible());
    let stream = match shaken.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
        Ok(stream) => stream,
        Err((error, stream)) => {
            // Whoever only tried the port has broken no rule of TLS.
            if error.kind() == io::ErrorKind::InvalidData {
                tracing::warn!(name = door.name, %peer, %error, "refused a connection");
            }
            turn_away(stream).await;
            return Err(error.into());
        }
    };
    let certificate =
        stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|certificate| certificate.to_vec());
    let guard = Guard {
        routes: door.routes.clone(),
        rules: Arc::clone(&door.rules),
        rack: Arc::clone(&door.rack),
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
    // Streams have no end of their own: whoever watches calls another replica.
    tokio::time::timeout(LAST_CALLS, serving).await.unwrap_or(Ok(()))
}

/// Lets the caller read why he is refused: what he has sent meanwhile and nobody reads would make the kernel reset the
/// connection, and the alert be lost with it.
async fn turn_away(mut stream: TcpStream) {
    let mut rest = [0; 4096];
    let read_out = async {
        stream.shutdown().await?;
        for _ in 0..MOST_UNREAD {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // He is refused already: that he did not listen changes nothing.
    let _ = tokio::time::timeout(LAST_WORDS, read_out).await;
}

/// Lets through whom the rules let, in a span that belongs to the caller's trace.
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
        let rule = self.rules.iter().chain(COMMON_RULES).find(|rule| path.starts_with(rule.path));
        let allowed = rule.is_some_and(|rule| (rule.allows)(self.caller.as_ref(), &self.rack));
        if !allowed {
            let who = self.caller.as_ref().map_or_else(|| "a caller without a name".to_owned(), Identity::to_string);
            tracing::warn!(path, caller = who, "refused a caller");
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
        telemetry::adopt(&span, request.headers());
        let mut routes = self.routes.clone();
        Box::pin(async move { routes.call(request).await }.instrument(span))
    }
}

/// Metrics and health over plain HTTP, for monitoring: `/metrics`, `/healthz`.
pub async fn monitor(host: Host, listener: TcpListener, metrics: PrometheusHandle) {
    let pages = Router::new()
        .route("/metrics", get(|State(metrics): State<PrometheusHandle>| async move { metrics.render() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(metrics);
    let stop = host.clone();
    let serving = axum::serve(listener, pages).with_graceful_shutdown(async move { stop.stopping().await });
    if let Err(error) = serving.await {
        tracing::warn!(%error, "the monitoring page ended");
    }
}

/// Binds a TCP listener.
///
/// # Errors
/// Says which address, and what to do.
pub async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, CannotBind> {
    TcpListener::bind(address).await.map_err(|source| CannotBind { what, address, source })
}

/// An address that can not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({what}); choose another address in the configuration, or end what holds it")]
pub struct CannotBind {
    /// The setting.
    pub what: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}
