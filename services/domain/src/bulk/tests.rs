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
    let nodes = (0..).zip(all).map(|(number, progress)| BulkNode { node: node(number), progress: progress.clone() });
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
    bulk.advance(Timestamp::from_millis(7))
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
    pauses.steer(BulkState::Running);
    assert_eq!(next(&mut pauses), [node(1)]);
}

#[test]
fn too_many_failures_pause_a_bulk_until_it_is_resumed() {
    let mut all = bulk(&[failed(), running(), WAITS], 5, 0);
    assert_eq!((next(&mut all), all.state, all.reason.as_str()), (vec![], BulkState::Paused, "1 node failed"));
    all.steer(BulkState::Running);
    assert_eq!((next(&mut all), all.reason.as_str()), (vec![node(2)], ""));
    let mut canary = bulk(&[failed(), WAITS], 5, 1);
    canary.limits.max_failures = 3;
    assert_eq!((next(&mut canary), canary.reason.as_str()), (vec![], "1 node of the first 1 failed"));
    canary.steer(BulkState::Running);
    assert_eq!(next(&mut canary), [node(1)]);
}

#[test]
fn a_canceled_bulk_starts_no_more_nodes_and_ends_with_the_running_ones() {
    let mut all = bulk(&[running(), WAITS], 5, 0);
    all.steer(BulkState::Canceled);
    assert_eq!((next(&mut all), all.ended), (vec![], None));
    assert_eq!(all.nodes.get(1).map(|one| one.progress.clone()), Some(BulkProgress::Skipped));
    all.nodes[0].progress = done();
    assert_eq!((next(&mut all), all.state, all.ended.is_some()), (vec![], BulkState::Canceled, true));
}

#[test]
fn a_paused_bulk_starts_no_nodes() {
    let mut all = bulk(&[WAITS], 5, 0);
    all.steer(BulkState::Paused);
    assert_eq!((next(&mut all), all.reason.as_str()), (vec![], "paused by a client"));
}
