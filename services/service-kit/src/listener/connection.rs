//! The life of one connection: handshake, requests, and its end.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Version, header::EXPECT};
use hyper::{
    body::{Body, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt as _;

use super::{
    Limits, Peer, PeerInner, Refusal, Shared, TlsSource, class_of,
    limits::Class,
    metrics::Reason,
    progress::{ProgressIo, RequestInProgress, TrackedBody},
    state::{ConnectionState, Ending, Watchdog},
};
use crate::{
    Host,
    tls::{CertificateEnd, Identity, advice},
};

/// Maximum duration of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long requests in progress may take to end when the connection is closed in order.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long a connection without a request may take to end in order.
const IDLE_GRACE: Duration = Duration::from_millis(100);
/// How long a connection is kept on which no request is served, so that the client can read why.
const REFUSED_GRACE: Duration = Duration::from_secs(5);
/// How long, and for how many reads, a refused connection is drained so that the client receives the TLS alert.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_DRAIN_READS: u32 = 16;

/// Maximum size of the buffers of an HTTP/1 connection, and thus of a request head, in bytes.
const MAX_HTTP1_BUFFER_BYTES: usize = 64 << 10;
/// Maximum size of the header fields of an HTTP/2 request, in bytes.
const MAX_HTTP2_HEADER_BYTES: u32 = 32 << 10;
/// Windows of an HTTP/2 stream and connection: how much a client may send before it is read, in bytes.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// Maximum size of what is buffered for an HTTP/2 stream that the client does not read, in bytes.
const MAX_HTTP2_SEND_BUFFER_BYTES: usize = 64 << 10;
/// Maximum number of bytes that the kernel takes before they are sent. Its buffer may have megabytes, which would take
/// memory and count as progress of a client that reads nothing.
const MAX_UNSENT_BYTES: u32 = 128 << 10;
/// Interval of HTTP/2 pings, and how long a peer may take to answer one.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams that an HTTP/2 client may reset before they are accepted ("rapid reset", CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 32;
/// Streams that we reset because of errors of the client ("made you reset", CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 256;

/// A connection that was admitted.
pub(super) struct Accepted {
    pub(super) id: u64,
    pub(super) address: SocketAddr,
    pub(super) state: Arc<ConnectionState>,
    pub(super) is_on_probation: bool,
    pub(super) shared: Arc<Shared>,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        let mut table = self.shared.table.lock();
        table.remove(self.id);
        self.shared.meter.connections(table.len());
    }
}

/// Serves a connection until it ends.
pub(super) async fn run<S, B>(
    host: Host,
    stream: TcpStream,
    accepted: Accepted,
    service: Arc<impl Fn(&Peer) -> S + Send + Sync + 'static>,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (state, shared) = (Arc::clone(&accepted.state), Arc::clone(&accepted.shared));
    let name = shared.listener.purpose.word();
    let prepared =
        stream.set_nodelay(true).and_then(|()| SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT_BYTES));
    if let Err(error) = prepared {
        tracing::debug!(name, %error, "connection ended");
        return;
    }
    let stream = ProgressIo::new(stream, Arc::clone(&state));
    let outcome = match &shared.listener.tls {
        None => {
            let peer = peer(&accepted, None);
            let service = service(&peer);
            serve(&host, stream, &state, peer, service).await
        }
        Some(tls) => match handshake(stream, tls, &accepted).await {
            Ok(stream) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let certificate = certificates.and_then(<[_]>::first).map(|certificate| certificate.to_vec());
                let peer = peer(&accepted, certificate);
                let service = service(&peer);
                serve(&host, stream, &state, peer, service).await
            }
            Err(error) => Err(error.into()),
        },
    };
    if let Err(error) = outcome {
        tracing::debug!(name, %error, "connection ended");
    }
}

async fn handshake(
    stream: ProgressIo<TcpStream>,
    tls: &TlsSource,
    accepted: &Accepted,
) -> io::Result<TlsStream<ProgressIo<TcpStream>>> {
    let acceptor = TlsAcceptor::from(tls());
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream).into_fallible());
    let outcome = tokio::select! {
        outcome = handshake => outcome,
        reason = accepted.state.evicted() => {
            accepted.shared.meter.refused(reason);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    };
    let Ok(outcome) = outcome else {
        accepted.shared.meter.refused(Reason::HandshakeTimeout);
        return Err(io::ErrorKind::TimedOut.into());
    };
    match outcome {
        Ok(stream) => Ok(stream),
        Err((error, stream)) => {
            // A client that only probed the port has not violated TLS.
            if error.kind() == io::ErrorKind::InvalidData {
                let name = accepted.shared.listener.purpose.word();
                let next = advice(&error).unwrap_or_default();
                tracing::warn!(name, peer = %accepted.address, %error, next, "refused a connection");
            }
            drain_refused(stream).await;
            Err(error)
        }
    }
}

