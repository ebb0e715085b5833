//! Two schedulers over one store: each change is read through both, and one goes on where the other stopped.

use std::{sync::Arc, time::Duration};

use domain::{
    id::NodeId,
    provision::{State, Verb},
};
use keyspace::testing::WatchDelivery;
use scheduler_core::AppState;
use scheduler_testing::{Setup, World};
use serde_json::json;
use service_kit::status;

use crate::{
    lab::{Lab, internal, limits, safety, scheduler, shows, until},
    leaves::Agent,
};

/// A lab with a second scheduler.
struct Pair {
    lab: Lab,
    second: World,
}

impl Pair {
    async fn up() -> Self {
        let lab = Lab::up().await;
        let (etcd, tls) = (lab.world.etcd.clone(), Some(lab.world.tls.clone()));
        let second = scheduler(Setup { etcd, tls, limits: limits(), safety: safety(), ..Setup::default() }).await;
        scheduler_core::spawn_loops(&second.app);
        let pair = Self { lab, second };
        // The nodes are shared, and each has heard of the other.
        let owned = |app: &AppState| (1..=40_u128).filter(|number| app.registry.mesh.owns(id(*number))).count();
        until("both to own nodes", String::new, || {
            owned(pair.lab.app()) > 0
                && owned(&pair.second.app) > 0
                && owned(pair.lab.app()) + owned(&pair.second.app) == 40
        })
        .await;
        pair
    }

    /// The number of a node that the first scheduler owns.
    fn of_first(&self) -> u128 {
        (1..=40).find(|number| self.lab.app().registry.mesh.owns(id(*number))).unwrap()
    }

    /// A field of a node, as the second scheduler's API shows it.
    fn shows(&self, node: NodeId, field: &str) -> serde_json::Value {
        shows(&self.second.app, node, field)
    }

    /// Waits until the second scheduler shows a node in a state.
    async fn comes_to(&self, node: NodeId, state: &str) {
        until(
            state,
            || self.shows(node, "provision_state").to_string(),
            || self.shows(node, "provision_state") == json!(state),
        )
        .await;
    }

    fn events(&self, kind: &str) -> Vec<String> {
        let (events, _) = self.second.app.live_state.events(1000);
        events.into_iter().filter(|event| event.kind == kind).map(|event| event.text).collect()
    }
}

fn id(number: u128) -> NodeId {
    NodeId::new(uuid::Uuid::from_u128(number))
}

#[tokio::test(start_paused = true)]
async fn a_change_is_read_through_both_schedulers_as_soon_as_it_is_answered() {
    let pair = Pair::up().await;
    let node = pair.lab.fake(1, State::Manageable).await;
    pair.second.sees(pair.lab.world.etcd.revision()).await.unwrap();
    // What the second scheduler sees comes later than the answer would, if that did not wait.
    pair.second.client.set_watch_delivery(WatchDelivery::Delayed(Duration::from_millis(300)));
    for verb in [Verb::Provide, Verb::Manage, Verb::Provide] {
        pair.lab.ask(node, verb).await.unwrap();
        assert_eq!(pair.shows(node, "provision_state"), json!(pair.lab.state(node)), "after {verb}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_scheduler_does_not_see_is_stored_and_says_which_one_that_is() {
    let pair = Pair::up().await;
    let node = pair.lab.fake(pair.of_first(), State::Manageable).await;
    pair.second.client.set_watch_delivery(WatchDelivery::Deaf);
    let error = pair.lab.ask(node, Verb::Provide).await.unwrap_err();
    let text = status::chain(&error);
    assert!(text.contains("ironmesh rack show"), "{text}");
    assert_eq!(pair.lab.state(node), "available");
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_is_cut_off_in_a_deploy_is_succeeded_by_the_other_which_finishes_it() {
    let pair = Pair::up().await;
    pair.lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = pair.lab.machine(pair.of_first(), State::Available).await;
    pair.lab.ask(node, Verb::Deploy).await.unwrap();
    pair.lab.comes_to(node, "wait call-back").await;
    pair.lab.world.client.partition();
    until("the loss to be told", String::new, || !pair.events("LOST").is_empty()).await;
    pair.lab.leaves.finishes(node);
    pair.comes_to(node, "active").await;
    assert!(pair.second.app.registry.mesh.owns(node));
    assert!(
        pair.events("TAKEOVER").iter().any(|text| text.contains("took the scheduler-service part")),
        "{:?}",
        pair.events("TAKEOVER")
    );
    // One operation, from one scheduler to the other.
    let record = pair.second.app.registry.named(&node.to_string()).unwrap();
    assert_eq!(record.operation.map(|read| read.value.failure), Some(None));
    assert_eq!(record.life.value.boots_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_stops_hands_its_nodes_over_first() {
    let pair = Pair::up().await;
    pair.lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = pair.lab.machine(pair.of_first(), State::Available).await;
    pair.lab.ask(node, Verb::Deploy).await.unwrap();
    pair.lab.comes_to(node, "wait call-back").await;
    let before = pair.second.app.registry.named(&node.to_string()).unwrap().life.value.generation;
    pair.lab.leaves.set(|script| script.agent = Agent::Works);
    // Only the scheduler stops: the leaves are served by a host of their own.
    pair.lab.world.app.host.stop();
    until("it to have left", String::new, || !pair.events("LEFT").is_empty()).await;
    assert!(!pair.events("STOPPING").is_empty());
    until("the other to own the node", String::new, || pair.second.app.registry.mesh.owns(node)).await;
    pair.lab.leaves.finishes(node);
    pair.comes_to(node, "active").await;
    let after = pair.second.app.registry.named(&node.to_string()).unwrap().life.value.generation;
    assert_eq!(after, before.next(), "the boot from disk is the only new instruction");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_both_schedulers_get_is_carried_out_once() {
    let pair = Pair::up().await;
    let node = pair.lab.fake(1, State::Manageable).await;
    pair.second.sees(pair.lab.world.etcd.revision()).await.unwrap();
    let (first, second) = (pair.lab.record(node), pair.second.app.registry.named(&node.to_string()).unwrap());
    let provide = |app: Arc<AppState>, record| async move {
        app.registry.accept(&internal(), &record, Verb::Provide, scheduler_core::provision::Provision::default()).await
    };
    let outcome =
        tokio::join!(provide(Arc::clone(pair.lab.app()), first), provide(Arc::clone(&pair.second.app), second));
    let (Ok(()), Err(refused)) = (match outcome {
        (Ok(()), Err(refused)) | (Err(refused), Ok(())) => (Ok::<_, ()>(()), Err::<(), _>(refused)),
        other => panic!("{other:?}"),
    }) else {
        unreachable!()
    };
    assert!(refused.is_conflict(), "{refused:?}");
}
