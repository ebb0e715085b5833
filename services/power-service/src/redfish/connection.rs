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
    Request, Response,
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{ETAG, HeaderName, HeaderValue, LOCATION},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Header that carries a session token (DSP0266 §13.3.4).
pub(super) const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// Maximum time to connect, including TLS, at which BMCs are slow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time to wait for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum size of a response body, in bytes; the system resource of a large machine has about 30 KiB.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Maximum size of a response head, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Where a service is and how to connect to it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) address: BmcAddr,
    /// TLS configuration; `None` for plain HTTP.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// How long sent data may stay user_timeout before the connection is closed (D of OWNERSHIP.md).
    pub(super) user_timeout: Duration,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) location: Option<String>,
    /// Token of a new session. Marked as sensitive, so that it is not printed.
    pub(super) token: Option<HeaderValue>,
    /// The JSON body; null if there is none or it is not JSON.
    pub(super) body: Value,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TransportError {
    /// The request was not sent.
    #[error("cannot connect: {0}")]
    Unsent(String),
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
        let answer = answered.unwrap_or_else(|_| {
            Err(TransportError::Unanswered(format!("no response within {} s", RESPONSE_TIMEOUT.as_secs())))
        })?;
        self.open = Some(open);
        Ok(answer)
    }
}

impl Open {
    async fn open(endpoint: &Endpoint) -> Result<Self, TransportError> {
        let BmcAddr { host, port } = &endpoint.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| unsent(&error))?;
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

    async fn exchange(&mut self, request: Request<String>) -> Result<Answer, TransportError> {
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
            read(sent).await
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

async fn read(response: Response<Incoming>) -> Result<Answer, TransportError> {
    let (head, mut incoming) = response.into_parts();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
        let frame = frame.map_err(|error| TransportError::Unanswered(service_kit::status::chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if body.len() + data.len() > MAX_BODY_BYTES {
            return Err(TransportError::Unanswered(format!("the response is larger than {MAX_BODY_BYTES} bytes")));
        }
        body.extend_from_slice(&data);
    }
    let mut token = head.headers.get(AUTH_TOKEN).cloned();
    token.iter_mut().for_each(|token| token.set_sensitive(true));
    Ok(Answer {
        status: head.status.as_u16(),
        etag: text(ETAG.as_str()),
        location: text(LOCATION.as_str()),
        token,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
