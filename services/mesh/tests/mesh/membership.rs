//! Joining, staying, being fenced, leaving.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::time::Timestamp;
use keyspace::{
    key,
    seal::{KeyFile, KeyState, Purpose, RackNames, Sealer},
    testing::{CallKind, Delivery, MemoryEtcd},
};
use mesh::IslandReason;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use crate::harness::{Place, Process, SCOPE, SERVICE, ms, node, pair, ring, stored, until};

#[tokio::test(start_paused = true)]
async fn a_process_that_joins_has_a_member_key_under_its_lease() {
    let etcd = MemoryEtcd::new();
    let process = Process::joined(&etcd, 5).await;
    let key = key::member(SCOPE, SERVICE, process.id());
    let member = stored(&etcd, &key).unwrap();
    assert_eq!((member.endpoint.as_str(), member.stopping), ("process-5", false));
    assert_eq!(member.slot.unwrap().uuid().as_u128(), 5);
    assert!(etcd.lease_of(key.path()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_member_says_which_sealing_keys_it_uses_and_stays_the_same_member_when_they_change() {
    let (etcd, folder) = (MemoryEtcd::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("sealing.keys");
    let mut root = KeyFile::for_tests();
    let save = |root: &KeyFile| root.for_service(SERVICE, "r1").unwrap().save(&path).unwrap();
    save(&root);
    let sealer = Sealer::from_file(&path, SERVICE, "r1", RackNames::Known(BTreeMap::new())).unwrap();
    let process = Process::start_with_keys(&etcd, &Place::new(5), |safety| safety, Some(sealer.clone()));
    process.mesh.wait_until_joined().await;
    let (id, key) = (process.id(), key::member(SCOPE, SERVICE, process.id()));
    let keys = || stored(&etcd, &key).unwrap().sealing_keys;
    assert_eq!(keys(), BTreeMap::from([("test-bmc".to_owned(), KeyState::Active)]));
    let next = root.add_next(Purpose::Bmc, None, Timestamp::default()).unwrap();
    save(&root);
    assert!(sealer.reload().unwrap());
    until("the next key to be published", || keys().get(&next) == Some(&KeyState::Next)).await;
    root.activate(&next).unwrap();
    save(&root);
    assert!(sealer.reload().unwrap());
    until("its activation to be published", || keys().get(&next) == Some(&KeyState::Active)).await;
    assert_eq!((process.mesh.instance(), keys().get("test-bmc")), (Some(id), Some(&KeyState::Old)));
    assert!(etcd.lease_of(key.path()).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_kept_for_as_long_as_the_process_runs() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let id = process.id();
    sleep(ms(120_000)).await;
    assert_eq!(process.mesh.instance(), Some(id));
    assert!(etcd.pair(key::member(SCOPE, SERVICE, id).path()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_cut_off_stops_before_its_lease_expires() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let (id, member) = (process.id(), key::member(SCOPE, SERVICE, process.id()));
    process.client.partition();
    sleep(ms(1900)).await;
    assert!(process.mesh.island().is_none(), "F has not passed since the last keep-alive was sent");
    until("it to be fenced", || process.mesh.island().is_some()).await;
    assert!(etcd.pair(member.path()).is_some(), "its lease has not expired");
    assert!(matches!(process.mesh.island().unwrap().why, IslandReason::Away));
    until("its membership to end", || process.mesh.instance() != Some(id)).await;
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_that_is_not_answered_is_repeated_at_once() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let (id, lost) = (process.id(), Arc::new(Mutex::new(0)));
    let count = Arc::clone(&lost);
    process.client.set_plan(move |call| {
        let mut lost = count.lock();
        if call.kind == CallKind::KeepAlive && *lost < 2 {
            *lost += 1;
            return Delivery::UNANSWERED;
        }
        Delivery::PROMPT
    });
    sleep(ms(10_000)).await;
    assert_eq!((*lost.lock(), process.mesh.instance()), (2, Some(id)));
    assert!(process.mesh.island().is_none());
}

#[tokio::test(start_paused = true)]
async fn work_is_canceled_when_the_process_is_fenced() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let guard = process.begin(node(1));
    assert!(!guard.is_lost());
    process.client.partition();
    timeout(ms(4000), guard.lost()).await.unwrap();
    assert!(process.mesh.begin_work(node(1)).is_err(), "and none begins");
}

#[tokio::test(start_paused = true)]
async fn a_fenced_process_joins_as_a_new_instance_only_when_its_work_has_ended() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let (id, guard) = (process.id(), process.begin(node(1)));
    etcd.delete(key::member(SCOPE, SERVICE, id).path());
    timeout(ms(1000), guard.lost()).await.unwrap();
    sleep(ms(20_000)).await;
    assert_eq!(process.mesh.instance(), None, "work is left");
    drop(guard);
    process.mesh.wait_until_joined().await;
    assert_ne!(process.id(), id);
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_lease_is_revoked_learns_of_it_and_joins_anew() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let id = process.id();
    let lease = etcd.lease_of(key::member(SCOPE, SERVICE, id).path()).unwrap();
    etcd.revoke(lease);
    until("it to be another instance", || process.mesh.instance().is_some_and(|now| now != id)).await;
    process.owns_everything().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_lease_is_noticed_by_the_keep_alive_where_the_watch_is_silent() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let id = process.id();
    process.client.set_watch_delivery(keyspace::testing::WatchDelivery::Deaf);
    etcd.revoke(etcd.lease_of(key::member(SCOPE, SERVICE, id).path()).unwrap());
    until("its membership to end", || process.mesh.instance() != Some(id)).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_join_whose_answer_was_lost_leaves_no_second_member() {
    let etcd = MemoryEtcd::new();
    let process = Process::start(&etcd, &Place::new(1));
    let mut is_first = true;
    process.client.set_plan(move |call| {
        if call.kind == CallKind::Write && std::mem::take(&mut is_first) {
            return Delivery::UNANSWERED;
        }
        Delivery::PROMPT
    });
    process.mesh.wait_until_joined().await;
    let prefix = key::members(SCOPE, SERVICE);
    let members = etcd.pairs().iter().filter(|pair| pair.path.starts_with(prefix.path())).count();
    assert_eq!(members, 1);
}

#[tokio::test(start_paused = true)]
async fn an_instance_id_is_never_used_twice() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        assert!(seen.insert(process.id()));
        etcd.delete(key::member(SCOPE, SERVICE, process.id()).path());
        until("it to leave", || process.mesh.instance().is_none_or(|id| !seen.contains(&id))).await;
        process.mesh.wait_until_joined().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopping_process_hands_over_and_revokes_its_lease() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let id = second.id();
    second.host.stop();
    until("it to end", || second.has_ended()).await;
    assert!(etcd.pair(key::member(SCOPE, SERVICE, id).path()).is_none());
    first.owns_everything().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_process_says_so_and_is_dropped_from_the_members() {
    let etcd = MemoryEtcd::new();
    let (_first, second) = pair(&etcd).await;
    let node = crate::harness::node_of(&second);
    let (id, guard) = (second.id(), second.begin(node));
    second.host.stop();
    until("the ring without it", || ring(&etcd).is_some_and(|ring| ring.ring.leaving.contains(&id))).await;
    assert!(stored(&etcd, &key::member(SCOPE, SERVICE, id)).unwrap().stopping);
    assert!(guard.is_lost() && !second.has_ended(), "it waits for its work");
    drop(guard);
    until("it to end", || second.has_ended()).await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_process_whose_work_hangs_ends_after_a_while_all_the_same() {
    let etcd = MemoryEtcd::new();
    let (_first, second) = pair(&etcd).await;
    let _hung = second.begin(crate::harness::node_of(&second));
    second.host.stop();
    sleep(ms(5000)).await;
    assert!(!second.has_ended());
    until("it to end", || second.has_ended()).await;
}
