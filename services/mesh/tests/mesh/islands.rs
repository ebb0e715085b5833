//! A store that cannot be changed.

use keyspace::{
    key,
    testing::{ClusterId, MemoryEtcd, Space},
};
use mesh::{Error, IslandReason};
use tokio::time::sleep;

use crate::harness::{Place, Process, ms, node, until};

fn why(process: &Process) -> Option<IslandReason> {
    process.mesh.island().map(|island| island.why)
}

#[tokio::test(start_paused = true)]
async fn a_process_is_an_island_until_it_has_joined() {
    let etcd = MemoryEtcd::new();
    let process = Process::start(&etcd, &Place::new(1));
    assert_eq!(why(&process), Some(IslandReason::Away));
    process.mesh.wait_until_joined().await;
    assert_eq!(why(&process), None);
}

#[tokio::test(start_paused = true)]
async fn an_island_refuses_work_and_says_since_when() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    etcd.stop();
    until("the island", || process.mesh.island().is_some()).await;
    let since = process.mesh.island().unwrap().since;
    sleep(ms(20_000)).await;
    let refused = process.mesh.begin_work(node(1)).unwrap_err();
    assert!(matches!(&refused, Error::Island { since: told, .. } if *told == since), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_rack_whose_store_comes_back_continues_by_itself() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    etcd.stop();
    sleep(ms(60_000)).await;
    assert_eq!(why(&process), Some(IslandReason::Away));
    etcd.start();
    until("changes to be possible", || process.mesh.island().is_none() && process.mesh.begin_work(node(1)).is_ok())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_an_island_until_it_has_space() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    etcd.set_space(Space::Exhausted);
    let guard = process.begin(node(1));
    let refused = process.mesh.claim(&guard).await.unwrap_err();
    assert!(matches!(refused, Error::Island { why: IslandReason::Full, .. }), "{refused}");
    sleep(ms(10_000)).await;
    assert_eq!(why(&process), Some(IslandReason::Full));
    assert!(process.mesh.instance().is_some(), "its lease is kept all the same");
    etcd.set_space(Space::Free);
    until("changes to be possible", || why(&process).is_none()).await;
    process.claims(node(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_restored_backup_ends_every_membership_and_no_process_joins_it() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let id = process.id();
    let backup = etcd.backup();
    for number in 1..=10 {
        process.claims(node(number)).await;
    }
    let guard = process.begin(node(1));
    etcd.restore(&backup, ClusterId::Same);
    until("the membership to end", || process.mesh.instance() != Some(id)).await;
    assert!(matches!(why(&process), Some(IslandReason::RestoredBackup(_))), "{:?}", why(&process));
    assert!(guard.is_lost());
    drop(guard);
    sleep(ms(30_000)).await;
    assert_eq!(process.mesh.instance(), None);
}

#[tokio::test(start_paused = true)]
async fn another_process_learns_from_the_store_that_it_is_a_restored_backup() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let backup = etcd.backup();
    process.claims(node(1)).await;
    etcd.restore(&backup, ClusterId::Same);
    until("the mark", || {
        etcd.pair(key::incarnation().path())
            .is_some_and(|pair| String::from_utf8_lossy(&pair.value).contains("restored"))
    })
    .await;
    let other = Process::start(&etcd, &Place::new(2));
    sleep(ms(10_000)).await;
    assert!(matches!(why(&other), Some(IslandReason::RestoredBackup(_))));
    assert_eq!(other.mesh.instance(), None);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_an_adopted_backup_are_greater_than_all_before() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let backup = etcd.backup();
    let before = process.claims(node(1)).await;
    etcd.restore(&backup, ClusterId::Same);
    until("the island", || matches!(why(&process), Some(IslandReason::RestoredBackup(_)))).await;
    etcd.client().store().adopt(domain::generation::Incarnation::default()).await.unwrap();
    let after = process.claims(node(1)).await;
    assert!(after.token() > before.token());
    assert!(after.token().incarnation() > before.token().incarnation());
}

#[test]
fn the_reason_says_what_the_operator_can_do() {
    let backup = keyspace::value::RestoredBackup { known: 9, found: 5 };
    let restored = IslandReason::RestoredBackup(backup).to_string();
    assert!(restored.contains("ironmesh store adopt") && restored.contains('9') && restored.contains('5'));
    assert!(IslandReason::Full.to_string().contains("ironmesh store check"));
    let words = [IslandReason::Away, IslandReason::RestoredBackup(backup), IslandReason::Full].map(IslandReason::word);
    assert_eq!(words, ["STORE_AWAY", "STORE_RESTORED", "STORE_FULL"]);
}
