//! etcd is away, slow to return, or unreachable for some services: decided work continues, changes are refused, and no
//! command is sent by two owners.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use domain::id::NodeId;
use domain::service::Service;
use integration_tests::beside::{Beside, until_members};
use integration_tests::fault::{judge, number, owner, tell};
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT, image};
use integration_tests::machine::fault::Boot;
use integration_tests::machine::{Faults, Spec};
use integration_tests::mesh::{Api, Options};
use integration_tests::rack::daemon::Daemon;
use integration_tests::record::Recorder;
use keyspace::value::Journal;
use proto::api::v1::{NodeObserved, UpdateNodeRequest};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};
use tonic::Code;

/// Maximum total duration of all nodes.
const ACTIVE: Duration = Duration::from_secs(120);
/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

fn pairs() -> Options {
    let limits = ["scheduler.boot=20s", "scheduler.agent=30s", "scheduler.boots=5"];
    Options { replicas: 2, set: limits.map(str::to_owned).into(), ..Options::default() }
}

async fn all_active(api: &mut Api, lab: &Lab, recorder: &Recorder) -> Result<()> {
    for machine in lab.rack().machines() {
        api.reach(&machine.name, "active", ACTIVE).await?;
    }
    judge(api, lab, recorder, &image()).await
}

fn etcd(lab: &Lab) -> Result<Daemon> {
    let pid = fs::read_to_string(lab.data().join("etcd.pid"))?;
    Daemon::of(pid.trim().parse()?)
}

#[test]
fn a_deploy_goes_on_although_etcd_is_killed_in_the_middle_of_it() {
    let lab = Lab::up("tetcdk", &vec![Spec::default(); 3], pairs()).unwrap();
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        lab.make_available(&mut api).await?;
        for machine in lab.rack().machines() {
            api.ask(&machine.name, "deploy", IMAGE).await?;
        }
        lab.machine("n1")?.says("script from", WAIT_TIMEOUT).await?;
        etcd(lab)?.signal(Signal::KILL)?;
        all_active(&mut api, lab, &recorder).await
    })
    .unwrap();
}

/// Deploys, takes etcd away for this long once power is on, and restarts a pxe- and a storage-service meanwhile.
fn goes_on_without_etcd(tag: &str, away: Duration) -> Result<()> {
    let slow = Faults { boot: Boot::SlowSelfTest, ..Faults::default() };
    let spec = Spec { faults: slow, ..Spec::default() };
    let lab = Lab::up(tag, &[spec.clone(), spec], pairs())?;
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        lab.make_available(&mut api).await?;
        for machine in lab.rack().machines() {
            api.ask(&machine.name, "deploy", IMAGE).await?;
        }
        let (pxe, _) = owner(&mut api, lab, Service::Pxe, "n1").await?;
        let (storage, _) = owner(&mut api, lab, Service::Storage, "n1").await?;
        // Power is on, and that is stored.
        for machine in lab.rack().machines() {
            let generation = api.node(&machine.name).await?.generation;
            let is_on = |observed: &NodeObserved| observed.power_settled_generation == generation;
            api.sees(&machine.name, "its power on", WAIT_TIMEOUT, is_on).await?;
        }
        let etcd = etcd(lab)?;
        etcd.signal(Signal::STOP)?;
        let begun = Instant::now();
        for name in [&pxe, &storage] {
            lab.mesh().service(name)?.signal(Signal::KILL)?;
        }
        // Decided work continues: the machines reach their agents.
        for machine in lab.rack().machines() {
            machine.says("the agent starts", away).await?;
        }
        tell(format_args!("the agents started {:?} after etcd had gone", begun.elapsed()));
        // Changes are refused as soon as the scheduler has noticed.
        let refused = loop {
            let rename =
                UpdateNodeRequest { node: "n2".to_owned(), bmc_user: Some("other".to_owned()), ..Default::default() };
            match api.nodes.update_node(rename).await {
                Err(status) if status.message().contains("island") => break status,
                _ if begun.elapsed() > away => anyhow::bail!("no service reports an island"),
                _ => sleep(POLL_INTERVAL).await,
            }
        };
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(lab.machine("n1")?.console().iter().all(|line| !line.contains("phoned home")));
        tokio::time::sleep_until(begun + away).await;
        etcd.signal(Signal::CONT)?;
        all_active(&mut api, lab, &recorder).await?;
        tell(format_args!("all active {:?} after etcd was back", begun.elapsed().saturating_sub(away)));
        // The restarted services are members again.
        until_members(&mut api, 9).await
    })
}

#[test]
fn decided_boots_continue_without_etcd_and_changes_are_refused() {
    goes_on_without_etcd("taway", Duration::from_secs(15)).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn decided_boots_continue_through_a_minute_without_etcd() {
    goes_on_without_etcd("tawayl", Duration::from_secs(number("IRONMESH_SECONDS", 60))).unwrap();
}

#[test]
fn owners_cut_off_from_etcd_fence_themselves_before_others_act() {
    let lab = Lab::up("tcut", &vec![Spec::default(); 4], pairs()).unwrap();
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        let cut_off = [
            Beside::start(lab, Service::Power, 3, Duration::ZERO).await?,
            Beside::start(lab, Service::Scheduler, 3, Duration::ZERO).await?,
        ];
        until_members(&mut api, 11).await?;
        lab.make_available(&mut api).await?;
        let mut victims = vec![];
        for machine in lab.rack().machines() {
            if owner(&mut api, lab, Service::Power, &machine.name).await?.0 == "power-service-3" {
                victims
                    .push(api.node(&machine.name).await?.id.parse::<NodeId>().map_err(|_| anyhow::anyhow!("no id"))?);
            }
        }
        let from = recorder.len();
        for machine in lab.rack().machines() {
            api.ask(&machine.name, "deploy", IMAGE).await?;
        }
        if !victims.is_empty() {
            // In the middle of a command.
            recorder
                .hears("a journal entry of the cut off owner", from, WAIT_TIMEOUT, |write| {
                    victims.iter().any(|node| write.path.ends_with(&format!("/power-service/journal/{node}")))
                        && write.read::<Journal>().and_then(|journal| journal.entry).is_some()
                })
                .await?;
        }
        cut_off.iter().for_each(|replica| replica.network.cut());
        let begun = Instant::now();
        all_active(&mut api, lab, &recorder).await?;
        tell(format_args!(
            "{} nodes of a cut off owner; all active {:?} after the cut",
            victims.len(),
            begun.elapsed()
        ));
        cut_off.iter().for_each(|replica| replica.network.heal());
        until_members(&mut api, 11).await?;
        judge(&mut api, lab, &recorder, &image()).await
    })
    .unwrap();
}