/// Closes a refused connection so that the client receives the TLS alert: with unread data the kernel would reset the
/// connection and discard the alert.
async fn drain_refused(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
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

/// Identifies the peer by its certificate, and counts the connection for it.
fn peer(accepted: &Accepted, certificate: Option<Vec<u8>>) -> Peer {
    let shared = &accepted.shared;
    let certified = certificate.as_deref().filter(|_| shared.listener.purpose.has_identities());
    let identity = certified.and_then(|certificate| Identity::of_certificate(certificate, &shared.listener.realm));
    let class = identity.as_ref().map_or(Class::Stranger, class_of);
    let has_room = !accepted.is_on_probation || class == Class::Privileged;
    let name: Arc<str> = identity.as_ref().map(Identity::to_string).unwrap_or_default().into();
    let mut refusal = None;
    // Who sends a token proves with a request that reserved room is for it.
    let may_prove_later = shared.listener.takes_tokens && certificate.is_none();
    if shared.listener.purpose.has_identities() && !has_room && !may_prove_later {
        shared.meter.refused(Reason::Connections);
        refusal = Some(Refusal::Connections);
    } else if identity.is_some() {
        let counted = shared.table.lock().identify(accepted.id, &name, class);
        match counted {
            Ok(None) => {}
            Ok(Some(idle)) => idle.evict(Reason::IdentityConnections),
            Err(full) => {
                shared.meter.refused(Reason::IdentityConnections);
                refusal = Some(Refusal::from(full));
            }
        }
    }
    Peer(Arc::new(PeerInner {
        id: accepted.id,
        address: accepted.address,
        identity,
        name,
        certificate,
        refusal,
        is_on_probation: accepted.is_on_probation.into(),
        is_privileged: (class == Class::Privileged).into(),
        expects_continue: false.into(),
        shared: Arc::clone(shared),
    }))
}

/// Serves requests until the connection ends or has to.
async fn serve<S, B>(
    host: &Host,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    state: &Arc<ConnectionState>,
    peer: Peer,
    service: S,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let has_identity = peer.identity().is_some() || !peer.0.shared.listener.purpose.has_identities();
    let limits = if has_identity { peer.limits().clone() } else { peer.limits().clone().for_stranger() };
    let requests = {
        let (state, peer) = (Arc::clone(state), peer.clone());
        service_fn(move |mut request: Request<Incoming>| {
            let progress = RequestInProgress::start(&state);
            // Requests of HTTP/1 come one at a time. Over HTTP/2 the expectation is not used.
            let expects_continue = request.version() == Version::HTTP_11 && request.headers().contains_key(EXPECT);
            peer.0.expects_continue.store(expects_continue, Ordering::Relaxed);
            request.extensions_mut().insert(peer.clone());
            let response = service.clone().oneshot(request);
            async move { Ok::<_, S::Error>(TrackedBody::of(response.await?, progress)) }
        })
    };
    let builder = builder(&limits);
    let serving = builder.serve_connection(TokioIo::new(stream), requests);
    tokio::pin!(serving);
    let mut watchdog = Watchdog::new(limits);
    let check = sleep(watchdog.check(&state.observe()).unwrap_or(Duration::ZERO));
    let is_refused = peer.0.refusal.is_some();
    let refused = async move { if is_refused { sleep(REFUSED_GRACE).await } else { pending().await } };
    let stopping = host.stopping();
    let certificate_ended = peer.clone().certificate_ended();
    tokio::pin!(check, refused, stopping, certificate_ended);
    let ending = loop {
        tokio::select! {
            biased;
            ended = serving.as_mut() => return ended,
            () = check.as_mut() => match watchdog.check(&state.observe()) {
                Ok(next) => check.as_mut().reset(tokio::time::Instant::now() + next),
                Err(ending) => break Some(ending),
            },
            reason = state.evicted() => break Some(Ending::Graceful(reason)),
            end = certificate_ended.as_mut() => {
                tracing::warn!(peer = %peer.address(), caller = %peer.0.name, %end, "closing a connection");
                break Some(match end {
                    CertificateEnd::Revoked => Ending::Abort(Reason::CertificateRevoked),
                    CertificateEnd::Expired => Ending::Graceful(Reason::CertificateExpired),
                });
            }
            () = refused.as_mut() => break None,
            () = stopping.as_mut() => break None,
        }
    };
    match ending {
        Some(Ending::Abort(reason)) => {
            peer.refused(reason);
            return Err(format!("the connection reached a limit: {}", reason.word()).into());
        }
        Some(Ending::Graceful(reason)) => peer.refused(reason),
        None => {}
    }
    serving.as_mut().graceful_shutdown();
    // Streams do not end by themselves: their clients reconnect to another replica.
    let grace = if state.observe().idle.is_some() { IDLE_GRACE } else { SHUTDOWN_GRACE };
    tokio::time::timeout(grace, serving).await.unwrap_or(Ok(()))
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let head_timeout = limits.idle_timeout.map_or(limits.head_timeout, |idle| idle.max(limits.head_timeout));
    builder
        .http1()
        .timer(TokioTimer::new())
        // It also bounds the time between two requests; the watchdog bounds the first head.
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HTTP1_BUFFER_BYTES);
    if limits.streams == 0 {
        return builder.http1_only();
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(limits.streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(MAX_HTTP2_SEND_BUFFER_BYTES)
        .max_header_list_size(MAX_HTTP2_HEADER_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS);
    builder
}
