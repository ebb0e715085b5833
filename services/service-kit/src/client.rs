//! gRPC clients: mutual TLS to the intended service of a rack, with a deadline and the current trace.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use domain::service::Service;
use futures::stream::{FuturesUnordered, StreamExt as _};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    telemetry,
    tls::{self, CertificateEnd, PinnedTrust, Revocations, ServerTrust, Tls},
};

/// Maximum time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a replica may take to accept before the next one is tried beside it (RFC 8305 §5).
const NEXT_REPLICA_DELAY: Duration = Duration::from_millis(250);
/// Interval of HTTP/2 pings on a connection, and how long to wait for the reply before reconnecting.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// The same where another replica can be called instead: one that is silent is left within a second.
const FAILOVER_INTERVAL: Duration = Duration::from_millis(350);

/// A channel that adds a deadline and the current trace to every call.
pub type MeshChannel = InterceptedService<Channel, CallInterceptor>;

/// Adds the deadline and the current trace to every call.
#[derive(Debug, Clone, Copy)]
pub struct CallInterceptor {
    deadline: Option<Duration>,
}

impl Interceptor for CallInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        telemetry::inject_trace(request.metadata_mut());
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline);
        }
        Ok(request)
    }
}

/// The endpoint is not `host:port`, or a comma-separated list of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid endpoint {0:?}: expected host:port, or several separated by commas")]
pub struct InvalidEndpoint(String);

/// Opens a channel to a rack's service at `endpoint` (`host:port`). It connects on first use and reconnects on failure.
/// If any of several replicas will do, `endpoint` lists them separated by commas; the first that accepts is used, and another
/// one within a second after that one has died, stopped or become silent.
///
/// `deadline` applies to each call; use `None` for streams.
///
/// # Errors
/// [`InvalidEndpoint`] if `endpoint` cannot be parsed.
pub fn mesh_channel(
    tls: &Tls,
    endpoint: &str,
    service: Service,
    rack: &str,
    deadline: Option<Duration>,
) -> Result<MeshChannel, InvalidEndpoint> {
    open(ClientTls::Mutual(tls.clone()), endpoint, (service, rack), deadline)
}

/// Opens a channel as [`mesh_channel`] does, for a client without a certificate.
///
/// # Errors
/// [`InvalidEndpoint`] if `endpoint` cannot be parsed.
pub fn anonymous_channel(
    trust: &ServerTrust,
    endpoint: &str,
    service: Service,
    rack: &str,
    deadline: Option<Duration>,
) -> Result<MeshChannel, InvalidEndpoint> {
    open(ClientTls::Anonymous(trust.clone()), endpoint, (service, rack), deadline)
}

/// Opens a channel to the authority of a datacenter, for a host that joins and trusts the digest of its CA.
///
/// # Errors
/// [`InvalidEndpoint`] if `endpoint` cannot be parsed.
pub fn joining_channel(
    trust: &PinnedTrust,
    endpoint: &str,
    deadline: Option<Duration>,
) -> Result<MeshChannel, InvalidEndpoint> {
    open_authority(ClientTls::Joining(trust.clone()), endpoint, deadline)
}

/// Opens a channel to the authority of the datacenter, for a host with its certificate.
///
/// # Errors
/// [`InvalidEndpoint`] if `endpoint` cannot be parsed.
pub fn authority_channel(
    tls: &Tls,
    endpoint: &str,
    deadline: Option<Duration>,
) -> Result<MeshChannel, InvalidEndpoint> {
    open_authority(ClientTls::Mutual(tls.clone()), endpoint, deadline)
}

fn open_authority(tls: ClientTls, endpoint: &str, deadline: Option<Duration>) -> Result<MeshChannel, InvalidEndpoint> {
    let wrong = || InvalidEndpoint(endpoint.to_owned());
    let name = ServerName::try_from(tls::authority_dns_name()).map_err(|_| wrong())?;
    let channel = channel(tls, endpoint, name).ok_or_else(wrong)?;
    Ok(InterceptedService::new(channel, CallInterceptor { deadline }))
}

fn open(
    tls: ClientTls,
    endpoint: &str,
    (service, rack): (Service, &str),
    deadline: Option<Duration>,
) -> Result<MeshChannel, InvalidEndpoint> {
    let wrong = || InvalidEndpoint(endpoint.to_owned());
    let name = tls::server_name(service, rack).ok_or_else(wrong)?;
    let channel = channel(tls, endpoint, name).ok_or_else(wrong)?;
    Ok(InterceptedService::new(channel, CallInterceptor { deadline }))
}

/// With which certificate a client connects.
#[derive(Clone)]
enum ClientTls {
    /// Its own.
    Mutual(Tls),
    /// None.
    Anonymous(ServerTrust),
    /// None, and the CA of the server is known by its digest.
    Joining(PinnedTrust),
}

impl ClientTls {
    fn config(&self) -> Arc<ClientConfig> {
        match self {
            Self::Mutual(tls) => tls.client(),
            Self::Anonymous(trust) => trust.client(),
            Self::Joining(trust) => trust.client(),
        }
    }

    /// Returns the revoked certificates that are known: to a client outside the mesh none are.
    fn revocations(&self) -> Revocations {
        match self {
            Self::Mutual(tls) => tls.revocations().clone(),
            Self::Anonymous(_) | Self::Joining(_) => Revocations::default(),
        }
    }
}

