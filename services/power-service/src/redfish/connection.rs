//! A connection to a Redfish service. It sends one request at a time and never retries by itself.
//!
//! It uses hyper's low-level connection instead of a pooling client: such a client connects after it was told to send,
//! and repeats requests when a connection breaks. A command must leave immediately after its permit was checked, and
//! only once.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use domain::net::BmcAddr;
use futures::{FutureExt as _, future::poll_fn};
use hyper::{
    Method, Request, Response,
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use service_kit::outbound_http::{Outbound, OutboundError, Purpose};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    decode::{Body, decode},
    http_policy::{Head, Origin},
};

/// Header that carries a session token (DSP0266 §13.3.4).
pub(super) const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// Maximum time to connect, including TLS, at which BMCs are slow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time to wait for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum time to wait for the body of an error, which is for its text only.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of a response body, compressed and decompressed, in bytes; the system resource of a large machine has about 30 KiB.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Maximum size of a response head, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Where a service is and how to connect to it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) address: BmcAddr,
    /// TLS configuration; `None` for plain HTTP.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Which destinations are allowed.
    pub(super) outbound: Arc<Outbound>,
    /// How long sent data may stay unacknowledged before the connection is closed (D of OWNERSHIP.md).
    pub(super) user_timeout: Duration,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Path of the resource that answered, after redirects; empty if none were followed.
    pub(super) path: String,
    pub(super) etag: Option<String>,
    pub(super) location: Option<String>,
    /// Token of a new session. Marked as sensitive, so that it is not printed.
    pub(super) token: Option<HeaderValue>,
    /// Media type that the service claims. Many are wrong, so it does not decide how the body is read.
    pub(super) content_type: String,
    /// The body.
    pub(super) body: Body,
}

impl Answer {
    /// Returns what the HTTP policy needs to know of it.
    pub(super) fn head(&self) -> Head<'_> {
        Head { status: self.status, location: self.location.as_deref() }
    }

    /// Returns the body, or null if it is not JSON.
    pub(super) fn json(&self) -> &Value {
        if let Body::Json(body) = &self.body { body } else { &Value::Null }
    }
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    /// The request was not sent.
    #[error("cannot connect: {0}")]
    Unsent(String),
    /// The address is one that no BMC has.
    #[error("{0} of the power-service, if the BMC is there")]
    NotAllowed(OutboundError),
    /// TLS failed permanently, for example because the certificate is not trusted.
    #[error("TLS failed: {0}")]
    TlsFailed(String),
    /// The permit expired before the request was sent.
    #[error("the permit to send the request expired")]
    NotPermitted,
    /// The request was sent; its result is unknown.
    #[error("no response to a request: {0}")]
    Unanswered(String),
}

/// A connection that is opened on demand.
pub(super) struct Connection {
    endpoint: Endpoint,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<String>,
    /// Does the I/O of the connection while it is polled.
    connection: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Connection {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, open: None }
    }

    /// Returns whether a connection was opened and kept.
    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Returns where requests go.
    pub(super) fn origin(&self) -> Origin {
        let Endpoint { address, tls, .. } = &self.endpoint;
        let scheme = if tls.is_some() { "https" } else { "http" };
        Origin { scheme, host: address.host.clone(), port: address.port }
    }

    /// Connects, unless there is a usable connection.
    pub(super) async fn connect(&mut self) -> Result<(), TransportError> {
        if let Some(open) = &mut self.open
            && open.connection.as_mut().now_or_never().is_none()
            && open.sender.is_ready()
        {
            return Ok(());
        }
        self.open = None;
        let opened = timeout(CONNECT_TIMEOUT, Open::open(&self.endpoint)).await;
        let late = |_| Err(TransportError::Unsent(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())));
        self.open = Some(opened.unwrap_or_else(late)?);
        Ok(())
    }

    /// Sends a request and reads the response. `may_send` is called immediately before the request is written.
    pub(super) async fn ask(
        &mut self,
        request: Request<String>,
        may_send: impl FnOnce() -> bool,
    ) -> Result<Answer, TransportError> {
        self.connect().await?;
        let Some(mut open) = self.open.take() else { return Err(TransportError::Unsent("no connection".to_owned())) };
        if !may_send() {
            self.open = Some(open);
            return Err(TransportError::NotPermitted);
        }
        let answered = timeout(RESPONSE_TIMEOUT, open.exchange(request)).await;
        let (answer, is_whole) = answered.unwrap_or_else(|_| {
            Err(TransportError::Unanswered(format!("no response within {} s", RESPONSE_TIMEOUT.as_secs())))
        })?;
        self.open = is_whole.then_some(open);
        Ok(answer)
    }
}

