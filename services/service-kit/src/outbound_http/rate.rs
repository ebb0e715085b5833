//! How often a server is sent requests at the word of users, so that a loop of requests is not passed on to it.
//!
//! A server is a host and port as URLs have them. A user with many names for one address gets the rate once for each name, so
//! that this does not protect a server from a user who wants to flood it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::policy::Purpose;

/// Maximum number of servers that are remembered.
const MAX_SERVERS: usize = 4096;

/// Requests to one server for one purpose.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rate {
    /// Number of requests at once after a pause.
    burst: f64,
    /// Number of requests per second in the long run.
    per_second: f64,
}

impl Rate {
    /// Returns `None` where no user causes single requests: the configuration names the server, or it is a BMC or an agent.
    const fn of(purpose: Purpose) -> Option<Self> {
        match purpose {
            // A cache downloads each file once.
            Purpose::Image | Purpose::BootFile => Some(Self { burst: 64.0, per_second: 4.0 }),
            // One for each deployment, where a fleet of 10,000 is deployed at once, or for each change of a node.
            Purpose::ConfigDrive | Purpose::ChecksumList | Purpose::Webhook => {
                Some(Self { burst: 2048.0, per_second: 200.0 })
            }
            Purpose::Keystone
            | Purpose::Jwks
            | Purpose::Login
            | Purpose::Redfish
            | Purpose::AgentCallback
            | Purpose::StandInCallback => None,
        }
    }
}

/// A token bucket. It may be in debt: each request that waits has taken its token already.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    const fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, at: now }
    }

    /// Adds the tokens of the time that has passed.
    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = rate.burst.min(passed.mul_add(rate.per_second, self.tokens));
        self.at = self.at.max(now);
    }

    /// Takes a token. Returns how long the request must wait.
    fn take(&mut self, rate: Rate, now: Instant) -> Duration {
        self.refill(rate, now);
        self.tokens -= 1.0;
        Duration::try_from_secs_f64(-self.tokens / rate.per_second).unwrap_or_default()
    }

    /// Gives a token back, of a request that is not sent.
    fn give_back(&mut self) {
        self.tokens += 1.0;
    }
}

/// The servers that requests were sent to. Clones share the same table.
#[derive(Debug, Clone, Default)]
pub(super) struct RateTable(Arc<Mutex<HashMap<(Purpose, String), Bucket>>>);

impl RateTable {
    /// Takes the turn of a request to a server, `host:port`. Returns how long it must wait. A request that cannot wait for
    /// longer than `limit` has no turn.
    pub(super) fn take(&self, purpose: Purpose, server: String, limit: Duration, now: Instant) -> Duration {
        let Some(rate) = Rate::of(purpose) else { return Duration::ZERO };
        let mut servers = self.0.lock();
        if servers.len() >= MAX_SERVERS {
            forget(&mut servers, now);
        }
        let bucket = servers.entry((purpose, server)).or_insert_with(|| Bucket::full(rate, now));
        let wait = bucket.take(rate, now);
        if wait > limit {
            bucket.give_back();
        }
        wait
    }
}

/// Forgets the servers that were not sent anything lately, and otherwise those with the most tokens: a server that is being
/// flooded is remembered.
fn forget(servers: &mut HashMap<(Purpose, String), Bucket>, now: Instant) {
    servers.retain(|(purpose, _), bucket| {
        Rate::of(*purpose).is_some_and(|rate| {
            bucket.refill(rate, now);
            bucket.tokens < rate.burst
        })
    });
    if servers.len() >= MAX_SERVERS {
        let mut tokens: Vec<f64> = servers.values().map(|bucket| bucket.tokens).collect();
        tokens.sort_by(f64::total_cmp);
        let middle = tokens.get(tokens.len() / 2).copied().unwrap_or_default();
        servers.retain(|_, bucket| bucket.tokens < middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3.0, per_second: 2.0 };

    #[tokio::test(start_paused = true)]
    async fn a_server_is_sent_a_burst_and_then_a_steady_rate() {
        let begun = Instant::now();
        for (requests, source, waits) in [
            (vec![0, 0, 0], "the burst", vec![0, 0, 0]),
            (vec![0, 0, 0, 0, 0], "each further one waits for its token", vec![0, 0, 0, 500, 1000]),
            (vec![0, 0, 0, 500], "a token has come", vec![0, 0, 0, 0]),
            (vec![0, 0, 0, 250], "half of one", vec![0, 0, 0, 250]),
            (
                vec![0, 0, 0, 60_000, 60_000, 60_000, 60_000],
                "a pause gives the burst, and no more",
                vec![0, 0, 0, 0, 0, 0, 500],
            ),
            (vec![500, 0, 0, 0], "a clock that stands", vec![0, 0, 0, 500]),
        ] {
            let mut bucket = Bucket::full(RATE, begun);
            let found = requests.into_iter().map(|at| bucket.take(RATE, begun + Duration::from_millis(at)).as_millis());
            assert_eq!(found.collect::<Vec<_>>(), waits, "{source}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn servers_and_purposes_have_rates_of_their_own_and_a_refused_request_costs_none() {
        let (table, now, limit) = (RateTable::default(), Instant::now(), Duration::ZERO);
        let server = |name: &str| format!("{name}:443");
        while table.take(Purpose::Image, server("a"), limit, now).is_zero() {}
        for _ in 0..1000 {
            assert_eq!(table.take(Purpose::Image, server("a"), limit, now), Duration::from_millis(250));
        }
        assert!(table.take(Purpose::Image, server("b"), limit, now).is_zero(), "another server");
        assert!(table.take(Purpose::Webhook, server("a"), limit, now).is_zero(), "another purpose");
        for _ in 0..10_000 {
            assert!(
                table.take(Purpose::Keystone, server("a"), limit, now).is_zero(),
                "the server of the configuration"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fleet_whose_nodes_name_one_server_gets_its_turns() {
        let (table, now) = (RateTable::default(), Instant::now());
        for purpose in [Purpose::ConfigDrive, Purpose::ChecksumList] {
            let limit = super::super::limits::Limits::of(purpose).turn;
            for number in 0..10_000 {
                let wait = table.take(purpose, "images:443".to_owned(), limit, now);
                assert!(wait <= limit, "{purpose:?} {number}: {wait:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_remembers_the_server_that_is_flooded() {
        let (table, now, limit) = (RateTable::default(), Instant::now(), Duration::ZERO);
        while table.take(Purpose::Image, "flooded".to_owned(), limit, now).is_zero() {}
        for number in 0..3 * MAX_SERVERS {
            table.take(Purpose::Image, number.to_string(), limit, now);
            assert!(table.0.lock().len() <= MAX_SERVERS);
        }
        assert!(!table.take(Purpose::Image, "flooded".to_owned(), limit, now).is_zero());
    }
}
