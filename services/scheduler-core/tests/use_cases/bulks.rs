//! One verb for many nodes.

use domain::{
    bulk::{Bulk, BulkLimits, BulkNode, BulkProgress, BulkState, Count},
    id::NodeId,
    provision::{State, Verb},
    time::Timestamp,
};
use keyspace::{
    Expect, key,
    seal::Place,
    value::{ConfigDrive, Work},
};
use scheduler_testing::{IMAGE, RACK};
use serde_json::json;
use service_kit::clock;
use uuid::Uuid;

use crate::{
    lab::{Lab, internal, until},
    leaves::{Agent, Images},
};

const ID: Uuid = Uuid::from_u128(900);

const fn limits(at_once: u32) -> BulkLimits {
    BulkLimits { at_once, max_failures: 0, canary: 0, pause_after_canary: false }
}

fn bulk(verb: Verb, nodes: &[NodeId], limits: BulkLimits) -> Bulk {
    Bulk {
        verb,
        image: (verb == Verb::Deploy).then_some(IMAGE),
        limits,
        state: BulkState::Running,
        reason: String::new(),
        since: clock::now(),
        ended: None,
        canaries_passed: false,
        forgiven: 0,
        nodes: nodes.iter().map(|node| BulkNode { node: *node, progress: BulkProgress::Waiting }).collect(),
    }
}

impl Lab {
    async fn begin(&self, bulk: &Bulk) {
        let change = self.app().registry.mesh.as_member().unwrap().put(&key::bulk(ID), bulk, Expect::Absent).unwrap();
        self.app().registry.commit(&internal(), change).await.unwrap();
    }

    fn bulk(&self) -> Option<Bulk> {
        self.app().registry.view().get(&key::bulk(ID)).map(|read| read.value)
    }

    fn count(&self) -> Count {
        Count::of(self.bulk().iter().flat_map(|bulk| &bulk.nodes).map(|one| &one.progress))
    }

    /// Waits until a bulk is in a state; its reason.
    async fn bulk_is(&self, state: BulkState) -> String {
        until("the bulk", || format!("{:?}", self.bulk()), || self.bulk().is_some_and(|bulk| bulk.state == state))
            .await;
        self.bulk().unwrap().reason
    }

    async fn bulk_ends(&self) {
        until("its end", || format!("{:?}", self.bulk()), || self.bulk().is_some_and(|bulk| bulk.ended.is_some()))
            .await;
    }

    /// What its operator wants of it, tried again where the leader wrote meanwhile.
    async fn steers(&self, state: BulkState) {
        loop {
            let read = self.app().registry.view().get(&key::bulk(ID)).unwrap();
            match self.app().set_bulk_state(&internal(), ID, &read, state).await {
                Err(error) if error.is_conflict() => {}
                outcome => return outcome.unwrap(),
            }
        }
    }

    fn failed_text(&self, node: NodeId) -> String {
        let bulk = self.bulk().unwrap();
        let progress = bulk.nodes.into_iter().find(|one| one.node == node).unwrap().progress;
        let BulkProgress::Failed { text, .. } = progress else { panic!("{progress:?}") };
        text
    }

    fn in_state(&self, nodes: &[NodeId], state: &str) -> usize {
        nodes.iter().filter(|node| self.state(**node) == state).count()
    }
}

async fn machines(lab: &Lab, many: u128, state: State) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    for number in 1..=many {
        nodes.push(lab.machine(number, state).await);
    }
    nodes
}

