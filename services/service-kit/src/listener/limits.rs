//! Limits of the HTTP and gRPC listeners: the settings, and the one table that says what each listener is given.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// The `[service.http]` table: limits of all HTTP and gRPC listeners of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpLimits {
    /// Maximum number of connections of one listener. One eighth is reserved for services and administrators.
    pub connections: usize,
    /// Maximum number of connections from one address, or from one IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// The same for a loopback address, from which a proxy brings the connections of many clients.
    pub connections_per_loopback_address: usize,
    /// Maximum number of connections with the certificate of one operator or service.
    pub connections_per_identity: usize,
    /// Maximum number of requests in progress for one user or operator.
    pub requests_per_identity: usize,
    /// Maximum number of open event streams. One eighth is reserved for services and administrators.
    pub event_streams: usize,
    /// Maximum number of open event streams of one user.
    pub event_streams_per_identity: usize,
    /// Maximum number of bytes of request bodies that are in memory at the same time.
    pub body_bytes: usize,
    /// The part of `body_bytes` that requests without credentials may use.
    pub anonymous_body_bytes: usize,
    /// Maximum time from a connection to its first complete request head.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// Maximum time that a connection may be open without a request.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Time in which a request body must progress by 1 KiB, or end.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Time in which a client must take 16 KiB of a response that is ready for it.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 256,
            connections_per_loopback_address: 2048,
            connections_per_identity: 256,
            requests_per_identity: 256,
            event_streams: 256,
            event_streams_per_identity: 32,
            body_bytes: 256 << 20,
            anonymous_body_bytes: 32 << 20,
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(20),
        }
    }
}

impl HttpLimits {
    /// Returns all invalid settings, each with what to do.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let counts = [
            ("connections", self.connections, 16),
            ("connections_per_address", self.connections_per_address, 1),
            ("connections_per_loopback_address", self.connections_per_loopback_address, 1),
            ("connections_per_identity", self.connections_per_identity, 1),
            ("requests_per_identity", self.requests_per_identity, 1),
            ("event_streams", self.event_streams, 1),
            ("event_streams_per_identity", self.event_streams_per_identity, 1),
            ("body_bytes", self.body_bytes, 1 << 20),
            ("anonymous_body_bytes", self.anonymous_body_bytes, 1 << 20),
        ];
        let times = [
            ("head_timeout", self.head_timeout),
            ("idle_timeout", self.idle_timeout),
            ("body_timeout", self.body_timeout),
            ("write_timeout", self.write_timeout),
        ];
        let small = counts.into_iter().filter(|(_, value, least)| value < least);
        let mut problems: Vec<_> =
            small.map(|(key, _, least)| format!("service.http.{key}: must be at least {least}")).collect();
        let zero = times.into_iter().filter(|(_, value)| value.is_zero());
        problems.extend(zero.map(|(key, _)| format!("service.http.{key}: must be more than 0, such as 15s")));
        if self.anonymous_body_bytes >= self.body_bytes {
            problems.push("service.http.anonymous_body_bytes: must be less than service.http.body_bytes".to_owned());
        }
        problems
    }
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// gRPC with mutual TLS, for services and operators.
    Grpc,
    /// gRPC for our agents, which have no certificate of our CA.
    AgentGrpc,
    /// The REST API.
    Rest,
    /// Metrics and health.
    Monitor,
    /// Agents that use Ironic's protocol.
    AgentHttp,
    /// Boot files.
    BootFiles,
    /// Images by digest.
    Images,
}

impl ListenerKind {
    /// Returns the value of the label `listener` of the metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::AgentGrpc => "agents",
            Self::Rest => "rest",
            Self::Monitor => "monitor",
            Self::AgentHttp => "ironic-agents",
            Self::BootFiles => "boot-files",
            Self::Images => "images",
        }
    }

    /// Returns whether the certificate of a peer is one of our CA, and names its identity. Agents present certificates of
    /// their own making, which prove a key and nothing else.
    #[must_use]
    pub const fn has_identities(self) -> bool {
        matches!(self, Self::Grpc)
    }
}

