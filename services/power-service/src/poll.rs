//! Polls the power of owned idle nodes, so that changes made outside Ironmesh are noticed.
//!
//! [`PollSchedule`] decides which nodes are due; [`poll`] reads them. A poll only reads from the BMC; it writes to the
//! store only if something changed.

use std::{
    collections::{HashMap, HashSet},
    ops::Add,
    time::Duration,
};

use domain::id::NodeId;
use futures::{StreamExt as _, stream::FuturesUnordered};
use service_kit::Host;
use tokio::time::{Instant, sleep};

use crate::{metrics, work::Work};

/// Maximum number of concurrent polls. An unreachable BMC occupies one until its retries are exhausted.
const MAX_CONCURRENT_POLLS: usize = 64;
/// How often the schedule is evaluated.
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(1);
/// Consecutive failures after which a BMC is reported as silent: a single datagram may be lost.
const FAILURES_BEFORE_SILENT: u32 = 3;
/// Factor on the poll interval after a BMC refused the request for good. A rejected login is not repeated at all
/// ([`Work::idle_nodes`]).
const REFUSED_BACKOFF: u32 = 10;

/// Result of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PowerPoll {
    /// The BMC answered.
    Answered,
    /// The BMC did not answer, or may answer later.
    Silent,
    /// The BMC refused the request for good.
    Refused,
}

impl PowerPoll {
    /// Returns the value of the metric's label.
    const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Silent => "silent",
            Self::Refused => "refused",
        }
    }
}

/// Decides when each node is polled. `T` is any clock reading.
#[derive(Debug)]
pub(crate) struct PollSchedule<T> {
    interval: Duration,
    nodes: HashMap<NodeId, PollState<T>>,
}

#[derive(Debug)]
struct PollState<T> {
    /// When the node is due; `None` while a poll is running.
    due: Option<T>,
    failures: u32,
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> PollSchedule<T> {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, nodes: HashMap::new() }
    }

    /// Returns at most `most` of `nodes` that are due and marks them as running. Forgets nodes that are not in `nodes`.
    /// The first poll of a new node is spread over the first interval, to avoid bursts.
    pub(crate) fn due(&mut self, now: T, nodes: &[NodeId], most: usize) -> Vec<NodeId> {
        let named: HashSet<_> = nodes.iter().collect();
        self.nodes.retain(|node, state| state.due.is_none() || named.contains(node));
        for node in nodes {
            let first = || PollState { due: Some(now + self.interval.mul_f64(phase(*node))), failures: 0 };
            self.nodes.entry(*node).or_insert_with(first);
        }
        let due =
            nodes.iter().filter(|node| self.nodes.get(node).and_then(|state| state.due).is_some_and(|due| due <= now));
        let due: Vec<_> = due.take(most).copied().collect();
        for node in &due {
            if let Some(state) = self.nodes.get_mut(node) {
                state.due = None;
            }
        }
        due
    }

    /// Records the result of a poll. Returns whether the BMC is to be reported as unusable.
    pub(crate) fn record(&mut self, now: T, node: NodeId, result: PowerPoll) -> bool {
        let Some(state) = self.nodes.get_mut(&node) else { return false };
        let (rest, report) = match result {
            PowerPoll::Answered => {
                state.failures = 0;
                (self.interval, false)
            }
            PowerPoll::Silent => {
                state.failures += 1;
                (self.interval, state.failures == FAILURES_BEFORE_SILENT)
            }
            PowerPoll::Refused => {
                state.failures = FAILURES_BEFORE_SILENT;
                (self.interval * REFUSED_BACKOFF, true)
            }
        };
        state.due = Some(now + rest);
        report
    }
}

/// Returns a number in [0, 1) derived from the node's id.
fn phase(node: NodeId) -> f64 {
    let (high, low) = node.uuid().as_u64_pair();
    let [octet, ..] = (high ^ low).to_le_bytes();
    f64::from(octet) / 256.0
}

