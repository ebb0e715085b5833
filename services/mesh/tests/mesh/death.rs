//! Proofs of death.

use keyspace::{key, testing::MemoryEtcd};
use mesh::{Group, publish_death};
use tokio::time::{Instant, sleep};

use crate::harness::{Place, Process, SCOPE, SERVICE, ms, node, node_of, pair, ring, stored, until};

const GROUP: Group = Group { scope: SCOPE, service: SERVICE };

#[tokio::test(start_paused = true)]
async fn a_successor_in_the_data_directory_has_its_nodes_at_once() {
    let etcd = MemoryEtcd::new();
    let first = Process::alone(&etcd).await;
    let before = first.claims(node(1)).await;
    let place = Place { slot: 1, last: Some(first.id()), provable: true };
    drop(first);
    let died = Instant::now();
    let second = Process::start(&etcd, &place);
    let after = second.claims(node(1)).await;
    assert!(after.token() > before.token());
    assert!(died.elapsed() < ms(2000), "neither the lease nor W was waited for: {:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_successor_whose_kernel_proves_nothing_waits() {
    let etcd = MemoryEtcd::new();
    let first = Process::alone(&etcd).await;
    first.claims(node(1)).await;
    let place = Place { slot: 1, last: Some(first.id()), provable: false };
    drop(first);
    let died = Instant::now();
    let second = Process::start(&etcd, &place);
    second.claims(node(1)).await;
    assert!(died.elapsed() > ms(6000), "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_proof_and_the_successors_membership_are_one_transaction() {
    let etcd = MemoryEtcd::new();
    let first = Process::alone(&etcd).await;
    let before = first.id();
    let place = Place { slot: 1, last: Some(before), provable: true };
    drop(first);
    let second = Process::start(&etcd, &place);
    second.mesh.wait_until_joined().await;
    let paths = [
        key::dead(SCOPE, SERVICE, before).path().to_owned(),
        key::member(SCOPE, SERVICE, second.id()).path().to_owned(),
    ];
    let history = etcd.history();
    let revision =
        history.iter().find(|entry| entry.events.iter().any(|event| paths.contains(&event.path().to_owned())));
    let written: Vec<_> = revision.unwrap().events.iter().map(keyspace::store::Event::path).collect();
    assert!(paths.iter().all(|path| written.contains(&path.as_str())), "{written:?}");
    assert!(etcd.pair(key::member(SCOPE, SERVICE, before).path()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_successor_in_the_same_slot_gets_the_same_nodes() {
    let etcd = MemoryEtcd::new();
    let (_first, second) = pair(&etcd).await;
    let (node, count) = (node_of(&second), second.owned());
    let place = Place { slot: 2, last: Some(second.id()), provable: true };
    drop(second);
    let third = Process::start(&etcd, &place);
    until("its share", || third.owned() == count).await;
    assert!(third.mesh.owns(node));
}

#[tokio::test(start_paused = true)]
async fn a_death_that_a_parent_publishes_hands_over_at_once() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let (id, node) = (second.id(), node_of(&second));
    second.claims(node).await;
    drop(second);
    let store = etcd.client().store();
    publish_death(&store, GROUP, id, "reaped by a test").await.unwrap();
    assert_eq!(stored(&etcd, &key::dead(SCOPE, SERVICE, id)).unwrap().by, "reaped by a test");
    let died = Instant::now();
    first.claims(node).await;
    assert!(died.elapsed() < ms(2000), "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_death_is_published_once_and_repeating_it_is_no_error() {
    let etcd = MemoryEtcd::new();
    let (_first, second) = pair(&etcd).await;
    let (id, store) = (second.id(), etcd.client().store());
    drop(second);
    publish_death(&store, GROUP, id, "one").await.unwrap();
    publish_death(&store, GROUP, id, "other").await.unwrap();
    assert_eq!(stored(&etcd, &key::dead(SCOPE, SERVICE, id)).unwrap().by, "one");
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_leader_frees_the_leadership() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let (id, store) = (first.id(), etcd.client().store());
    assert!(first.mesh.leads());
    drop(first);
    publish_death(&store, GROUP, id, "reaped by a test").await.unwrap();
    let died = Instant::now();
    until("the other to lead", || second.mesh.leads()).await;
    assert!(died.elapsed() < ms(1000));
}

#[tokio::test(start_paused = true)]
async fn a_proof_is_deleted_when_nothing_names_the_dead_any_more() {
    let etcd = MemoryEtcd::new();
    let (_first, second) = pair(&etcd).await;
    let (id, store) = (second.id(), etcd.client().store());
    until("its acknowledgment", || etcd.pair(key::ack(SCOPE, SERVICE, id).path()).is_some()).await;
    drop(second);
    publish_death(&store, GROUP, id, "reaped by a test").await.unwrap();
    until("it to leave the ring", || !ring(&etcd).unwrap().ring.names(id)).await;
    sleep(ms(5000)).await;
    assert!(etcd.pair(key::dead(SCOPE, SERVICE, id).path()).is_none());
}
