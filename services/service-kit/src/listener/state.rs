//! What is known of one connection, and the decision whether it may stay.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{limits::Limits, metrics::Reason, table::Evictable};

/// Number of bytes that a client must take in each [`Limits::write_timeout`].
const MIN_WRITE_PROGRESS: u64 = 16 << 10;

/// How a connection ends before its client ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// At once.
    Abort(Reason),
    /// After the responses in progress.
    Graceful(Reason),
}

/// Progress of one connection, written by its tasks without locks.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// Reference point of all times of the listener.
    epoch: Instant,
    opened: Instant,
    requests: AtomicU32,
    had_request: AtomicBool,
    /// Milliseconds after `epoch`.
    idle_since: AtomicU64,
    /// Bytes that the operating system accepted.
    written: AtomicU64,
    /// Whether the operating system accepts no bytes now.
    write_blocked: AtomicBool,
    /// Response bodies whose last chunk waits for the client. An HTTP/2 client can withhold its window from a stream.
    ///
    /// Such a stream does not end its connection alone: progress is counted for the whole connection, and one that takes
    /// 16 KiB of any of its streams in each [`Limits::write_timeout`] stays. A connection none of whose streams makes
    /// progress ends as a whole, by design: what it holds in memory is bounded by its streams together, and a client whose
    /// stream were reset would open the next one and withhold its window again.
    bodies_waiting: AtomicU32,
    /// Set by another task that wants the connection to end; the value is an index of [`EVICTIONS`].
    evicted: AtomicU8,
    wake: Notify,
}

/// Reasons for which another task ends a connection; 0 stands for none.
const EVICTIONS: [Reason; 4] =
    [Reason::Connections, Reason::AddressConnections, Reason::IdentityConnections, Reason::FileDescriptors];

