//! The one front door for HTTP and gRPC: accepts connections and bounds what each peer can cost.
//!
//! | module | content |
//! |---|---|
//! | `limits` | the settings (`[service.http]`) and the table of limits of each listener |
//! | `shares`, `table`, `state` | decisions, without sockets: who is admitted, who makes room, who must end |
//! | `accept`, `connection` | the accept loop, and the life of one connection |
//! | `progress` | notes what a connection writes and which response bodies wait |
//! | `body`, `body_budget` | reads request bodies, and bounds the memory of all of them |
//! | `offload` | parses large bodies off the threads that serve |
//! | `metrics` | counts each limit that is reached |

mod accept;
mod body;
mod body_budget;
mod connection;
mod grpc_body;
mod limits;
mod metrics;
mod offload;
mod progress;
mod shares;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::time::Instant;

pub use self::{
    accept::{raise_descriptor_limit, serve},
    body::{BodyError, BodySender, Pace, ParseError, ReceivedBody},
    body_budget::{BodyBudget, BudgetExhausted, Charge},
    limits::{AddressKey, Class, HttpLimits, Limits, ListenerKind, ShareLimits},
    metrics::Reason,
    shares::{Exhausted, Shares},
};
pub(crate) use self::{grpc_body::GrpcBody, metrics::describe};
use self::{metrics::Meter, state::ConnectionState, table::Table};
use crate::tls::{CertificateEnd, Identity, Realm, Revocations, Role};

/// Returns the TLS configuration for the next connection.
pub type TlsSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// A listener without its socket and its service.
#[derive(Clone)]
pub struct Listener {
    /// What it is for.
    pub purpose: ListenerKind,
    /// TLS, if it uses it.
    pub tls: Option<TlsSource>,
    /// The revoked certificates of our CA, if peers have such certificates: their connections end when they are revoked or
    /// expire.
    pub revocations: Option<Revocations>,
    /// The realm of the peers' identities.
    pub realm: Realm,
    /// Whether a peer without a certificate may prove with each request who it is, where others have certificates.
    pub takes_tokens: bool,
    /// Its limits.
    pub limits: Limits,
    /// The memory for request bodies, which all listeners of a process share.
    pub budget: BodyBudget,
    /// Body of a response for a peer that is turned away before its request is read: content type and text.
    pub encode_refusal: fn(&str) -> (&'static str, String),
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("purpose", &self.purpose).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Listener {
    /// Creates a listener for plain HTTP with the limits of its purpose, whose refusals are plain text.
    #[must_use]
    pub fn new(purpose: ListenerKind, settings: &HttpLimits, budget: BodyBudget) -> Self {
        let limits = Limits::of(purpose, settings);
        Self {
            purpose,
            tls: None,
            revocations: None,
            realm: Realm::default(),
            takes_tokens: false,
            limits,
            budget,
            encode_refusal: |why| ("text/plain", format!("{why}\n")),
        }
    }
}

/// What all connections of a listener share.
struct Shared {
    listener: Listener,
    table: Mutex<Table<Arc<ConnectionState>>>,
    requests: Mutex<Shares<Arc<str>>>,
    meter: Meter,
    epoch: Instant,
}

impl Shared {
    fn new(listener: Listener) -> Self {
        let requests = ShareLimits { total: usize::MAX, reserved: 0, each: listener.limits.requests_per_identity };
        Self {
            table: Mutex::new(Table::new(listener.limits.clone())),
            requests: Mutex::new(Shares::new(requests)),
            meter: Meter::new(listener.purpose),
            epoch: Instant::now(),
            listener,
        }
    }
}

/// Why a request is not served. The text says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only the room for services and administrators is left (503).
    #[error("the service has as many connections as it can serve; repeat the request later")]
    Connections,
    /// The identity has as many connections as it may have (429).
    #[error("too many connections with this certificate are open; close some, or share one for several calls")]
    IdentityConnections,
    /// The identity has as many requests in progress as it may have (429).
    #[error("too many requests of this user are in progress; wait for some of them to end")]
    IdentityRequests,
}

impl Refusal {
    /// Returns the HTTP status of the response (RFC 6585 §4, RFC 9110 §15.6.4).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Connections => 503,
            Self::IdentityConnections | Self::IdentityRequests => 429,
        }
    }
}

/// The peer of a connection. It is an extension of each request.
#[derive(Clone)]
pub struct Peer(Arc<PeerInner>);

struct PeerInner {
    id: u64,
    address: SocketAddr,
    identity: Option<Identity>,
    /// The identity as text.
    name: Arc<str>,
    certificate: Option<Vec<u8>>,
    /// Set if none of its requests is served.
    refusal: Option<Refusal>,
    /// Whether only reserved room was left for it.
    is_on_probation: AtomicBool,
    is_privileged: AtomicBool,
    /// Whether the client of an HTTP/1 request waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    expects_continue: AtomicBool,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("address", &self.0.address).field("identity", &self.0.identity).finish()
    }
}

