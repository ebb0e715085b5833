//! An etcd of three members loses one, or loses a lease: no operation fails, and ownership does not move.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::id::InstanceId;
use domain::service::Service;
use integration_tests::cluster::Blow;
use integration_tests::fault::{judge, owner, tell};
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT, image};
use integration_tests::machine::Spec;
use integration_tests::mesh::{Api, Options};
use integration_tests::rack::wait;
use integration_tests::record::{Recorder, Write};
use keyspace::key::{self, Scope};
use keyspace::value::{Claim, StoredRing};
use tokio::time::Instant;

/// Maximum total duration of all nodes.
const ACTIVE: Duration = Duration::from_secs(120);
/// Number of machines in a rack.
const MACHINES: usize = 3;

fn pairs() -> Options {
    let limits = ["scheduler.boot=20s", "scheduler.agent=30s", "scheduler.boots=5"];
    Options { replicas: 2, schedulers: 2, set: limits.map(str::to_owned).into(), ..Options::default() }
}

/// The member that is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    Follower,
    Leader,
}

/// Changes of ownership.
#[derive(Debug, PartialEq, Eq)]
struct Moves {
    /// Instances that were in a ring and no longer are.
    left: usize,
    /// Claims that were taken over, and the largest number of takeovers of one node.
    claims: usize,
    most: usize,
}

fn moves(writes: &[Write], before: &[Write]) -> Moves {
    let mut rings: BTreeMap<String, StoredRing> = BTreeMap::new();
    let mut holders: BTreeMap<String, InstanceId> = BTreeMap::new();
    let (mut left, mut passed) = (0, BTreeMap::<String, usize>::new());
    for (is_news, write) in before.iter().map(|write| (false, write)).chain(writes.iter().map(|write| (true, write))) {
        if write.path.ends_with("/ring")
            && let Some(ring) = write.read::<StoredRing>()
        {
            let was = rings.insert(write.path.clone(), ring.clone());
            let gone =
                |was: StoredRing| was.ring.members.keys().filter(|was| !ring.ring.members.contains_key(was)).count();
            left += was.filter(|_| is_news).map_or(0, gone);
        }
        if write.path.contains("/claim/")
            && let Some(claim) = write.read::<Claim>()
        {
            let was = holders.insert(write.path.clone(), claim.instance);
            if is_news && was.is_some_and(|was| was != claim.instance) {
                *passed.entry(write.path.clone()).or_default() += 1;
            }
        }
    }
    Moves { left, claims: passed.len(), most: passed.values().copied().max().unwrap_or(0) }
}

async fn deploy(api: &mut Api, lab: &Lab) -> Result<()> {
    for machine in lab.rack().machines() {
        api.ask(&machine.name, "deploy", IMAGE).await?;
    }
    lab.machine("n1")?.says("script from", WAIT_TIMEOUT).await
}

/// Deploys, hits a member on the way, and waits for all nodes. Returns the changes of ownership.
fn loses(tag: &str, whom: Whom, blow: Blow) -> Result<Moves> {
    let lab = Lab::up_over_cluster(tag, &vec![Spec::default(); MACHINES], pairs())?;
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        lab.make_available(&mut api).await?;
        deploy(&mut api, lab).await?;
        let cluster = lab.cluster()?;
        let victim = match whom {
            Whom::Follower => cluster.follower()?,
            Whom::Leader => cluster.leader()?,
        };
        let (from, begun) = (recorder.len(), Instant::now());
        victim.suffer(blow)?;
        for machine in lab.rack().machines() {
            api.reach(&machine.name, "active", ACTIVE).await?;
        }
        let took = begun.elapsed();
        judge(&mut api, lab, &recorder, &image()).await?;
        let moves = moves(&recorder.since(from), recorder.since(0).get(..from).unwrap_or_default());
        tell(format_args!("{whom:?} {} {blow:?}: all active {took:.1?} after, {moves:?}", victim.name));
        victim.recover(blow)?;
        // All members are back, and a change is applied by all schedulers.
        api.bring("n1", "undeploy", "", "available", WAIT_TIMEOUT).await?;
        Ok(moves)
    })
}