impl ConnectionState {
    pub(super) fn new(epoch: Instant) -> Self {
        let state = Self {
            epoch,
            opened: Instant::now(),
            requests: AtomicU32::new(0),
            had_request: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            written: AtomicU64::new(0),
            write_blocked: AtomicBool::new(false),
            bodies_waiting: AtomicU32::new(0),
            evicted: AtomicU8::new(0),
            wake: Notify::new(),
        };
        state.idle_since.store(state.now(), Ordering::Relaxed);
        state
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn request_started(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.had_request.store(true, Ordering::Relaxed);
    }

    pub(super) fn request_ended(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.write_blocked.store(false, Ordering::Relaxed);
    }

    pub(super) fn write_is_blocked(&self) {
        self.write_blocked.store(true, Ordering::Relaxed);
    }

    pub(super) fn body_waits(&self, waits: bool) {
        if waits {
            self.bodies_waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.bodies_waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Asks the task of the connection to end it.
    pub(super) fn evict(&self, reason: Reason) {
        let index = EVICTIONS.iter().position(|known| *known == reason).unwrap_or(0);
        self.evicted.store(u8::try_from(index + 1).unwrap_or(1), Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Resolves when the connection was asked to end. Cancel safe.
    pub(super) async fn evicted(&self) -> Reason {
        loop {
            if let Some(reason) = self.evicted.load(Ordering::Relaxed).checked_sub(1) {
                return EVICTIONS.get(usize::from(reason)).copied().unwrap_or(Reason::Connections);
            }
            self.wake.notified().await;
        }
    }

    pub(super) fn observe(&self) -> Observation {
        let is_idle = self.requests.load(Ordering::Relaxed) == 0;
        // The end of a response may be in a buffer still when its request has ended.
        let is_blocked = self.write_blocked.load(Ordering::Relaxed);
        let idle_ms = self.now().saturating_sub(self.idle_since.load(Ordering::Relaxed));
        Observation {
            age: self.opened.elapsed(),
            had_request: self.had_request.load(Ordering::Relaxed),
            idle: (is_idle && !is_blocked).then(|| Duration::from_millis(idle_ms)),
            written: self.written.load(Ordering::Relaxed),
            is_waiting: is_blocked || self.bodies_waiting.load(Ordering::Relaxed) > 0,
        }
    }
}

impl Evictable for std::sync::Arc<ConnectionState> {
    fn idle_since(&self) -> Option<u64> {
        let is_idle = self.requests.load(Ordering::Relaxed) == 0 && !self.write_blocked.load(Ordering::Relaxed);
        is_idle.then(|| self.idle_since.load(Ordering::Relaxed))
    }
}

/// A connection at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Observation {
    /// Time since it was accepted.
    pub(super) age: Duration,
    /// Whether a whole request head was received.
    pub(super) had_request: bool,
    /// Time without a request; `None` if one is in progress.
    pub(super) idle: Option<Duration>,
    /// Bytes written in all.
    pub(super) written: u64,
    /// Whether something is ready for the client, and it takes nothing.
    pub(super) is_waiting: bool,
}

/// Decides at regular times whether a connection may stay.
#[derive(Debug)]
pub(super) struct Watchdog {
    limits: Limits,
    /// The last time at which writing was checked: its age, the bytes written, whether the client was waited for.
    last: (Duration, u64, bool),
}

impl Watchdog {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, last: (Duration::ZERO, 0, false) }
    }

    /// Returns how the connection ends, or after which time to check it again.
    pub(super) fn check(&mut self, seen: &Observation) -> Result<Duration, Ending> {
        let Limits { head_timeout, idle_timeout, write_timeout, .. } = self.limits;
        if !seen.had_request {
            let left = head_timeout.saturating_sub(seen.age);
            // A request may begin meanwhile, and then the other limits apply.
            let next = left.min(write_timeout).min(idle_timeout.unwrap_or(left));
            return if left.is_zero() { Err(Ending::Abort(Reason::HeadTimeout)) } else { Ok(next) };
        }
        let (last_age, last_written, was_waiting) = self.last;
        let since = seen.age.saturating_sub(last_age);
        if since >= write_timeout {
            let is_stalled =
                was_waiting && seen.is_waiting && seen.written.saturating_sub(last_written) < MIN_WRITE_PROGRESS;
            if is_stalled {
                return Err(Ending::Abort(Reason::WriteTimeout));
            }
            self.last = (seen.age, seen.written, seen.is_waiting);
        }
        let next_write = write_timeout.saturating_sub(seen.age.saturating_sub(self.last.0));
        let (Some(most), Some(idle)) = (idle_timeout, seen.idle) else { return Ok(next_write) };
        let left = most.saturating_sub(idle);
        if left.is_zero() { Err(Ending::Graceful(Reason::IdleTimeout)) } else { Ok(left.min(next_write)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::limits::{HttpLimits, ListenerKind};

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn seen(age: u64, had_request: bool, idle: Option<u64>, written: u64, is_waiting: bool) -> Observation {
        Observation { age: seconds(age), had_request, idle: idle.map(seconds), written, is_waiting }
    }

    #[test]
    fn a_connection_ends_when_it_makes_no_progress() {
        let idle = Ending::Graceful(Reason::IdleTimeout);
        let (head, write) = (Ending::Abort(Reason::HeadTimeout), Ending::Abort(Reason::WriteTimeout));
        // What is seen of a connection in turn, and how the last check ends. Times in seconds.
        let cases: [(&str, Vec<Observation>, Result<u64, Ending>); 10] = [
            ("an unfinished head", vec![seen(14, false, Some(14), 0, false)], Ok(1)),
            ("an unfinished head", vec![seen(15, false, Some(15), 0, false)], Err(head)),
            ("a request in progress", vec![seen(300, true, None, 0, false)], Ok(20)),
            ("an idle connection", vec![seen(100, true, Some(74), 0, false)], Ok(1)),
            ("an idle connection", vec![seen(100, true, Some(75), 0, false)], Err(idle)),
            (
                "a client that takes nothing",
                vec![seen(20, true, None, 500, true), seen(40, true, None, 500, true)],
                Err(write),
            ),
            (
                "a client that takes too little",
                vec![seen(20, true, None, 500, true), seen(40, true, None, 16_883, true)],
                Err(write),
            ),
            ("a slow client", vec![seen(20, true, None, 500, true), seen(40, true, None, 16_884, true)], Ok(20)),
            (
                "a client that took all, and was given more",
                vec![seen(20, true, None, 500, false), seen(40, true, None, 500, true)],
                Ok(20),
            ),
            ("a stream of rare events", vec![seen(20, true, None, 5, false), seen(40, true, None, 5, false)], Ok(20)),
        ];
        for (what, observations, expected) in cases {
            let mut watchdog = Watchdog::new(Limits::of(ListenerKind::Rest, &HttpLimits::default()));
            let outcomes: Vec<_> = observations.iter().map(|seen| watchdog.check(seen)).collect();
            assert_eq!(outcomes.last().copied(), Some(expected.map(seconds)), "{what}: {observations:?}");
        }
    }

    #[test]
    fn a_channel_of_a_service_may_be_idle() {
        let mut watchdog = Watchdog::new(Limits::of(ListenerKind::Grpc, &HttpLimits::default()));
        assert_eq!(watchdog.check(&seen(9000, true, Some(8000), 0, false)), Ok(seconds(20)));
    }

    #[tokio::test]
    async fn a_connection_is_not_idle_while_the_end_of_a_response_waits_for_the_client() {
        let state = std::sync::Arc::new(ConnectionState::new(Instant::now()));
        assert!(state.idle_since().is_some());
        state.request_started();
        assert!(state.idle_since().is_none() && state.observe().idle.is_none());
        state.write_is_blocked();
        state.request_ended();
        assert!(state.idle_since().is_none() && state.observe().idle.is_none() && state.observe().is_waiting);
        state.wrote(10);
        assert!(state.idle_since().is_some() && state.observe().idle.is_some() && !state.observe().is_waiting);
    }

    #[tokio::test]
    async fn a_connection_learns_why_it_is_evicted() {
        for reason in EVICTIONS {
            let state = ConnectionState::new(Instant::now());
            state.evict(reason);
            assert_eq!(state.evicted().await, reason);
        }
    }
}
