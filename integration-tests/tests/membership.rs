//! Membership, rings and claims: real members in one process, with a real etcd.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use domain::{
    id::{NodeId, RackId},
    service::Service,
    time::Timestamp,
};
use integration_tests::etcd::Etcd;
use integration_tests::fault::tell;
use keyspace::{
    Change, Error, Expect, View, key,
    key::Scope,
    value::{self, Broken},
};
use mesh::{Claim, DataDirLock, Endpoints, HostShare, JournalWriter, MemberConfig, Mesh, SafetyParams, WorkGuard};
use service_kit::Host;
use tokio::time::Instant;
use uuid::Uuid;

/// Maximum time until an expected state is observed.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Waits for a state, with a limit.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, waiting).await.with_context(|| format!("waited in vain for {what}"))
}

struct Member {
    mesh: Mesh,
    host: Host,
}

async fn member(etcd: &Etcd, folder: &Path, rack: RackId) -> Result<Member> {
    let (store, view, host) = (etcd.store().await?, View::default(), Host::default());
    let scope = Scope::Rack(rack);
    let (followed, inner) = (view.clone(), store.clone());
    let prefixes = key::followed(scope, Service::Power);
    host.spawn(async move { followed.follow(inner, prefixes, None, std::future::pending()).await });
    let setting = MemberConfig {
        service: Service::Power,
        scope,
        endpoints: Endpoints { endpoint: folder.display().to_string(), ..Endpoints::default() },
        safety: SafetyParams::default(),
        sealer: None,
        share: HostShare::default(),
    };
    let mesh = Mesh::new(setting, store, view);
    host.spawn(mesh.clone().live(host.clone(), DataDirLock::take(folder)?));
    mesh.wait_until_joined().await;
    Ok(Member { mesh, host })
}

/// A first member, which owns everything.
async fn alone() -> Result<(tempfile::TempDir, Etcd, RackId, Member)> {
    let folder = tempfile::tempdir()?;
    let etcd = Etcd::start(folder.path()).await?;
    let rack = RackId::new(Uuid::from_u128(7));
    let first = member(&etcd, &folder.path().join("first"), rack).await?;
    until("the first to own everything", || nodes().all(|node| first.mesh.owns(node))).await?;
    Ok((folder, etcd, rack, first))
}

fn nodes() -> impl Iterator<Item = NodeId> {
    (1..=100).map(|number| NodeId::new(Uuid::from_u128(number)))
}

