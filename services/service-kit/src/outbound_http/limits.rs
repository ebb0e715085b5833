//! Limits of requests by their purpose.

use std::time::Duration;

use super::policy::Purpose;

/// How long a deployment of a fleet waits for its turn: 10,000 nodes pass the rate of a server within 40 s.
const FLEET_TURN: Duration = Duration::from_secs(50);

/// Limits of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Maximum time to connect, TLS included.
    pub(super) connect: Duration,
    /// Maximum time that a request waits for its turn, redirects included. It is not counted in the other times.
    pub(super) turn: Duration,
    /// Maximum time from the request to the header of its response.
    pub(super) header: Duration,
    /// Maximum time of the whole exchange.
    pub(super) total: Option<Duration>,
    /// A body has at least `min_bytes` in each window.
    pub(super) window: Duration,
    pub(super) min_bytes: u64,
    /// Maximum size of a body, in bytes.
    pub(super) max_bytes: u64,
    /// Maximum number of redirects that are followed.
    pub(super) redirects: usize,
}

impl Limits {
    pub(super) fn of(purpose: Purpose) -> Self {
        let large = Self {
            connect: Duration::from_secs(10),
            turn: Duration::from_secs(30),
            header: Duration::from_secs(30),
            total: None,
            window: Duration::from_secs(30),
            min_bytes: 16 << 10,
            max_bytes: 1 << 30,
            redirects: 5,
        };
        let small =
            |seconds, max_bytes| Self { total: Some(Duration::from_secs(seconds)), max_bytes, redirects: 0, ..large };
        match purpose {
            Purpose::Image => Self { max_bytes: 256 << 30, ..large },
            Purpose::BootFile => large,
            // The deployments of a fleet wait for a server that all of them name.
            Purpose::ConfigDrive => Self { redirects: 5, turn: FLEET_TURN, ..small(10, 512 << 10) },
            Purpose::ChecksumList => Self { redirects: 5, turn: FLEET_TURN, ..small(10, 1 << 20) },
            Purpose::Webhook => small(10, 64 << 10),
            // Shorter than the timeout of an authentication, so that the request that asks a server that hangs can pass the
            // failure to the requests that wait for the same answer.
            Purpose::Keystone | Purpose::Jwks => small(4, 1 << 20),
            Purpose::Login => small(15, 1 << 20),
            Purpose::Redfish | Purpose::AgentCallback | Purpose::StandInCallback => small(60, 4 << 20),
        }
    }
}
