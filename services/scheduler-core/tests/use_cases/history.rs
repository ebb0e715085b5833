//! Timelines of nodes: the live entries, the stored history, and the streams of watchers.

use domain::{
    change_index::WatchPosition,
    id::{NodeId, PortId},
    net::MacAddr,
    provision::{State, Verb},
    timeline::Mark,
};
use keyspace::{
    Store, key,
    value::{History, PortSpec},
};
use scheduler_core::{
    boot_history::boots,
    nodes::delete_node,
    ports::{PortFields, create_port},
};
use serde_json::json;

use crate::{
    lab::{Lab, internal, until},
    leaves::Agent,
};

/// The marks of each boot of a node that are in the store.
async fn stored(store: &Store, node: NodeId) -> Vec<Vec<Mark>> {
    let history: Option<History> = store.get_packed(&key::history(node)).await.unwrap().map(|read| read.value);
    let boots = history.map(|history| history.boots).unwrap_or_default();
    boots.into_iter().map(|boot| boot.entries.into_iter().map(|entry| entry.mark).collect()).collect()
}

/// Waits until the store has these marks of the last boot of a node.
async fn keeps(lab: &Lab, node: NodeId, marks: &[Mark]) {
    let store = lab.world.etcd.client().store();
    for _ in 0..2000 {
        if stored(&store, node).await.last().is_some_and(|last| last == marks) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{:?}", stored(&store, node).await);
}

/// A deploy whose machine waits for its agent.
async fn waits(lab: &Lab) -> NodeId {
    lab.leaves.set(|script| script.agent = Agent::Mute);
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "wait call-back").await;
    node
}

async fn hears(lab: &Lab, node: NodeId, mark: Mark) {
    let generation = lab.record(node).life.value.generation;
    lab.leaves.tells(node, generation, mark);
    let heard = || lab.app().live_state.boot(node, generation).iter().any(|entry| entry.mark == mark);
    until("the entry", String::new, heard).await;
}

#[tokio::test(start_paused = true)]
async fn the_timeline_of_a_boot_is_kept_when_its_operation_ends() {
    let lab = Lab::up().await;
    let node = waits(&lab).await;
    hears(&lab, node, Mark::DhcpDiscover).await;
    hears(&lab, node, Mark::DhcpOffer).await;
    assert_eq!(stored(&lab.world.etcd.client().store(), node).await, Vec::<Vec<Mark>>::new());
    let seen = boots(&lab.app().registry, &lab.app().live_state, node).await.unwrap();
    assert_eq!(seen.last().map(|boot| boot.entries.len()), Some(2), "what is not kept yet is shown");
    lab.leaves.finishes(node);
    lab.comes_to(node, "active").await;
    keeps(&lab, node, &[Mark::DhcpDiscover, Mark::DhcpOffer]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_leaf_tells_after_the_end_of_an_operation_is_kept_too() {
    let lab = Lab::up().await;
    let node = waits(&lab).await;
    lab.leaves.finishes(node);
    lab.comes_to(node, "active").await;
    hears(&lab, node, Mark::FirstLife).await;
    keeps(&lab, node, &[Mark::FirstLife]).await;
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_stops_keeps_what_it_has_heard() {
    let lab = Lab::up().await;
    let node = waits(&lab).await;
    hears(&lab, node, Mark::KernelSent).await;
    lab.leaves.finishes(node);
    lab.comes_to(node, "active").await;
    lab.world.app.host.stop();
    keeps(&lab, node, &[Mark::KernelSent]).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_two_streams_tell_is_shown_once() {
    let lab = Lab::up().await;
    let node = waits(&lab).await;
    hears(&lab, node, Mark::AgentHello).await;
    hears(&lab, node, Mark::AgentReport).await;
    let generation = lab.record(node).life.value.generation;
    let marks: Vec<_> = lab.app().live_state.boot(node, generation).into_iter().map(|entry| entry.mark).collect();
    assert_eq!(marks, [Mark::AgentHello, Mark::AgentReport]);
    assert_eq!(lab.events("TIMELINE"), ["agent called", "hardware reported"]);
}

#[tokio::test(start_paused = true)]
async fn of_a_long_download_only_the_last_progress_is_kept() {
    let lab = Lab::up().await;
    let node = waits(&lab).await;
    let generation = lab.record(node).life.value.generation;
    for _ in 0..5 {
        lab.leaves.tells(node, generation, Mark::ImageProgress);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    hears(&lab, node, Mark::ImageWritten).await;
    let marks: Vec<_> = lab.app().live_state.boot(node, generation).into_iter().map(|entry| entry.mark).collect();
    assert_eq!(marks, [Mark::ImageProgress, Mark::ImageWritten]);
    assert_eq!(lab.events("TIMELINE"), ["image written and verified"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_is_forgotten_with_its_timeline() {
    let lab = Lab::up().await;
    let node = waits(&lab).await;
    hears(&lab, node, Mark::DhcpOffer).await;
    lab.app().live_state.forget(node);
    assert!(lab.app().live_state.of(node).boots.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_states_of_a_deploy_are_told_as_events() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Available).await;
    lab.ask(node, Verb::Deploy).await.unwrap();
    lab.comes_to(node, "active").await;
    let told = lab.events("STATE");
    assert_eq!(told.first().map(String::as_str), Some("deploying"), "{told:?}");
    assert!(told.contains(&"wait call-back".to_owned()), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("active"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_is_told_everything_once_and_then_what_changes() {
    let lab = Lab::at_rest().await;
    let (first, second) = (lab.fake(1, State::Manageable).await, lab.fake(2, State::Manageable).await);
    let feed = &lab.app().change_feed;
    let all = feed.since(WatchPosition::Start);
    assert!(all.is_all);
    assert_eq!(all.nodes.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [first, second]);
    lab.ask(second, Verb::Provide).await.unwrap();
    let changed = feed.since(all.at);
    assert!(!changed.is_all);
    assert_eq!(changed.nodes.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [second]);
    // A watcher of another scheduler goes on from the revision that it was told.
    assert_eq!(feed.since(WatchPosition::Revision(all.revision)).nodes.len(), 1);
    delete_node(&internal(), lab.app(), &lab.record(first)).await.unwrap();
    let gone = feed.since(changed.at);
    assert_eq!((gone.nodes.len(), gone.gone), (0, vec![first]));
}

#[tokio::test(start_paused = true)]
async fn a_changed_port_is_told_as_a_change_of_its_node() {
    let lab = Lab::up().await;
    let node = lab.machine(1, State::Manageable).await;
    let before = lab.app().change_feed.since(WatchPosition::Start);
    let fields = PortFields { mac: MacAddr::new([0x52, 0x54, 0, 9, 0, 1]), node, spec: PortSpec::default() };
    create_port(&internal(), lab.app(), PortId::new(uuid::Uuid::from_u128(5)), fields).await.unwrap();
    let changed = lab.app().change_feed.since(before.at);
    assert_eq!(changed.nodes.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [node]);
    assert_eq!(lab.shows(node, "driver"), json!("ipmi"));
}
