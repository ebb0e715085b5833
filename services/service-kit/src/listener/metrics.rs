//! Metrics of the HTTP and gRPC listeners, and log messages about reached limits.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use metrics::{Gauge, counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;

use super::limits::ListenerKind;

const CONNECTIONS: &str = "ironmesh_http_connections";
const REFUSALS: &str = "ironmesh_http_refusals_total";
const BODY_BYTES: &str = "ironmesh_http_body_bytes";

/// Minimum time between two log messages of a listener about reached limits.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) fn describe() {
    describe_gauge!(CONNECTIONS, "Open connections, by listener");
    describe_counter!(REFUSALS, "Connections and requests that reached a limit, by listener and reason");
    describe_gauge!(BODY_BYTES, "Bytes of request bodies in memory");
}

pub(super) fn body_bytes() -> Gauge {
    gauge!(BODY_BYTES)
}

/// Limit that a connection or a request reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No complete request head in time.
    HeadTimeout,
    /// No request in time.
    IdleTimeout,
    /// The TLS handshake did not end in time.
    HandshakeTimeout,
    /// A request body did not progress.
    BodyTimeout,
    /// The client did not take its response.
    WriteTimeout,
    /// The maximum number of connections is open.
    Connections,
    /// The maximum number of connections from the address is open.
    AddressConnections,
    /// The maximum number of connections with the certificate is open.
    IdentityConnections,
    /// The maximum number of requests of the caller is in progress.
    IdentityRequests,
    /// The maximum number of event streams is open.
    EventStreams,
    /// No memory for request bodies is left.
    BodyBudget,
    /// A request body is larger than its route allows.
    BodySize,
    /// The process has no file descriptor left.
    FileDescriptors,
    /// The certificate of the peer was revoked while the connection was open.
    CertificateRevoked,
    /// The certificate of the peer expired while the connection was open.
    CertificateExpired,
}

impl Reason {
    /// Returns the value of the label `reason`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::HeadTimeout => "head-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::BodyTimeout => "body-timeout",
            Self::WriteTimeout => "write-timeout",
            Self::Connections => "connections",
            Self::AddressConnections => "connections-per-address",
            Self::IdentityConnections => "connections-per-identity",
            Self::IdentityRequests => "requests-per-identity",
            Self::EventStreams => "event-streams",
            Self::BodyBudget => "body-budget",
            Self::BodySize => "body-size",
            Self::FileDescriptors => "file-descriptors",
            Self::CertificateRevoked => "certificate-revoked",
            Self::CertificateExpired => "certificate-expired",
        }
    }

    /// Returns whether an operator should know: clients are turned away, or may be hostile.
    const fn is_pressure(self) -> bool {
        !matches!(self, Self::IdleTimeout | Self::BodySize | Self::CertificateRevoked | Self::CertificateExpired)
    }
}

/// Counts what a listener refuses, and logs it at most once per interval.
#[derive(Debug)]
pub(super) struct Meter {
    purpose: ListenerKind,
    connections: Gauge,
    started: Instant,
    /// Milliseconds after `started` at which the next message may be logged.
    next_warning: AtomicU64,
    /// Refusals since the last message.
    unreported: AtomicU64,
}

impl Meter {
    pub(super) fn new(purpose: ListenerKind) -> Self {
        let connections = gauge!(CONNECTIONS, "listener" => purpose.word());
        let (next_warning, unreported) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { purpose, connections, started: Instant::now(), next_warning, unreported }
    }

    pub(super) fn connections(&self, count: usize) {
        self.connections.set(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(super) fn refused(&self, reason: Reason) {
        counter!(REFUSALS, "listener" => self.purpose.word(), "reason" => reason.word()).increment(1);
        if !reason.is_pressure() {
            return;
        }
        self.unreported.fetch_add(1, Ordering::Relaxed);
        let (now, next) = (self.started.elapsed(), self.next_warning.load(Ordering::Relaxed));
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let after = now_ms.saturating_add(u64::try_from(WARN_INTERVAL.as_millis()).unwrap_or(u64::MAX));
        if now_ms < next
            || self.next_warning.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let count = self.unreported.swap(0, Ordering::Relaxed);
        tracing::warn!(
            listener = self.purpose.word(),
            reason = reason.word(),
            count,
            "connections or requests reached a limit; the limits are in [service.http], the counts in {REFUSALS}"
        );
    }
}