/// Maximum number of connections of the listener for monitoring.
const MAX_MONITOR_CONNECTIONS: usize = 64;
/// Maximum number of HTTP/2 streams of one connection, for peers that are not authenticated by a certificate.
const MAX_STREAMS: u32 = 64;
/// The same for services and operators, which multiplex all calls over one connection.
const MAX_GRPC_STREAMS: u32 = 256;

/// Size of something scarce: of the whole, and of the share of each holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareLimits {
    /// Maximum number of units in all.
    pub total: usize,
    /// The part of `total` that only privileged holders may take.
    pub reserved: usize,
    /// Maximum number of units of one holder.
    pub each: usize,
}

/// Limits of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of connections.
    pub connections: usize,
    /// The part of `connections` that only services and administrators may use.
    pub reserved: usize,
    /// Maximum number of connections from one address.
    pub per_address: usize,
    /// Maximum number of connections from one loopback address.
    pub per_loopback_address: usize,
    /// Maximum number of connections with one certificate.
    pub per_identity: usize,
    /// Maximum number of requests in progress for one identity.
    pub requests_per_identity: usize,
    /// Event streams of the REST API.
    pub event_streams: ShareLimits,
    /// Maximum number of HTTP/2 streams of one connection; 0 if the listener speaks HTTP/1 only.
    pub streams: u32,
    /// Maximum time from a connection to its first complete request head.
    pub head_timeout: Duration,
    /// Maximum time without a request. `None` for channels that services and operators keep open.
    pub idle_timeout: Option<Duration>,
    /// The same for a peer without an identity, where others have one.
    pub stranger_idle_timeout: Duration,
    /// Time in which a body must progress.
    pub body_timeout: Duration,
    /// Time in which a client must take a part of its response.
    pub write_timeout: Duration,
}

impl Limits {
    /// Returns the limits of a listener.
    #[must_use]
    pub fn of(purpose: ListenerKind, settings: &HttpLimits) -> Self {
        let all = settings.connections;
        // Columns: connections, reserved, HTTP/2 streams, whether idle connections end.
        let (connections, reserved, streams, is_idle_closed) = match purpose {
            ListenerKind::Grpc => (all, all / 8, MAX_GRPC_STREAMS, false),
            ListenerKind::Rest => (all, all / 8, MAX_STREAMS, true),
            // The connection is the agent's identity, and lasts as long as its boot.
            ListenerKind::AgentGrpc => (all, 0, MAX_STREAMS, false),
            ListenerKind::AgentHttp | ListenerKind::BootFiles | ListenerKind::Images => (all, 0, 0, true),
            ListenerKind::Monitor => (all.min(MAX_MONITOR_CONNECTIONS), 0, 0, true),
        };
        Self {
            connections,
            reserved,
            per_address: settings.connections_per_address.min(connections),
            per_loopback_address: settings.connections_per_loopback_address.min(connections),
            per_identity: settings.connections_per_identity.min(connections),
            requests_per_identity: settings.requests_per_identity,
            event_streams: ShareLimits {
                total: settings.event_streams,
                reserved: settings.event_streams / 8,
                each: settings.event_streams_per_identity,
            },
            streams,
            head_timeout: settings.head_timeout,
            idle_timeout: is_idle_closed.then_some(settings.idle_timeout),
            stranger_idle_timeout: settings.idle_timeout,
            body_timeout: settings.body_timeout,
            write_timeout: settings.write_timeout,
        }
    }

    /// Returns the limits of a connection whose peer did not prove who it is in the handshake, where others do.
    #[must_use]
    pub fn for_stranger(self) -> Self {
        let idle_timeout = self.idle_timeout.or(Some(self.stranger_idle_timeout));
        Self { idle_timeout, streams: self.streams.min(MAX_STREAMS), ..self }
    }

    /// Returns the maximum number of connections from an address.
    #[must_use]
    pub const fn of_address(&self, address: &AddressKey) -> usize {
        if address.0.is_loopback() { self.per_loopback_address } else { self.per_address }
    }
}

/// Peers that share one allowance: an IPv4 address, or an IPv6 network of 64 bits, of which one host has all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressKey(IpAddr);

impl AddressKey {
    /// Returns the key of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
            address @ (IpAddr::V4(_) | IpAddr::V6(_)) => address,
        })
    }
}

