//! Claims and fenced writes.

use domain::time::Timestamp;
use keyspace::{
    Expect, key,
    testing::{Delivery, MemoryEtcd},
    value::{Broken, Claim},
};
use mesh::{Error, WorkGuard};
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Process, RACK, SCOPE, SERVICE, ms, node, node_of, nodes, pair, power, stored, until};

#[tokio::test(start_paused = true)]
async fn an_owner_claims_a_node_and_the_claim_names_it() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let claim = process.claims(node(1)).await;
    let pair = etcd.pair(key::claim(SCOPE, SERVICE, node(1)).path()).unwrap();
    assert_eq!(claim.token().revision(), pair.revision.unsigned_abs(), "its revision is the token");
    assert_eq!(pair.read::<Claim>().unwrap().value.instance, process.id());
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_kept_from_ring_to_ring() {
    let etcd = MemoryEtcd::new();
    let first = Process::alone(&etcd).await;
    let mut claims = Vec::new();
    for node in nodes() {
        claims.push(first.claims(node).await);
    }
    let second = Process::joined(&etcd, 2).await;
    until("a share of its own", || second.owned() > 0).await;
    for claim in claims.iter().filter(|claim| first.mesh.owns(claim.node())) {
        assert_eq!(first.claims(claim.node()).await.token(), claim.token());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_released_is_claimed_at_once() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let node = node_of(&second);
    let before = second.claims(node).await;
    second.host.stop();
    let asked = Instant::now();
    first.owns_everything().await;
    let after = first.claims(node).await;
    assert!(after.token() > before.token());
    assert!(asked.elapsed() < ms(1500), "no lease and no W is waited for");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_a_killed_holder_is_claimed_only_after_its_lease_and_w() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let (node, member) = (node_of(&second), key::member(SCOPE, SERVICE, second.id()));
    let before = second.claims(node).await;
    drop(second);
    until("its member key to be deleted", || etcd.pair(member.path()).is_none()).await;
    let absent = Instant::now();
    let after = first.claims(node).await;
    assert!(after.token() > before.token());
    assert!(absent.elapsed() >= ms(3500), "claimed after {:?}", absent.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_is_not_claimed_while_its_holder_still_works_on_it() {
    let etcd = MemoryEtcd::new();
    let first = Process::alone(&etcd).await;
    let guards: Vec<WorkGuard> = nodes().map(|node| first.begin(node)).collect();
    for guard in &guards {
        first.mesh.claim(guard).await.unwrap();
    }
    let second = Process::joined(&etcd, 2).await;
    until("a share of its own", || second.owned() > 0).await;
    let node = node_of(&second);
    let guard = second.begin(node);
    sleep(ms(3000)).await;
    assert!(matches!(second.mesh.claim(&guard).await, Err(Error::HandingOver { .. })));
    drop(guards);
    second.claims(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_fenced_write_of_a_lost_claim_is_refused() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let node = node_of(&second);
    let before = second.claims(node).await;
    second.host.stop();
    let after = first.claims(node).await;
    let late = second.mesh.fenced(&before).put(&key::power(RACK, node), &power(&before), Expect::Absent).unwrap();
    assert!(matches!(second.mesh.store().commit(late).await, Err(keyspace::Error::Conflict)));
    let own = first.mesh.fenced(&after).put(&key::power(RACK, node), &power(&after), Expect::Absent).unwrap();
    assert!(first.mesh.commit(own).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_fenced_write_is_refused_once_the_membership_is_gone_although_the_claim_is_there() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let claim = process.claims(node(1)).await;
    etcd.delete(key::member(SCOPE, SERVICE, process.id()).path());
    let late = process.mesh.fenced(&claim).put(&key::power(RACK, node(1)), &power(&claim), Expect::Absent).unwrap();
    assert!(matches!(process.mesh.store().commit(late).await, Err(keyspace::Error::Conflict)));
    assert_eq!(stored(&etcd, &key::claim(SCOPE, SERVICE, node(1))).unwrap().instance, claim.instance());
}

#[tokio::test(start_paused = true)]
async fn a_write_as_member_needs_a_membership() {
    let etcd = MemoryEtcd::new();
    let process = Process::start(&etcd, &crate::harness::Place::new(1));
    assert!(matches!(process.mesh.as_member(), Err(Error::Island { .. })));
    process.mesh.wait_until_joined().await;
    assert!(process.mesh.as_member().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_joined_anew_claims_its_own_nodes_again() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let (id, before) = (process.id(), process.claims(node(1)).await);
    etcd.delete(key::member(SCOPE, SERVICE, id).path());
    until("it to leave", || process.mesh.instance() != Some(id)).await;
    let after = process.claims(node(1)).await;
    assert!(after.token() > before.token() && after.instance() != id);
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_in_the_own_view_when_it_returns() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let claim = process.claims(node(1)).await;
    let key = key::power(RACK, node(1));
    let change = process.mesh.fenced(&claim).put(&key, &power(&claim), Expect::Absent).unwrap();
    let revision = process.mesh.commit(change).await.unwrap();
    assert_eq!(process.mesh.view().get(&key).unwrap().revision, revision);
}

/// An operator breaks a claim.
fn break_claim(etcd: &MemoryEtcd) {
    let key = key::claim(SCOPE, SERVICE, node(1));
    let claim = stored(etcd, &key).unwrap();
    let broken = Claim { broken: Some(Broken { by: "operator".to_owned(), since: Timestamp::default() }), ..claim };
    etcd.put(key.path(), &serde_json::to_vec(&broken).unwrap()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_under_a_broken_claim_ends_and_the_node_is_claimed_again_after_d() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let guard = process.begin(node(1));
    let before = process.mesh.claim(&guard).await.unwrap();
    break_claim(&etcd);
    timeout(ms(1000), guard.lost()).await.unwrap();
    assert!(process.mesh.claim(&guard).await.is_err(), "not by the work that must end");
    drop(guard);
    let ended = Instant::now();
    let after = process.claims(node(1)).await;
    assert!(after.token() > before.token());
    assert!(ended.elapsed() >= ms(500), "claimed after {:?}", ended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_broken_without_a_worker_is_taken_again() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let guard = process.begin(node(1));
    let before = process.mesh.claim(&guard).await.unwrap();
    drop(guard);
    break_claim(&etcd);
    sleep(ms(1000)).await;
    let after = process.claims(node(1)).await;
    assert!(after.token() > before.token());
}

#[tokio::test(start_paused = true)]
async fn work_on_other_nodes_survives_a_broken_claim() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let (one, other) = (process.begin(node(1)), process.begin(node(2)));
    process.mesh.claim(&one).await.unwrap();
    process.mesh.claim(&other).await.unwrap();
    break_claim(&etcd);
    timeout(ms(1000), one.lost()).await.unwrap();
    sleep(ms(1000)).await;
    assert!(!other.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_found_by_the_next_one() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let guard = process.begin(node(1));
    let mut is_first = true;
    process.client.set_plan(move |call| {
        if call.path.contains("/claim/") && std::mem::take(&mut is_first) {
            Delivery::UNANSWERED
        } else {
            Delivery::PROMPT
        }
    });
    assert!(matches!(process.mesh.claim(&guard).await, Err(Error::Store(_))));
    let revision = etcd.pair(key::claim(SCOPE, SERVICE, node(1)).path()).unwrap().revision;
    assert_eq!(process.mesh.claim(&guard).await.unwrap().token().revision(), revision.unsigned_abs());
}