#[tokio::test(start_paused = true)]
async fn a_bulk_deploys_all_its_nodes() {
    let lab = Lab::up().await;
    let nodes = machines(&lab, 4, State::Available).await;
    lab.begin(&bulk(Verb::Deploy, &nodes, limits(2))).await;
    lab.bulk_ends().await;
    assert_eq!(lab.bulk_is(BulkState::Done).await, "");
    assert_eq!((lab.count().done, lab.in_state(&nodes, "active")), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_disks_its_agent_cannot_evaluate_fails_in_a_bulk_before_its_deploy() {
    let lab = Lab::up().await;
    let hints = json!({"properties": {"root_device": {"vendor": "ATA"}}});
    let node = lab.machine_with(1, State::Available, hints).await;
    lab.begin(&bulk(Verb::Deploy, &[node], limits(1))).await;
    until("its failure", || format!("{:?}", lab.bulk()), || lab.count().failed == 1).await;
    let text = lab.failed_text(node);
    assert!(text.contains("root_device of the node cannot be used"), "{text}");
    assert_eq!((lab.state(node).as_str(), lab.record(node).operation), ("available", None));
}

#[tokio::test(start_paused = true)]
async fn no_more_nodes_are_under_way_than_its_limit_allows() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let nodes = machines(&lab, 4, State::Available).await;
    lab.begin(&bulk(Verb::Deploy, &nodes, limits(2))).await;
    until("two", || format!("{:?}", lab.bulk()), || lab.in_state(&nodes, "wait call-back") == 2).await;
    until("the count", || format!("{:?}", lab.bulk()), || lab.count().running == 2).await;
    assert_eq!((lab.count().waiting, lab.in_state(&nodes, "available")), (2, 2));
    let first = *nodes.iter().find(|node| lab.state(**node) == "wait call-back").unwrap();
    lab.leaves.finishes(first);
    lab.comes_to(first, "active").await;
    until("the next one", || format!("{:?}", lab.bulk()), || lab.count().done == 1 && lab.count().running == 2).await;
    assert_eq!(lab.count().waiting, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_pauses_a_bulk_until_its_operator_lets_it_go_on() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.images = Images::Fail(domain::failure::Cause::ImageUnreachable));
    let nodes = machines(&lab, 3, State::Available).await;
    lab.begin(&bulk(Verb::Deploy, &nodes, limits(1))).await;
    assert_eq!(lab.bulk_is(BulkState::Paused).await, "1 node failed");
    assert_eq!((lab.count().failed, lab.count().waiting), (1, 2));
    assert!(lab.failed_text(nodes[0]).contains("IMAGE_UNREACHABLE: http://images/disk answered 404"));
    lab.leaves.set(|script| script.images = Images::Cached);
    lab.steers(BulkState::Running).await;
    lab.bulk_ends().await;
    assert_eq!((lab.count().failed, lab.count().done), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn failures_up_to_the_limit_do_not_pause_it() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.images = Images::Fail(domain::failure::Cause::ImageUnreachable));
    let nodes = machines(&lab, 2, State::Available).await;
    lab.begin(&bulk(Verb::Deploy, &nodes, BulkLimits { max_failures: 2, ..limits(1) })).await;
    lab.bulk_ends().await;
    assert_eq!((lab.bulk_is(BulkState::Done).await.as_str(), lab.count().failed), ("", 2));
}

#[tokio::test(start_paused = true)]
async fn the_first_nodes_are_tried_alone_and_the_others_wait_for_an_operator() {
    let lab = Lab::up().await;
    let nodes = machines(&lab, 3, State::Available).await;
    let limits = BulkLimits { canary: 1, pause_after_canary: true, ..limits(3) };
    lab.begin(&bulk(Verb::Deploy, &nodes, limits)).await;
    assert_eq!(lab.bulk_is(BulkState::Paused).await, "the first 1 are done");
    assert_eq!((lab.in_state(&nodes, "active"), lab.in_state(&nodes, "available")), (1, 2));
    lab.steers(BulkState::Running).await;
    lab.bulk_ends().await;
    assert_eq!(lab.in_state(&nodes, "active"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_paused_bulk_asks_no_node_and_a_canceled_one_skips_the_rest() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let nodes = machines(&lab, 3, State::Available).await;
    lab.begin(&bulk(Verb::Deploy, &nodes, limits(1))).await;
    until("the first", || format!("{:?}", lab.bulk()), || lab.count().running == 1).await;
    lab.steers(BulkState::Paused).await;
    assert_ne!(lab.bulk_is(BulkState::Paused).await, "");
    let first = *nodes.iter().find(|node| lab.state(**node) != "available").unwrap();
    until("its boot", || lab.state(first), || lab.state(first) == "wait call-back").await;
    lab.leaves.finishes(first);
    lab.comes_to(first, "active").await;
    assert_eq!(lab.in_state(&nodes, "available"), 2);
    lab.steers(BulkState::Canceled).await;
    lab.bulk_ends().await;
    assert_eq!(lab.bulk().unwrap().state, BulkState::Canceled);
    assert_eq!((lab.count().skipped, lab.count().done, lab.in_state(&nodes, "available")), (2, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_refuses_for_good_fails_with_the_words_of_its_refusal() {
    let lab = Lab::up().await;
    let protected = lab.machine_with(1, State::Active, json!({"protected": true})).await;
    let other = lab.machine(2, State::Active).await;
    lab.begin(&bulk(Verb::Undeploy, &[protected, other], BulkLimits { max_failures: 1, ..limits(2) })).await;
    lab.bulk_ends().await;
    assert!(lab.failed_text(protected).contains("protected"), "{}", lab.failed_text(protected));
    assert_eq!((lab.state(protected).as_str(), lab.state(other).as_str()), ("active", "available"));
}

#[tokio::test(start_paused = true)]
async fn a_concurrent_request_of_another_client_is_distinguished() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    lab.begin(&bulk(Verb::Deploy, &[node], limits(1))).await;
    until("the deploy", || format!("{:?}", lab.bulk()), || lab.count().running == 1).await;
    lab.world.client.set_watch_delivery(keyspace::testing::WatchDelivery::Stalled);
    let operation = key::operation(RACK, node);
    let mut record = lab.record(node).operation.unwrap().value;
    record.id = domain::id::OperationId::new(Uuid::from_u128(5));
    lab.world.write(&operation, &record).unwrap();
    lab.world.client.set_watch_delivery(keyspace::testing::WatchDelivery::Prompt);
    lab.bulk_ends().await;
    assert!(lab.failed_text(node).contains("something else was asked of it"));
}

#[tokio::test(start_paused = true)]
async fn the_config_drive_of_a_bulk_is_sealed_anew_for_each_node_and_forgotten_at_its_end() {
    let lab = Lab::up().await;
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    let files = ConfigDrive::from([("openstack/latest/user_data".to_owned(), b"#cloud-config".to_vec())]);
    let registry = &lab.app().registry;
    let sealed = registry.sealed_drive(&Place::bulk_drive(ID), &files).unwrap();
    let change = registry.mesh.as_member().unwrap().put(&key::bulk_drive(ID), &sealed, Expect::Absent).unwrap();
    registry.commit(&internal(), change).await.unwrap();
    lab.begin(&bulk(Verb::Deploy, &[node], limits(1))).await;
    lab.comes_to(node, "wait call-back").await;
    let Work::Write { config_drive, .. } = lab.leaves.boot_decision(node).unwrap().work else { panic!() };
    let opened = registry.sealer.open_files(&Place::config_drive(RACK, node), &config_drive).unwrap();
    assert_eq!(opened.get("openstack/latest/user_data").map(Vec::as_slice), Some(b"#cloud-config".as_slice()));
    assert!(opened.contains_key("openstack/latest/meta_data.json"));
    lab.leaves.finishes(node);
    lab.bulk_ends().await;
    assert!(!registry.view().has(&key::bulk_drive(ID)));
}

#[tokio::test(start_paused = true)]
async fn a_bulk_that_ended_a_day_ago_is_forgotten() {
    let lab = Lab::up().await;
    let node = lab.fake(1, State::Available).await;
    let ended = Some(Timestamp::from_millis(1));
    lab.begin(&Bulk { state: BulkState::Done, ended, ..bulk(Verb::Deploy, &[node], limits(1)) }).await;
    until("it to be forgotten", || format!("{:?}", lab.bulk()), || lab.bulk().is_none()).await;
    assert_eq!(lab.state(node), "available");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_asked_before_its_scheduler_died_is_not_asked_again() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Manageable).await;
    // Its verb makes no operation: that the request is known is all that tells that it was made.
    lab.begin(&bulk(Verb::Provide, &[node], limits(1))).await;
    scheduler_core::spawn_loops(lab.app());
    lab.bulk_ends().await;
    assert_eq!((lab.count().done, lab.state(node).as_str()), (1, "available"));
    lab.ask(node, Verb::Manage).await.unwrap();
    let begun = bulk(Verb::Provide, &[node], limits(1));
    lab.world.write(&key::bulk(ID), &begun).unwrap();
    lab.sees_everything().await;
    lab.bulk_ends().await;
    assert_eq!((lab.count().done, lab.state(node).as_str()), (1, "manageable"));
}
