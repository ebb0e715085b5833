//! A connection to a Redfish service: one request, its answer, and nothing that is sent by itself.
//!
//! Over hyper's bare connection rather than a client that pools: such a one connects after it was told to send, and sends
//! again when a connection breaks. A command must leave in the moment in which its permit is asked for, and once.

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

/// The header that a session is given and used by (DSP0266 §13.3.4).
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// How long connecting may take, TLS included: BMCs are slow at it.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Octets of an answer's body; a system of a large machine has some 30 KiB.
const LARGEST_BODY: usize = 1 << 20;
/// Octets that hyper holds of an answer's head.
const LARGEST_HEAD: usize = 64 << 10;

/// Where a service is and how it is connected to.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) address: BmcAddr,
    /// None: in clear.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// How long sent octets may go unacknowledged before the connection is given up (DESIGN §5: D).
    pub(super) unacknowledged: Duration,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) location: Option<String>,
    /// What a new session is used by. It is not printed.
    pub(super) token: Option<HeaderValue>,
    /// Null where it has none, or what it has is no JSON.
    pub(super) body: Value,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// The request did not leave.
    #[error("cannot be reached: {0}")]
    Unsent(String),
    /// Nothing leaves: there is no TLS with it, or none that is believed, and there will not be.
    #[error("cannot be spoken to over TLS: {0}")]
    Distrusted(String),
    /// It must not leave any more.
    #[error("the request was not permitted any more")]
    Forbidden,
    /// It left, and what came of it is not known.
    #[error("did not answer a request: {0}")]
    Unanswered(String),
}

/// A connection, opened when it is needed.
pub(super) struct Line {
    place: Place,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<String>,
    /// Whatever is to be done for the connection is done when this is polled.
    connection: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Line {
    pub(super) const fn new(place: Place) -> Self {
        Self { place, open: None }
    }

    /// Whether there is a connection of before.
    pub(super) const fn is_kept(&self) -> bool {
        self.open.is_some()
    }

    /// Connects, unless there is a connection that stands.
    pub(super) async fn ready(&mut self) -> Result<(), Trouble> {
        if let Some(open) = &mut self.open
            && open.connection.as_mut().now_or_never().is_none()
            && open.sender.is_ready()
        {
            return Ok(());
        }
        self.open = None;
        let opened = timeout(CONNECT, Open::to(&self.place)).await;
        let late = |_| Err(Trouble::Unsent(format!("no connection in {} s", CONNECT.as_secs())));
        self.open = Some(opened.unwrap_or_else(late)?);
        Ok(())
    }

    /// Sends a request and reads its answer. `may_leave` is asked when there is nothing left to do but to write.
    pub(super) async fn ask(
        &mut self,
        request: Request<String>,
        may_leave: impl FnOnce() -> bool,
    ) -> Result<Answer, Trouble> {
        self.ready().await?;
        let Some(mut open) = self.open.take() else { return Err(Trouble::Unsent("no connection".to_owned())) };
        if !may_leave() {
            self.open = Some(open);
            return Err(Trouble::Forbidden);
        }
        let answered = timeout(ANSWER, open.exchange(request)).await;
        let answer =
            answered.unwrap_or_else(|_| Err(Trouble::Unanswered(format!("no answer in {} s", ANSWER.as_secs()))))?;
        self.open = Some(open);
        Ok(answer)
    }
}

impl Open {
    async fn to(place: &Place) -> Result<Self, Trouble> {
        let BmcAddr { host, port } = &place.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| unsent(&error))?;
        stream.set_nodelay(true).map_err(|error| unsent(&error))?;
        let limited = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(place.unacknowledged));
        limited.map_err(|error| unsent(&error))?;
        let Some(tls) = &place.tls else { return Self::over(stream).await };
        let name = ServerName::try_from(host.clone()).map_err(|error| unsent(&error))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        Self::over(stream.map_err(|error| untold(&error))?).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Trouble> {
        let mut http = http1::Builder::new();
        let shaken = http.max_buf_size(LARGEST_HEAD).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| unsent(&error))?;
        let mut connection: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(connection.map(drop));
        // Its first turn makes it ready to be written to.
        let _ = connection.as_mut().now_or_never();
        Ok(Self { sender, connection })
    }

    async fn exchange(&mut self, request: Request<String>) -> Result<Answer, Trouble> {
        let sending = self.sender.try_send_request(request);
        let mut answering = pin!(async {
            let sent = sending.await.map_err(|mut error| {
                let words = service_kit::status::chain(error.error());
                if error.take_message().is_some() { Trouble::Unsent(words) } else { Trouble::Unanswered(words) }
            })?;
            read(sent).await.map_err(Trouble::Unanswered)
        });
        let connection = &mut self.connection;
        let mut ended = false;
        loop {
            tokio::select! {
                biased;
                () = connection.as_mut(), if !ended => ended = true,
                answer = &mut answering => {
                    // Only then is it known whether it serves another request.
                    if ended {
                        *connection = Box::pin(async {});
                    }
                    return answer;
                }
            }
        }
    }
}

fn unsent(error: &dyn std::error::Error) -> Trouble {
    Trouble::Unsent(service_kit::status::chain(error))
}

/// What a failed handshake means: some will fail for ever, others were cut short.
fn untold(error: &std::io::Error) -> Trouble {
    let tls = error.get_ref().and_then(|error| error.downcast_ref());
    match tls {
        Some(
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::InvalidMessage(_),
        ) => Trouble::Distrusted(service_kit::status::chain(error)),
        _ => unsent(error),
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let (head, mut incoming) = response.into_parts();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
        let frame = frame.map_err(|error| service_kit::status::chain(&error))?;
        let Ok(octets) = frame.into_data() else { continue };
        if whole.len() + octets.len() > LARGEST_BODY {
            return Err(format!("its answer has more than {LARGEST_BODY} octets"));
        }
        whole.extend_from_slice(&octets);
    }
    let mut token = head.headers.get(TOKEN).cloned();
    token.iter_mut().for_each(|token| token.set_sensitive(true));
    Ok(Answer {
        status: head.status.as_u16(),
        etag: text(ETAG.as_str()),
        location: text(LOCATION.as_str()),
        token,
        body: serde_json::from_slice(&whole).unwrap_or_default(),
    })
}