fn channel(tls: ClientTls, endpoint: &str, name: ServerName<'static>) -> Option<Channel> {
    let addresses: Vec<String> = endpoint.split(',').map(|address| address.trim().to_owned()).collect();
    let first = addresses.first()?.clone();
    let interval = if addresses.len() > 1 { FAILOVER_INTERVAL } else { KEEP_ALIVE_INTERVAL };
    // For tonic the scheme is http: the connector does TLS itself, so that certificates can be reloaded.
    let connector = tower::service_fn(move |_: http::Uri| {
        let (tls, addresses, name) = (tls.clone(), addresses.clone(), name.clone());
        async move { first_to_accept(&addresses, |address| connect(&tls, address, name.clone())).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{first}"))
        .ok()?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(interval)
        .keep_alive_while_idle(true);
    Some(endpoint.connect_with_connector_lazy(connector))
}

/// Connects to the replica that accepts first. Each gets a start before the next one, which is tried at once if one refuses.
async fn first_to_accept<'a, T, F: Future<Output = io::Result<T>>>(
    addresses: &'a [String],
    connect: impl Fn(&'a str) -> F,
) -> io::Result<T> {
    let (mut attempts, mut rest) = (FuturesUnordered::new(), addresses.iter());
    let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    loop {
        if let Some(address) = rest.next() {
            attempts.push(timeout(CONNECT_TIMEOUT, connect(address)));
        } else if attempts.is_empty() {
            return outcome;
        }
        // Each attempt ends by itself.
        let wait = if rest.len() > 0 { NEXT_REPLICA_DELAY } else { CONNECT_TIMEOUT };
        match timeout(wait, attempts.next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => outcome = Err(error),
            Ok(Some(Err(_))) => outcome = Err(io::Error::from(io::ErrorKind::TimedOut)),
            Ok(None) | Err(_) => {}
        }
    }
}

async fn connect(tls: &ClientTls, address: &str, name: ServerName<'static>) -> io::Result<VerifiedStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(tls.config()).connect(name, stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.map(|certificate| certificate.to_vec()).unwrap_or_default();
    let end = Box::pin(tls.revocations().ended(certificate));
    Ok(VerifiedStream { stream, end })
}

/// A connection that fails when the certificate of the server is revoked or expires.
struct VerifiedStream {
    stream: TlsStream<TcpStream>,
    end: Pin<Box<dyn Future<Output = CertificateEnd> + Send>>,
}

impl AsyncRead for VerifiedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A client of HTTP/2 always reads, so writing need not check.
        if let Poll::Ready(end) = self.end.as_mut().poll(cx) {
            self.end = Box::pin(std::future::ready(end));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, end)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for VerifiedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    /// How a replica behaves: it accepts or refuses after some milliseconds, or is silent.
    #[derive(Clone, Copy)]
    enum Replica {
        Accepts(u64),
        Refuses(u64),
        Silent,
    }

    async fn answer(replica: Replica, name: String) -> io::Result<String> {
        match replica {
            Replica::Accepts(after) => {
                sleep(Duration::from_millis(after)).await;
                Ok(name)
            }
            Replica::Refuses(after) => {
                sleep(Duration::from_millis(after)).await;
                Err(io::Error::from(io::ErrorKind::ConnectionRefused))
            }
            Replica::Silent => std::future::pending().await,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_replica_that_accepts_is_used_and_one_that_is_dead_delays_little() {
        use Replica::{Accepts, Refuses, Silent};
        let (refused, late) = (io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut);
        // What the replicas do, which one is used, after how many milliseconds of the paused clock.
        for (case, replicas, used, after) in [
            ("one", &[Accepts(10)][..], Ok("0"), 10),
            ("the first is slow, but not too slow", &[Accepts(200), Accepts(0)], Ok("0"), 200),
            ("the first is dead", &[Refuses(0), Accepts(10)], Ok("1"), 10),
            ("the first refuses late", &[Refuses(200), Accepts(10)], Ok("1"), 210),
            ("the first is silent", &[Silent, Accepts(10)], Ok("1"), 260),
            ("two are silent", &[Silent, Silent, Accepts(10)], Ok("2"), 510),
            ("silent, dead, alive", &[Silent, Refuses(0), Accepts(10)], Ok("2"), 260),
            ("the first accepts later than the second", &[Accepts(2_000), Accepts(10)], Ok("1"), 260),
            ("the second is silent, and the first late", &[Accepts(600), Silent], Ok("0"), 600),
            ("all are dead", &[Refuses(0), Refuses(10)], Err(refused), 10),
            ("one is silent for good", &[Silent], Err(late), 3_000),
            ("all are silent", &[Silent, Silent], Err(late), 3_250),
            ("none", &[], Err(io::ErrorKind::AddrNotAvailable), 0),
        ] {
            let addresses: Vec<_> = (0..replicas.len()).map(|number| number.to_string()).collect();
            let begun = Instant::now();
            let outcome = first_to_accept(&addresses, |address| {
                let replica = address.parse().ok().and_then(|number: usize| replicas.get(number)).copied();
                answer(replica.unwrap_or(Silent), address.to_owned())
            });
            let outcome = outcome.await.map_err(|error| error.kind());
            assert_eq!(outcome.as_deref().map_err(|kind| *kind), used, "{case}");
            assert_eq!(begun.elapsed().as_millis(), after, "{case}");
        }
    }
}