impl Open {
    async fn open(endpoint: &Endpoint) -> Result<Self, TransportError> {
        let BmcAddr { host, port } = &endpoint.address;
        // What is checked is what is connected to.
        let addresses = Box::pin(endpoint.outbound.resolve(Purpose::Redfish, host, *port)).await;
        let addresses = addresses.map_err(|error| match error {
            refused if refused.is_refused() => TransportError::NotAllowed(refused),
            error => unsent(&error),
        })?;
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|error| unsent(&error))?;
        stream.set_nodelay(true).map_err(|error| unsent(&error))?;
        let limited = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(endpoint.user_timeout));
        limited.map_err(|error| unsent(&error))?;
        let Some(tls) = &endpoint.tls else { return Self::over(stream).await };
        let name = ServerName::try_from(host.clone()).map_err(|error| unsent(&error))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        Self::over(stream.map_err(|error| handshake_error(&error))?).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, TransportError> {
        let mut http = http1::Builder::new();
        let handshake = http.max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| unsent(&error))?;
        let mut connection: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(connection.map(drop));
        // The first poll makes the connection ready to send.
        let _ = connection.as_mut().now_or_never();
        Ok(Self { sender, connection })
    }

    /// Returns the response, and whether it was read to its end.
    async fn exchange(&mut self, request: Request<String>) -> Result<(Answer, bool), TransportError> {
        let is_read = request.method() == Method::GET;
        let sending = self.sender.try_send_request(request);
        let mut answering = pin!(async {
            let sent = sending.await.map_err(|mut error| {
                let why = service_kit::status::chain(error.error());
                if error.take_message().is_some() {
                    TransportError::Unsent(why)
                } else {
                    TransportError::Unanswered(why)
                }
            })?;
            read(sent, is_read).await
        });
        let connection = &mut self.connection;
        let mut ended = false;
        loop {
            tokio::select! {
                biased;
                () = connection.as_mut(), if !ended => ended = true,
                answer = &mut answering => {
                    // Only now is it known whether the connection can be reused.
                    if ended {
                        *connection = Box::pin(async {});
                    }
                    return answer;
                }
            }
        }
    }
}

fn unsent(error: &dyn std::error::Error) -> TransportError {
    TransportError::Unsent(service_kit::status::chain(error))
}

/// Classifies a failed TLS handshake: permanent or possibly interrupted.
fn handshake_error(error: &std::io::Error) -> TransportError {
    let tls = error.get_ref().and_then(|error| error.downcast_ref());
    match tls {
        Some(
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::InvalidMessage(_),
        ) => TransportError::TlsFailed(service_kit::status::chain(error)),
        _ => unsent(error),
    }
}

/// Reads a response. Returns whether it was read to its end.
///
/// Only the body of a successful read is indispensable. The status of everything else is final even if its body is cut:
/// otherwise a wrong password would be tried again and again at a BMC that closes the connection after its 401.
async fn read(response: Response<Incoming>, is_read: bool) -> Result<(Answer, bool), TransportError> {
    let (head, incoming) = response.into_parts();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = if is_read && head.status.is_success() {
        collect(incoming).await
    } else {
        let cut = || TransportError::Unanswered("the body of the response was cut".to_owned());
        timeout(ERROR_BODY_TIMEOUT, collect(incoming)).await.unwrap_or_else(|_| Err(cut()))
    };
    let encoding = text(CONTENT_ENCODING).unwrap_or_default();
    let decoded = body.and_then(|body| {
        let decoded = decode(&encoding, body, MAX_BODY_BYTES);
        decoded.map_err(|error| TransportError::Unanswered(error.to_string()))
    });
    let (body, is_whole) = match decoded {
        Ok(body) => (body, true),
        Err(error) if is_read && head.status.is_success() => return Err(error),
        Err(error) => {
            tracing::debug!(%error, status = head.status.as_u16(), "the body of a response was left out");
            (Body::Empty, false)
        }
    };
    let mut token = head.headers.get(AUTH_TOKEN).cloned();
    token.iter_mut().for_each(|token| token.set_sensitive(true));
    let answer = Answer {
        status: head.status.as_u16(),
        path: String::new(),
        etag: text(ETAG),
        location: text(LOCATION),
        token,
        content_type: text(CONTENT_TYPE).unwrap_or_default(),
        body,
    };
    Ok((answer, is_whole))
}

async fn collect(mut incoming: Incoming) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
        let frame = frame.map_err(|error| TransportError::Unanswered(service_kit::status::chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if body.len() + data.len() > MAX_BODY_BYTES {
            return Err(TransportError::Unanswered(format!("the response is larger than {MAX_BODY_BYTES} bytes")));
        }
        body.extend_from_slice(&data);
    }
    Ok(body)
}
