//! Decides the next actions of a bulk. Pure.

use domain::{id::NodeId, time::Timestamp};
use keyspace::value::{Bulk, BulkProgress, BulkState};

/// Number of nodes by progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Nodes that have not started.
    pub waiting: u32,
    /// Nodes with a running operation.
    pub running: u32,
    /// Nodes that succeeded.
    pub done: u32,
    /// Nodes that failed.
    pub failed: u32,
    /// Nodes that refused the verb.
    pub skipped: u32,
}

impl Count {
    /// Counts the progress of all nodes.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a BulkProgress>) -> Self {
        let mut count = Self::default();
        for progress in all {
            let one = match progress {
                BulkProgress::Waiting => &mut count.waiting,
                BulkProgress::Running { .. } => &mut count.running,
                BulkProgress::Done { .. } => &mut count.done,
                BulkProgress::Failed { .. } => &mut count.failed,
                BulkProgress::Skipped => &mut count.skipped,
            };
            *one = one.saturating_add(1);
        }
        count
    }
}

/// Updates a bulk from the progress of its nodes. Returns the nodes to start.
pub(super) fn plan(bulk: &mut Bulk, now: Timestamp) -> Vec<NodeId> {
    match bulk.state {
        BulkState::Running => {}
        BulkState::Canceled => {
            bulk.nodes.iter_mut().filter(|one| one.progress == BulkProgress::Waiting).for_each(|one| {
                one.progress = BulkProgress::Skipped;
            })
        }
        BulkState::Paused | BulkState::Done => return Vec::new(),
    }
    let count = Count::of(bulk.nodes.iter().map(|one| &one.progress));
    if count.waiting == 0 && count.running == 0 {
        bulk.ended = bulk.ended.or(Some(now));
        if bulk.state == BulkState::Running {
            bulk.state = BulkState::Done;
        }
        return Vec::new();
    }
    if bulk.state == BulkState::Canceled {
        return Vec::new();
    }
    if let Some(reason) = pauses(bulk, count) {
        bulk.state = BulkState::Paused;
        bulk.reason = reason;
        return Vec::new();
    }
    let canaries = size(bulk.limits.canary);
    let may = if in_canaries(bulk) { canaries } else { bulk.nodes.len() };
    let free = size(bulk.limits.at_once.saturating_sub(count.running));
    let waiting = bulk.nodes.iter().take(may).filter(|one| one.progress == BulkProgress::Waiting);
    waiting.take(free).map(|one| one.node).collect()
}

/// Returns whether the canaries have not all succeeded yet.
fn in_canaries(bulk: &Bulk) -> bool {
    let mut canaries = bulk.nodes.iter().take(size(bulk.limits.canary));
    !bulk.canaries_passed && canaries.any(|one| !matches!(one.progress, BulkProgress::Done { .. }))
}

/// Returns the reason to pause, if there is one.
fn pauses(bulk: &Bulk, all: Count) -> Option<String> {
    if all.failed.saturating_sub(bulk.forgiven) > bulk.limits.max_failures {
        return Some(format!("{} failed", of(all.failed)));
    }
    if bulk.canaries_passed || bulk.limits.canary == 0 {
        return None;
    }
    let canaries = Count::of(bulk.nodes.iter().take(size(bulk.limits.canary)).map(|one| &one.progress));
    if canaries.failed > 0 {
        return Some(format!("{} of the first {} failed", of(canaries.failed), bulk.limits.canary));
    }
    let are_done = canaries.waiting == 0 && canaries.running == 0;
    (are_done && bulk.limits.pause_after_canary).then(|| format!("the first {} are done", bulk.limits.canary))
}

fn of(count: u32) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Resumes a bulk. Earlier failures no longer count.
pub(super) fn go_on(bulk: &mut Bulk) {
    let canaries = Count::of(bulk.nodes.iter().take(size(bulk.limits.canary)).map(|one| &one.progress));
    bulk.canaries_passed |= canaries.waiting == 0 && canaries.running == 0 || canaries.failed > 0;
    bulk.forgiven = Count::of(bulk.nodes.iter().map(|one| &one.progress)).failed;
    bulk.state = BulkState::Running;
    bulk.reason.clear();
}