/// Polls until the host stops.
pub(crate) async fn poll(work: Work, interval: Duration, host: Host) {
    let mut schedule = PollSchedule::new(interval);
    let mut polls = FuturesUnordered::new();
    loop {
        let free = MAX_CONCURRENT_POLLS.saturating_sub(polls.len());
        for node in schedule.due(Instant::now(), &work.idle_nodes(), free) {
            let work = &work;
            polls.push(async move { (node, work.poll_power(node).await) });
        }
        tokio::select! {
            () = host.stopping() => return,
            () = sleep(SCHEDULE_INTERVAL.min(interval)) => {}
            Some((node, result)) = polls.next() => {
                let poll = match &result {
                    Ok(()) => PowerPoll::Answered,
                    Err(error) if error.verdict().may_pass() => PowerPoll::Silent,
                    Err(_) => PowerPoll::Refused,
                };
                metrics::power_poll(poll.label());
                if let (true, Err(error)) = (schedule.record(Instant::now(), node, poll), result) {
                    work.record_trouble(node, &error).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const POLL_INTERVAL: Duration = Duration::from_secs(60);

    fn nodes(count: u64) -> Vec<NodeId> {
        (0..count).map(|n| NodeId::new(Uuid::from_u64_pair(0, n))).collect()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_round_is_spread_and_every_node_comes_once_in_it() {
        let (mut schedule, nodes) = (PollSchedule::new(POLL_INTERVAL), nodes(256));
        let mut seen = Vec::new();
        for second in 0..=60 {
            let due = schedule.due(at(second), &nodes, 1000);
            assert!(due.len() <= 10, "{} at once", due.len());
            seen.extend(due);
        }
        seen.sort_unstable();
        assert_eq!(seen, nodes);
    }

    #[test]
    fn a_node_is_looked_at_again_after_the_interval_and_never_twice_at_once() {
        let (mut schedule, nodes) = (PollSchedule::new(POLL_INTERVAL), nodes(1));
        let due = |schedule: &mut PollSchedule<Duration>, second| schedule.due(at(second), &nodes, 1).len();
        due(&mut schedule, 0);
        assert_eq!(due(&mut schedule, 200), 0, "still running");
        schedule.record(at(200), nodes[0], PowerPoll::Answered);
        assert_eq!((due(&mut schedule, 259), due(&mut schedule, 260)), (0, 1));
    }

    #[test]
    fn a_bmc_counts_as_silent_after_three_looks_in_vain_and_once() {
        let (mut schedule, nodes) = (PollSchedule::new(POLL_INTERVAL), nodes(1));
        schedule.due(at(0), &nodes, 1);
        let news: Vec<_> = (0..5).map(|n| schedule.record(at(n), nodes[0], PowerPoll::Silent)).collect();
        assert_eq!(news, [false, false, true, false, false]);
        assert!(!schedule.record(at(9), nodes[0], PowerPoll::Answered));
        assert!(!schedule.record(at(9), nodes[0], PowerPoll::Silent), "counting starts again");
    }

    #[test]
    fn a_bmc_that_refused_us_is_left_alone_for_longer() {
        let (mut schedule, nodes) = (PollSchedule::new(POLL_INTERVAL), nodes(1));
        schedule.due(at(0), &nodes, 1);
        assert!(schedule.record(at(0), nodes[0], PowerPoll::Refused));
        assert!(schedule.due(at(599), &nodes, 1).is_empty());
        assert_eq!(schedule.due(at(600), &nodes, 1), nodes);
    }

    #[test]
    fn what_is_owned_no_longer_is_forgotten_and_no_more_are_due_than_there_is_room_for() {
        let (mut schedule, nodes) = (PollSchedule::new(POLL_INTERVAL), nodes(10));
        schedule.due(at(0), &nodes, 0);
        assert_eq!(schedule.due(at(60), &nodes, 3).len(), 3);
        schedule.due(at(60), &[], 3);
        assert_eq!(schedule.nodes.len(), 3, "the running ones");
    }
}