/// Stops two members until every leaf and scheduler has fenced itself, then continues them.
fn loses_the_quorum(tag: &str) -> Result<Moves> {
    let lab = Lab::up_over_cluster(tag, &vec![Spec::default(); MACHINES], pairs())?;
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        lab.make_available(&mut api).await?;
        deploy(&mut api, lab).await?;
        let (cluster, from) = (lab.cluster()?, recorder.len());
        let victims = [cluster.leader()?, cluster.follower()?];
        for victim in victims {
            victim.suffer(Blow::Stopped)?;
        }
        wait::until("all to fence themselves", WAIT_TIMEOUT, || {
            let fenced = services().map(|name| Ok(lab.mesh().log(&name)?.contains("fenced: ")));
            Ok(fenced.collect::<Result<Vec<_>>>()?.into_iter().all(|fenced| fenced).then_some(()))
        })?;
        for victim in victims {
            victim.recover(Blow::Stopped)?;
        }
        for machine in lab.rack().machines() {
            api.reach(&machine.name, "active", ACTIVE).await?;
        }
        judge(&mut api, lab, &recorder, &image()).await?;
        // Every service acts on every node again.
        for machine in lab.rack().machines() {
            api.bring(&machine.name, "undeploy", "", "available", WAIT_TIMEOUT).await?;
        }
        let moves = moves(&recorder.since(from), recorder.since(0).get(..from).unwrap_or_default());
        tell(format_args!("the quorum, stopped: {moves:?}"));
        Ok(moves)
    })
}

/// All services of a rack with two of each.
fn services() -> impl Iterator<Item = String> {
    Service::ALL.into_iter().flat_map(|service| (1..=2).map(move |number| format!("{service}-{number}")))
}

/// Losing a follower moves no ownership.
fn moves_nothing(tag: &str, blow: Blow) -> Result<()> {
    let moves = loses(tag, Whom::Follower, blow)?;
    ensure!(moves == Moves { left: 0, claims: 0, most: 0 }, "ownership moved: {moves:?}");
    Ok(())
}

/// Losing the leader costs a node at most one takeover.
fn moves_once(tag: &str, blow: Blow) -> Result<()> {
    let moves = loses(tag, Whom::Leader, blow)?;
    ensure!(moves.most <= 1, "a claim passed on more than once: {moves:?}");
    Ok(())
}

#[test]
fn a_follower_of_etcd_that_is_killed_moves_no_ownership() -> Result<()> {
    moves_nothing("tqfk", Blow::Killed)
}

#[test]
fn a_follower_of_etcd_that_hangs_moves_no_ownership() -> Result<()> {
    moves_nothing("tqfs", Blow::Stopped)
}

#[test]
fn a_follower_of_etcd_that_only_clients_reach_moves_no_ownership() -> Result<()> {
    moves_nothing("tqfc", Blow::CutOff)
}

#[test]
fn the_leader_of_etcd_that_is_killed_costs_at_most_one_takeover() -> Result<()> {
    moves_once("tqlk", Blow::Killed)
}

#[test]
fn the_leader_of_etcd_that_hangs_costs_at_most_one_takeover() -> Result<()> {
    moves_once("tqls", Blow::Stopped)
}

#[test]
fn the_leader_of_etcd_that_only_clients_reach_costs_at_most_one_takeover() -> Result<()> {
    moves_once("tqlc", Blow::CutOff)
}

#[test]
fn an_etcd_without_a_quorum_for_so_long_that_all_are_fenced_costs_at_most_one_takeover() -> Result<()> {
    let moves = loses_the_quorum("tqlq")?;
    ensure!(moves.left > 0 && moves.most <= 1, "a claim passed on more than once: {moves:?}");
    Ok(())
}

#[test]
fn a_lease_that_is_revoked_by_hand_costs_a_takeover_and_no_operation() -> Result<()> {
    let lab = Lab::up_over_cluster("tqrv", &vec![Spec::default(); MACHINES], pairs())?;
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        lab.make_available(&mut api).await?;
        deploy(&mut api, lab).await?;
        let (name, instance) = owner(&mut api, lab, Service::Power, "n1").await?;
        let rack = Scope::Rack(api.rack().await?.id.parse().map_err(|_| anyhow::anyhow!("no rack id"))?);
        let member = key::member(rack, Service::Power, instance);
        let lease = recorder.store().lease_of(&member).await?.context("the owner has no lease")?;
        let from = recorder.len();
        lab.cluster()?.ctl(&["lease", "revoke", &format!("{lease:x}")])?;
        let is_gone = |write: &Write| write.path == member.path() && write.value.is_none();
        recorder.hears("the end of the member", from, WAIT_TIMEOUT, is_gone).await?;
        for machine in lab.rack().machines() {
            api.reach(&machine.name, "active", ACTIVE).await?;
        }
        judge(&mut api, lab, &recorder, &image()).await?;
        // The same process is a member again, as another instance.
        let again = |write: &Write| write.path.contains("/power-service/member/") && write.value.is_some();
        recorder.hears("its joining anew", from, WAIT_TIMEOUT, again).await?;
        ensure!(lab.mesh().log(&name)?.contains("fenced: "), "{name} did not notice");
        Ok(())
    })
}