#[cfg(test)]
mod tests {
    use domain::{id::OperationId, provision::Verb};
    use keyspace::value::{BulkLimits, BulkNode};
    use uuid::Uuid;

    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId::new(Uuid::from_u128(number))
    }

    fn running() -> BulkProgress {
        BulkProgress::Running { operation: OperationId::new(Uuid::from_u128(9)) }
    }

    fn done() -> BulkProgress {
        BulkProgress::Done { operation: None }
    }

    fn failed() -> BulkProgress {
        BulkProgress::Failed { operation: None, text: "it burns".to_owned() }
    }

    fn bulk(all: &[BulkProgress], at_once: u32, canary: u32) -> Bulk {
        let nodes =
            (0..).zip(all).map(|(number, progress)| BulkNode { node: node(number), progress: progress.clone() });
        Bulk {
            verb: Verb::Deploy,
            image: None,
            limits: BulkLimits { at_once, max_failures: 0, canary, pause_after_canary: false },
            state: BulkState::Running,
            reason: String::new(),
            since: Timestamp::default(),
            ended: None,
            canaries_passed: false,
            forgiven: 0,
            nodes: nodes.collect(),
        }
    }

    fn next(bulk: &mut Bulk) -> Vec<NodeId> {
        plan(bulk, Timestamp::from_millis(7))
    }

    const WAITS: BulkProgress = BulkProgress::Waiting;

    #[test]
    fn as_many_are_asked_as_may_be_at_it_at_once() {
        assert_eq!(next(&mut bulk(&[WAITS, WAITS, WAITS], 2, 0)), [node(0), node(1)]);
        assert_eq!(next(&mut bulk(&[running(), WAITS, WAITS], 2, 0)), [node(1)]);
        assert_eq!(next(&mut bulk(&[done(), running(), running(), WAITS], 2, 0)), []);
    }

    #[test]
    fn it_is_done_when_every_node_has_ended() {
        let mut all = bulk(&[done(), done()], 2, 0);
        assert_eq!(next(&mut all), []);
        assert_eq!((all.state, all.ended), (BulkState::Done, Some(Timestamp::from_millis(7))));
    }

    #[test]
    fn the_others_wait_for_the_canaries() {
        assert_eq!(next(&mut bulk(&[WAITS, WAITS, WAITS], 5, 1)), [node(0)]);
        assert_eq!(next(&mut bulk(&[running(), WAITS, WAITS], 5, 1)), []);
        assert_eq!(next(&mut bulk(&[done(), WAITS, WAITS], 5, 1)), [node(1), node(2)]);
        let mut pauses = bulk(&[done(), WAITS], 5, 1);
        pauses.limits.pause_after_canary = true;
        assert_eq!((next(&mut pauses), pauses.state), (vec![], BulkState::Paused));
        go_on(&mut pauses);
        assert_eq!(next(&mut pauses), [node(1)]);
    }

    #[test]
    fn too_many_failures_pause_a_bulk_until_it_is_resumed() {
        let mut all = bulk(&[failed(), running(), WAITS], 5, 0);
        assert_eq!((next(&mut all), all.state, all.reason.as_str()), (vec![], BulkState::Paused, "1 node failed"));
        go_on(&mut all);
        assert_eq!((next(&mut all), all.reason.as_str()), (vec![node(2)], ""));
        let mut canary = bulk(&[failed(), WAITS], 5, 1);
        canary.limits.max_failures = 3;
        assert_eq!((next(&mut canary), canary.reason.as_str()), (vec![], "1 node of the first 1 failed"));
        go_on(&mut canary);
        assert_eq!(next(&mut canary), [node(1)]);
    }

    #[test]
    fn a_canceled_bulk_starts_no_more_nodes_and_ends_with_the_running_ones() {
        let mut all = bulk(&[running(), WAITS], 5, 0);
        all.state = BulkState::Canceled;
        assert_eq!((next(&mut all), all.ended), (vec![], None));
        assert_eq!(all.nodes.get(1).map(|one| one.progress.clone()), Some(BulkProgress::Skipped));
        all.nodes[0].progress = done();
        assert_eq!((next(&mut all), all.state, all.ended.is_some()), (vec![], BulkState::Canceled, true));
    }

    #[test]
    fn a_paused_bulk_starts_no_nodes() {
        let mut all = bulk(&[WAITS], 5, 0);
        all.state = BulkState::Paused;
        assert_eq!(next(&mut all), []);
    }
}