#[tokio::test]
async fn two_members_share_nodes_and_one_that_stops_hands_over_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let etcd = Etcd::start(folder.path()).await?;
    let rack = RackId::new(Uuid::from_u128(7));
    let first = member(&etcd, &folder.path().join("first"), rack).await?;
    let second = member(&etcd, &folder.path().join("second"), rack).await?;
    let owned = |member: &Member| nodes().filter(|node| member.mesh.owns(*node)).count();
    until("each node to have one owner", || {
        let both = nodes().filter(|node| first.mesh.owns(*node) && second.mesh.owns(*node)).count();
        owned(&first) + owned(&second) == 100 && both == 0 && owned(&second) > 20
    })
    .await?;
    let node = nodes().find(|node| second.mesh.owns(*node)).context("a node of the second")?;
    let refused = first.mesh.begin_work(node).err().context("the first is not the owner")?;
    assert!(matches!(&refused, mesh::Error::NotOwner { endpoint, .. } if endpoint.ends_with("second")), "{refused}");
    let guard = second.mesh.begin_work(node)?;
    let claim = second.mesh.claim(&guard).await?;
    assert_eq!(second.mesh.claim(&guard).await?.token(), claim.token(), "a claim is kept");
    second.host.stop();
    guard.lost().await;
    assert!(!first.mesh.owns(node) || first.mesh.begin_work(node).is_ok());
    drop(guard);
    until("the first to own everything", || owned(&first) == 100).await?;
    let guard = first.mesh.begin_work(node)?;
    let taken = async {
        loop {
            match first.mesh.claim(&guard).await {
                Ok(claim) => return claim,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    // Neither a lease nor W is waited for: the second one acknowledged.
    let later = tokio::time::timeout(Duration::from_secs(3), taken).await.context("the claim did not pass on")?;
    assert!(later.token() > claim.token());
    let late = second.mesh.fenced(&claim).put(&key::power(rack, node), &seen(&claim), Expect::Absent)?;
    let written = second.mesh.store().commit(late).await;
    assert!(matches!(written, Err(Error::Conflict)), "the predecessor's writes are fenced: {written:?}");
    first.host.stop();
    Ok(())
}

#[tokio::test]
async fn journals_of_many_nodes_are_committed_together_and_a_refused_one_fails_alone() -> Result<()> {
    let (_folder, _etcd, rack, first) = alone().await?;
    let guards: Vec<WorkGuard> = nodes().take(20).map(|node| first.mesh.begin_work(node)).collect::<Result<_, _>>()?;
    let claims = futures::future::try_join_all(guards.iter().map(|guard| first.mesh.claim(guard))).await?;
    let mut ledgers =
        futures::future::try_join_all(claims.iter().map(|claim| JournalWriter::read(&first.mesh, *claim))).await?;
    futures::future::try_join_all(ledgers.iter_mut().map(JournalWriter::write)).await?;
    let keys: Vec<_> =
        claims.iter().map(|claim| key::journal(Scope::Rack(rack), Service::Power, claim.node())).collect();
    let mut revisions = BTreeSet::new();
    for key in &keys {
        revisions.insert(first.mesh.store().get(key).await?.context("no journal")?.revision);
    }
    ensure!(revisions.len() < keys.len() / 4, "{} transactions for {} journals", revisions.len(), keys.len());

    let broken = claims.first().context("no claims")?.node();
    let claim = key::claim(Scope::Rack(rack), Service::Power, broken);
    first.mesh.store().commit(Change::new().clear(&claim)).await?;
    let outcomes = futures::future::join_all(ledgers.iter_mut().map(JournalWriter::write)).await;
    for (claim, outcome) in claims.iter().zip(outcomes) {
        let is_refused = matches!(outcome, Err(mesh::Error::Store(Error::Conflict)));
        ensure!(is_refused == (claim.node() == broken), "{}: {outcome:?}", claim.node());
        ensure!(is_refused || outcome.is_ok(), "{}: {outcome:?}", claim.node());
    }
    first.host.stop();
    Ok(())
}

/// The claim of a node, once its last holder has released it.
async fn claimed(member: &Member, guard: &WorkGuard) -> Result<Claim> {
    let taken = async {
        loop {
            match member.mesh.claim(guard).await {
                Ok(claim) => return claim,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, taken).await.context("the claim did not pass on")
}

#[tokio::test]
async fn a_member_that_keeps_lost_nodes_loses_its_lease_and_its_nodes_are_taken_over() -> Result<()> {
    let (folder, etcd, rack, first) = alone().await?;
    // Work that hangs: it has a guard for every node, and never checks it.
    let hung: Vec<WorkGuard> = nodes().map(|node| first.mesh.begin_work(node)).collect::<Result<_, _>>()?;
    let before = first.mesh.instance().context("no instance")?;
    let claims: Vec<Claim> = futures::future::try_join_all(hung.iter().map(|guard| first.mesh.claim(guard))).await?;
    let second = member(&etcd, &folder.path().join("second"), rack).await?;
    until("the second to own a node", || nodes().any(|node| second.mesh.owns(node))).await?;
    let node = nodes().find(|node| second.mesh.owns(*node)).context("a node of the second")?;
    let guard = second.mesh.begin_work(node)?;
    let refused = second.mesh.claim(&guard).await;
    ensure!(matches!(refused, Err(mesh::Error::HandingOver { .. })), "the first has not let go: {refused:?}");
    let claim = claimed(&second, &guard).await?;
    let old = claims.iter().find(|claim| claim.node() == node).context("it was claimed before")?;
    assert!(claim.token() > old.token());
    let late = first.mesh.fenced(old).put(&key::power(rack, node), &seen(old), Expect::Absent)?;
    let written = first.mesh.store().commit(late).await;
    assert!(matches!(written, Err(Error::Conflict)), "who lost its lease writes nothing: {written:?}");
    assert_eq!(first.mesh.instance(), None, "it has no instance while its work hangs");
    drop(hung);
    until("the first to have another instance", || first.mesh.instance().is_some_and(|now| now != before)).await?;
    for member in [first, second] {
        member.host.stop();
    }
    Ok(())
}

/// Claims the nodes of a member until it is stopped.
async fn works(mesh: Mesh) {
    loop {
        for node in nodes() {
            if let Ok(guard) = mesh.begin_work(node) {
                // A member that may not claim now tries again.
                drop(mesh.claim(&guard).await);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_were_all_cut_off_from_the_store_regain_their_nodes_by_one_takeover_each() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut etcd = Etcd::start(folder.path()).await?;
    let rack = RackId::new(Uuid::from_u128(7));
    let mut members = vec![];
    for name in ["a", "b", "c"] {
        let member = member(&etcd, &folder.path().join(name), rack).await?;
        member.host.spawn(works(member.mesh.clone()));
        members.push(member);
    }
    let scope = Scope::Rack(rack);
    let view = members.first().context("no member")?.mesh.view().clone();
    // Of each claimed node: its owner, the claim's revision, and the revision of the claim before.
    let held = || -> Vec<(usize, i64, Option<i64>)> {
        let read = nodes().filter_map(|node| {
            let owner = members.iter().position(|member| member.mesh.owns(node))?;
            let claim = view.get(&key::claim(scope, Service::Power, node))?;
            let is_its = members.get(owner)?.mesh.instance() == Some(claim.value.instance);
            is_its.then_some((owner, claim.revision, claim.value.after))
        });
        read.collect()
    };
    let settled = || held().len() == 100 && (0..3).all(|place| held().iter().any(|held| held.0 == place));
    until("all to have a share of the claims", settled).await?;
    let before = held();
    etcd.kill()?;
    until("all to be fenced", || members.iter().all(|member| member.mesh.instance().is_none())).await?;
    etcd.begin().await?;
    until("all claims to be theirs again", settled).await?;
    for ((was, revision, _), (is, _, after)) in before.into_iter().zip(held()) {
        ensure!(is == was, "a node of {was} went to {is}");
        ensure!(after == Some(revision), "a claim passed on more than once");
    }
    for member in members {
        member.host.stop();
    }
    Ok(())
}

#[tokio::test]
async fn a_broken_claim_ends_its_work_and_the_node_is_claimed_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let etcd = Etcd::start(folder.path()).await?;
    let rack = RackId::new(Uuid::from_u128(7));
    let only = member(&etcd, &folder.path().join("only"), rack).await?;
    let node = NodeId::new(Uuid::from_u128(1));
    until("it to own the node", || only.mesh.owns(node)).await?;
    let guard = only.mesh.begin_work(node)?;
    let claim = only.mesh.claim(&guard).await?;
    let key = key::claim(Scope::Rack(rack), Service::Power, node);
    let read = only.mesh.store().get(&key).await?.context("no claim")?;
    let by = Broken { by: "a person".to_owned(), since: Timestamp::from_millis(1) };
    let broken = value::Claim { broken: Some(by), ..read.value };
    only.mesh.store().commit(Change::new().put(&key, &broken, Expect::Revision(read.revision))?).await?;
    tokio::time::timeout(WAIT_TIMEOUT, guard.lost()).await.context("its work goes on")?;
    let written = only.mesh.fenced(&claim).put(&key::power(rack, node), &seen(&claim), Expect::Absent)?;
    assert!(matches!(only.mesh.store().commit(written).await, Err(Error::Conflict)));
    assert!(only.mesh.claim(&guard).await.is_err(), "not while the old work is not ended");
    drop(guard);
    let guard = only.mesh.begin_work(node)?;
    assert!(claimed(&only, &guard).await?.token() > claim.token());
    only.host.stop();
    Ok(())
}

// Ten thousand checks at a time must not delay the members' keep-alives.
#[tokio::test(flavor = "multi_thread")]
async fn a_joining_or_leaving_replica_moves_only_its_share_of_ten_thousand_nodes() -> Result<()> {
    const NODES: usize = 10_000;
    let folder = tempfile::tempdir()?;
    let etcd = Etcd::start(folder.path()).await?;
    let rack = RackId::new(Uuid::from_u128(7));
    let all: Vec<NodeId> = (1..=NODES as u128).map(|number| NodeId::new(Uuid::from_u128(number))).collect();
    let mut members = vec![];
    for name in ["a", "b", "c", "d"] {
        members.push(member(&etcd, &folder.path().join(name), rack).await?);
    }
    let owned = |members: &[Member]| -> Vec<usize> {
        members.iter().map(|member| all.iter().filter(|node| member.mesh.owns(**node)).count()).collect()
    };
    until("four to share all nodes", || {
        owned(&members).iter().sum::<usize>() == NODES && owned(&members).iter().all(|count| *count > 2000)
    })
    .await?;
    // Every node has a worker.
    let mut guards = vec![];
    for member in &members {
        for node in all.iter().filter(|node| member.mesh.owns(**node)) {
            guards.push(member.mesh.begin_work(*node)?);
        }
    }
    ensure!(guards.len() == NODES);
    let lost = |guards: &[WorkGuard]| guards.iter().filter(|guard| guard.is_lost()).count();

    let begun = Instant::now();
    let fifth = member(&etcd, &folder.path().join("e"), rack).await?;
    until("the fifth to have a share", || all.iter().any(|node| fifth.mesh.owns(*node))).await?;
    let share = all.iter().filter(|node| fifth.mesh.owns(**node)).count();
    until("the work on its share to be ended", || lost(&guards) >= share).await?;
    tell(format_args!("the fifth of five has {share} of {NODES} nodes, after {:?}", begun.elapsed()));
    ensure!(share.abs_diff(NODES / 5) < NODES / 20, "{share} is no fifth");
    ensure!(guards.iter().all(|guard| guard.is_lost() == fifth.mesh.owns(guard.node())), "other work was ended");
    guards.retain(|guard| !guard.is_lost());
    let node = *all.iter().find(|node| fifth.mesh.owns(**node)).context("a node of the fifth")?;
    claimed(&fifth, &fifth.mesh.begin_work(node)?).await?;
    tell(format_args!("and claims after {:?}", begun.elapsed()));

    let begun = Instant::now();
    fifth.host.stop();
    until("the four to have all nodes again", || owned(&members).iter().sum::<usize>() == NODES).await?;
    tell(format_args!("it stopped: the others have its nodes after {:?}", begun.elapsed()));
    ensure!(lost(&guards) == 0, "its going ended the work on {} nodes that are not its own", lost(&guards));
    for member in members {
        member.host.stop();
    }
    Ok(())
}

fn seen(claim: &Claim) -> value::PowerSeen {
    value::PowerSeen {
        power: domain::power::Power::On,
        seen_at: Timestamp::default(),
        seen_by: claim.instance(),
        settled: None,
        trouble: None,
    }
}
