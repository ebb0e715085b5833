//! Elections, rings, acknowledgments, eviction.

use domain::id::InstanceId;
use keyspace::{
    key,
    testing::{MemoryEtcd, WatchDelivery},
};
use mesh::Error;
use tokio::time::sleep;
use uuid::Uuid;

use crate::harness::{Process, SCOPE, SERVICE, ms, node_of, nodes, pair, ring, stored, until};

#[tokio::test(start_paused = true)]
async fn the_only_member_leads_and_owns_every_node() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    assert!(process.mesh.leads());
    assert_eq!(stored(&etcd, &key::election(SCOPE, SERVICE)).unwrap().instance, process.id());
    assert!(nodes().all(|node| process.mesh.rank(node) == Some(0)));
}

#[tokio::test(start_paused = true)]
async fn two_members_share_the_nodes_and_one_of_them_leads() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    assert!(first.mesh.leads() && !second.mesh.leads());
    assert!(nodes().all(|node| first.mesh.owns(node) != second.mesh.owns(node)));
    assert!(first.owned() > 5 && second.owned() > 5);
}

#[tokio::test(start_paused = true)]
async fn the_ring_names_the_slots_of_its_members() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let slots = ring(&etcd).unwrap().ring.slots;
    assert_eq!(slots[&first.id()].uuid().as_u128(), 1);
    assert_eq!(slots[&second.id()].uuid().as_u128(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_ring_has_the_weights_of_its_members_and_those_without_one_have_a_full_share() {
    let etcd = MemoryEtcd::new();
    let first = Process::joined(&etcd, 1).await;
    let id = |number| InstanceId::new(Uuid::from_u128(number));
    for (instance, more) in [(id(2), ""), (id(3), r#", "weight_percent": 300"#)] {
        let member = format!(r#"{{"endpoint": "a:1", "weight": 1, "since": "2026-01-01T00:00:00Z"{more}}}"#);
        etcd.put(key::member(SCOPE, SERVICE, instance).path(), member.as_bytes()).unwrap();
    }
    until("a ring of three", || ring(&etcd).is_some_and(|ring| ring.ring.members.len() == 3)).await;
    let members = ring(&etcd).unwrap().ring.members;
    assert_eq!([first.id(), id(2), id(3)].map(|instance| members[&instance]), [100, 100, 300]);
}

#[tokio::test(start_paused = true)]
async fn every_member_acknowledges_the_ring() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let epoch = etcd.pair(key::ring(SCOPE, SERVICE).path()).unwrap().revision;
    for id in [first.id(), second.id()] {
        until("the acknowledgment", || {
            stored(&etcd, &key::ack(SCOPE, SERVICE, id)).is_some_and(|ack| ack.epoch == epoch)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_ring_is_acknowledged_only_when_the_work_on_lost_nodes_has_ended() {
    let etcd = MemoryEtcd::new();
    let first = Process::alone(&etcd).await;
    let guards: Vec<_> = nodes().map(|node| first.begin(node)).collect();
    let second = Process::joined(&etcd, 2).await;
    until("a share of its own", || second.owned() > 0).await;
    let epoch = etcd.pair(key::ring(SCOPE, SERVICE).path()).unwrap().revision;
    let acknowledged = || stored(&etcd, &key::ack(SCOPE, SERVICE, first.id())).is_some_and(|ack| ack.epoch >= epoch);
    sleep(ms(2000)).await;
    assert!(!acknowledged());
    let kept: Vec<_> = guards.into_iter().filter(|guard| !guard.is_lost()).collect();
    assert_eq!(kept.len(), first.owned(), "work on its own nodes continues");
    until("the acknowledgment", acknowledged).await;
    assert!(kept.iter().all(|guard| !guard.is_lost()));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_release_its_nodes_is_evicted() {
    let etcd = MemoryEtcd::new();
    let first = Process::alone(&etcd).await;
    let hung: Vec<_> = nodes().map(|node| first.begin(node)).collect();
    let id = first.id();
    let second = Process::joined(&etcd, 2).await;
    until("a share of its own", || second.owned() > 0).await;
    sleep(ms(4500)).await;
    assert!(etcd.pair(key::member(SCOPE, SERVICE, id).path()).is_some());
    until("the eviction", || etcd.pair(key::member(SCOPE, SERVICE, id).path()).is_none()).await;
    assert!(hung.iter().all(mesh::WorkGuard::is_lost));
    second.owns_everything().await;
}

#[tokio::test(start_paused = true)]
async fn another_member_leads_when_the_leader_was_killed() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let id = first.id();
    drop(first);
    second.owns_everything().await;
    assert!(second.mesh.leads());
    until("the dead one to be dropped from the ring", || !ring(&etcd).unwrap().ring.names(id)).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_vanished_is_leaving_until_it_has_been_absent_for_w() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let id = second.id();
    drop(second);
    etcd.revoke(etcd.lease_of(key::member(SCOPE, SERVICE, id).path()).unwrap());
    until("the ring without it", || ring(&etcd).unwrap().ring.leaving.contains(&id)).await;
    sleep(ms(3000)).await;
    assert!(ring(&etcd).unwrap().ring.leaving.contains(&id), "W has not passed");
    until("it to be dropped", || !ring(&etcd).unwrap().ring.names(id)).await;
    assert!(first.mesh.leads());
}

#[tokio::test(start_paused = true)]
async fn acknowledgments_of_instances_that_nothing_names_are_deleted() {
    let etcd = MemoryEtcd::new();
    let (_first, second) = pair(&etcd).await;
    let ack = key::ack(SCOPE, SERVICE, second.id());
    until("its acknowledgment", || etcd.pair(ack.path()).is_some()).await;
    second.host.stop();
    until("it to end", || second.has_ended()).await;
    until("its acknowledgment to be deleted", || etcd.pair(ack.path()).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn the_acknowledgment_of_an_instance_that_a_claim_names_is_kept() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let node = node_of(&second);
    second.claims(node).await;
    let ack = key::ack(SCOPE, SERVICE, second.id());
    until("its acknowledgment", || etcd.pair(ack.path()).is_some()).await;
    second.host.stop();
    until("it to end", || second.has_ended()).await;
    sleep(ms(10_000)).await;
    assert!(etcd.pair(ack.path()).is_some());
    first.claims(node).await;
    until("its acknowledgment to be deleted", || etcd.pair(ack.path()).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_does_not_lead_any_more() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    assert!(first.mesh.leads());
    first.client.partition();
    sleep(ms(3100)).await;
    assert!(!first.mesh.leads(), "before its lease expires");
    until("the other to lead", || second.mesh.leads()).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_for_anothers_node_names_the_owner() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let refused = first.mesh.begin_work(node_of(&second)).unwrap_err();
    assert!(
        matches!(&refused, Error::NotOwner { instance, endpoint, .. }
            if *instance == second.id() && endpoint == "process-2"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_watch_stalls_keeps_the_ring_that_it_knows() {
    let etcd = MemoryEtcd::new();
    let first = Process::alone(&etcd).await;
    first.client.set_watch_delivery(WatchDelivery::Stalled);
    let guard = first.begin(nodes().next().unwrap());
    let _second = Process::joined(&etcd, 2).await;
    sleep(ms(500)).await;
    assert!(!guard.is_lost());
    first.client.heal();
    until("it to see the other", || first.owned() < nodes().count()).await;
}
