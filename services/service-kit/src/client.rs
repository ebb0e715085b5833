//! gRPC clients: mutual TLS to the intended service of a rack, with a deadline and the current trace.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use domain::service::Service;
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
    tls::{self, CertificateEnd, Revocations, ServerTrust, Tls},
};

/// Maximum time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval of HTTP/2 pings on an idle connection, and how long to wait for the reply before reconnecting.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

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
/// If any of several replicas will do, `endpoint` lists them separated by commas; the first that accepts is used.
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
}

impl ClientTls {
    fn config(&self) -> Arc<ClientConfig> {
        match self {
            Self::Mutual(tls) => tls.client(),
            Self::Anonymous(trust) => trust.client(),
        }
    }

    /// Returns the revoked certificates that are known: to a client outside the mesh none are.
    fn revocations(&self) -> Revocations {
        match self {
            Self::Mutual(tls) => tls.revocations().clone(),
            Self::Anonymous(_) => Revocations::default(),
        }
    }
}

fn channel(tls: ClientTls, endpoint: &str, name: ServerName<'static>) -> Option<Channel> {
    let addresses: Vec<String> = endpoint.split(',').map(|address| address.trim().to_owned()).collect();
    let first = addresses.first()?.clone();
    let connect_timeout = CONNECT_TIMEOUT / u32::try_from(addresses.len()).ok()?;
    // For tonic the scheme is http: the connector does TLS itself, so that certificates can be reloaded.
    let connector = tower::service_fn(move |_: http::Uri| {
        let (tls, addresses, name) = (tls.clone(), addresses.clone(), name.clone());
        async move {
            let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
            for address in &addresses {
                outcome = match timeout(connect_timeout, connect(&tls, address, name.clone())).await {
                    Ok(Ok(stream)) => return Ok(TokioIo::new(stream)),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
                };
            }
            outcome
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{first}"))
        .ok()?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_INTERVAL)
        .keep_alive_while_idle(true);
    Some(endpoint.connect_with_connector_lazy(connector))
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