impl Peer {
    /// Creates the peer of requests that do not come over a connection.
    #[must_use]
    pub fn without_connection(listener: Listener) -> Self {
        Self(Arc::new(PeerInner {
            id: 0,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            identity: None,
            name: "".into(),
            certificate: None,
            refusal: None,
            is_on_probation: AtomicBool::new(false),
            is_privileged: AtomicBool::new(false),
            expects_continue: AtomicBool::new(false),
            shared: Arc::new(Shared::new(listener)),
        }))
    }

    /// Returns the address of the peer.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Returns the identity in the peer's certificate, if it has one of our CA.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.0.identity.as_ref()
    }

    /// Returns the certificate (DER) that the peer proved possession of.
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8]> {
        self.0.certificate.as_deref()
    }

    /// Resolves when the peer's certificate, if it is one of our CA, is revoked or expires.
    async fn certificate_ended(self) -> CertificateEnd {
        let listener = &self.0.shared.listener;
        let revocations = listener.revocations.clone().filter(|_| listener.purpose.has_identities());
        match (revocations, self.0.certificate.clone()) {
            (Some(revocations), Some(certificate)) => revocations.ended(certificate).await,
            (None, _) | (_, None) => std::future::pending().await,
        }
    }

    /// Returns how far the peer is trusted because of its certificate.
    #[must_use]
    pub fn class(&self) -> Class {
        self.0.identity.as_ref().map_or(Class::Stranger, class_of)
    }

    /// Returns the limits of the listener.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.shared.listener.limits
    }

    /// Returns the memory for request bodies.
    #[must_use]
    pub fn budget(&self) -> &BodyBudget {
        &self.0.shared.listener.budget
    }

    /// Counts a request that reached a limit.
    pub fn refused(&self, reason: Reason) {
        self.0.shared.meter.refused(reason);
    }

    /// Begins a request of an authenticated caller, or of a stranger if `class` says so. Keep the result until the
    /// response is complete.
    ///
    /// # Errors
    /// [`Refusal`] if the caller has too many requests in progress, or only reserved room is left.
    pub fn begin(&self, identity: &str, class: Class) -> Result<RequestSlot, Refusal> {
        self.begin_as(class, || identity.into())
    }

    /// Begins a request of the identity in the peer's certificate, as [`Peer::begin`] does.
    ///
    /// # Errors
    /// The same.
    pub fn begin_identified(&self) -> Result<RequestSlot, Refusal> {
        self.begin_as(self.class(), || Arc::clone(&self.0.name))
    }

    fn begin_as(&self, class: Class, identity: impl FnOnce() -> Arc<str>) -> Result<RequestSlot, Refusal> {
        let (inner, shared) = (&*self.0, &self.0.shared);
        if let Some(refusal) = inner.refusal {
            return Err(refusal);
        }
        if class == Class::Privileged {
            if !inner.is_privileged.swap(true, Ordering::Relaxed) {
                shared.table.lock().note_privileged(inner.id);
            }
        } else if inner.is_on_probation.load(Ordering::Relaxed) {
            if !shared.table.lock().has_open_room() {
                self.refused(Reason::Connections);
                return Err(Refusal::Connections);
            }
            inner.is_on_probation.store(false, Ordering::Relaxed);
        }
        // Strangers share no identity: they are bounded by the connections of their address.
        if class != Class::Ordinary {
            return Ok(RequestSlot { shares: None });
        }
        let identity = identity();
        if shared.requests.lock().take(Arc::clone(&identity), class).is_err() {
            self.refused(Reason::IdentityRequests);
            return Err(Refusal::IdentityRequests);
        }
        Ok(RequestSlot { shares: Some((Arc::clone(shared), identity)) })
    }
}

/// Room for one request of an identity. Freed on drop.
pub struct RequestSlot {
    shares: Option<(Arc<Shared>, Arc<str>)>,
}

impl RequestSlot {
    /// Keeps the room until the body of the response is sent, which may be a stream.
    pub fn last_as_long_as<B>(self, response: &mut http::Response<B>) {
        if self.shares.is_some() {
            response.extensions_mut().insert(Arc::new(self));
        }
    }
}

impl std::fmt::Debug for RequestSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestSlot").finish_non_exhaustive()
    }
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        if let Some((shared, identity)) = self.shares.take() {
            shared.requests.lock().release(&identity);
        }
    }
}

/// Returns how far an identity is trusted.
pub(crate) const fn class_of(identity: &Identity) -> Class {
    match identity {
        Identity::Service { .. }
        | Identity::Host { .. }
        | Identity::Authority
        | Identity::Operator { role: Role::Service | Role::Admin, .. } => Class::Privileged,
        Identity::Operator { role: Role::Reader | Role::Member, .. } => Class::Ordinary,
    }
}