/// How far a peer is trusted with what is scarce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A peer without credentials.
    Stranger,
    /// An authenticated user.
    Ordinary,
    /// A service or an administrator, which has reserved room.
    Privileged,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_has_limits_within_the_settings() {
        let settings = HttpLimits { connections: 800, ..HttpLimits::default() };
        // ListenerKind, connections, reserved, streams, whether an idle connection ends.
        for (purpose, connections, reserved, streams, ends) in [
            (ListenerKind::Grpc, 800, 100, 256, false),
            (ListenerKind::AgentGrpc, 800, 0, 64, false),
            (ListenerKind::Rest, 800, 100, 64, true),
            (ListenerKind::Monitor, 64, 0, 0, true),
            (ListenerKind::AgentHttp, 800, 0, 0, true),
            (ListenerKind::BootFiles, 800, 0, 0, true),
            (ListenerKind::Images, 800, 0, 0, true),
        ] {
            let limits = Limits::of(purpose, &settings);
            assert_eq!((limits.connections, limits.reserved, limits.streams), (connections, reserved, streams));
            assert_eq!(limits.idle_timeout.is_some(), ends, "{purpose:?}");
            // An agent's certificate is of its own making, and may name any identity.
            assert_eq!(purpose.has_identities(), purpose == ListenerKind::Grpc, "{purpose:?}");
            assert!(limits.per_loopback_address <= connections && limits.per_address <= connections, "{purpose:?}");
        }
    }

    #[test]
    fn a_stranger_where_others_have_identities_has_fewer_streams_and_must_not_be_idle() {
        let idle = Some(Duration::from_secs(75));
        // ListenerKind, streams, and how long a connection may be idle.
        for (purpose, streams) in [
            (ListenerKind::Grpc, 64),
            (ListenerKind::AgentGrpc, 64),
            (ListenerKind::Rest, 64),
            (ListenerKind::Monitor, 0),
            (ListenerKind::AgentHttp, 0),
            (ListenerKind::Images, 0),
        ] {
            let limits = Limits::of(purpose, &HttpLimits::default()).for_stranger();
            assert_eq!((limits.streams, limits.idle_timeout), (streams, idle), "{purpose:?}");
        }
    }

    #[test]
    fn hosts_share_an_allowance_by_address_or_by_network() {
        // Two addresses, and whether they share one.
        for (one, other, shared) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("127.0.0.1", "127.0.0.2", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("fe80::1", "fe80::2", true),
            ("::1", "::2", false),
        ] {
            let key = |text: &str| AddressKey::of(text.parse().unwrap());
            assert_eq!(key(one) == key(other), shared, "{one} {other}");
        }
    }

    #[test]
    fn a_loopback_address_has_more_connections() {
        let limits = Limits::of(ListenerKind::Rest, &HttpLimits::default());
        for (address, most) in [
            ("127.0.0.1", 2048),
            ("127.0.0.2", 2048),
            ("::1", 2048),
            ("::ffff:127.0.0.1", 2048),
            ("10.77.0.1", 256),
            ("2001:db8::1", 256),
        ] {
            assert_eq!(limits.of_address(&AddressKey::of(address.parse().unwrap())), most, "{address}");
        }
    }

    #[test]
    fn settings_that_would_refuse_every_client_are_reported() {
        assert_eq!(HttpLimits::default().problems(), Vec::<String>::new());
        let d = HttpLimits::default;
        for (settings, key) in [
            (HttpLimits { connections: 0, ..d() }, "connections:"),
            (HttpLimits { connections_per_address: 0, ..d() }, "connections_per_address:"),
            (HttpLimits { body_bytes: 10, ..d() }, "body_bytes:"),
            (HttpLimits { anonymous_body_bytes: 1 << 30, ..d() }, "anonymous_body_bytes:"),
            (HttpLimits { head_timeout: Duration::ZERO, ..d() }, "head_timeout:"),
            (HttpLimits { write_timeout: Duration::ZERO, ..d() }, "write_timeout:"),
        ] {
            assert!(settings.problems().iter().any(|problem| problem.contains(key)), "{key}");
        }
    }
}
