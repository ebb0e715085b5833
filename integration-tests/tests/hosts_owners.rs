//! One owner per node, between hosts: hosts are killed, stopped and cut off while they switch machines, and the checker
//! finds no command of two owners and none that was lost. Needs root.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::power::Power;
use integration_tests::check::check;
use integration_tests::fault::{history, tell};
use integration_tests::fleet::{Machine, Machines};
use integration_tests::hosts::{DATACENTER, HostMesh};
use integration_tests::mesh::Api;
use integration_tests::rack::hosts::fault::HostFault;
use integration_tests::record::{Recorder, store};
use proto::api::v1::{CreateNodeRequest, EnsureNodePowerRequest, HostState};
use proto::common::v1::{PowerTarget, power_target};
use tokio::time::{Instant, sleep};
use wire_ipmi::chassis;

/// Maximum time for all machines to settle: a takeover takes 10 s at most, and other tests are running.
const SETTLED: Duration = Duration::from_secs(120);
/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The rack, and the hosts that serve it.
const RACK: &str = "r7";
const HOSTS: [&str; 2] = ["h2", "h3"];

/// What happens to a host while it switches machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// Its power is lost; it is started again afterwards.
    Killed,
    /// All of its processes stop, and continue.
    Stopped,
    /// It hears nothing of the other hosts.
    Deaf,
    /// The other hosts hear nothing of it.
    Mute,
    /// It and the others do not reach each other. The BMCs are reached all the time.
    CutOff,
}

impl Blow {
    fn begin(self, mesh: &HostMesh, host: &str) -> Result<()> {
        let others =
            || ["h1", "h2", "h3"].iter().filter(|other| **other != host).map(|&name| name.to_owned()).collect();
        let own = || vec![host.to_owned()];
        match self {
            Self::Killed => mesh.host(host)?.kill(),
            Self::Stopped => mesh.host(host)?.stop(),
            Self::Deaf => mesh.hosts().inflict("blow", &HostFault::CutOneWay { from: others(), to: own() }),
            Self::Mute => mesh.hosts().inflict("blow", &HostFault::CutOneWay { from: own(), to: others() }),
            Self::CutOff => mesh.hosts().inflict("blow", &HostFault::Cut { left: own(), right: others() }),
        }
    }

    fn end(self, mesh: &HostMesh, host: &str) -> Result<()> {
        match self {
            Self::Killed => mesh.start(host).map(drop),
            Self::Stopped => mesh.host(host)?.resume(),
            Self::Deaf | Self::Mute | Self::CutOff => mesh.hosts().mend("blow"),
        }
    }
}

async fn reset(api: &mut Api, machine: &Machine) -> Result<()> {
    let target = power_target::Target::Booted(power_target::Booted::default());
    let request =
        EnsureNodePowerRequest { node: machine.name.clone(), target: Some(PowerTarget { target: Some(target) }) };
    api.nodes.ensure_node_power(request).await.map(drop).with_context(|| machine.name.clone())
}

/// Waits until the last instruction of each has ended without a failure.
async fn all_settle(api: &mut Api, machines: &Machines) -> Result<()> {
    let begun = Instant::now();
    for machine in machines.all() {
        loop {
            let node = api.node(&machine.name).await?;
            let observed = node.observed.unwrap_or_default();
            if observed.power_settled_generation >= node.generation {
                let failure = observed.power_failure;
                ensure!(failure.is_none(), "{}: {failure:?}", machine.name);
                break;
            }
            ensure!(begun.elapsed() < SETTLED, "{} does not settle: {observed:#?}", machine.name);
            sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

async fn judge(api: &mut Api, machines: &Machines, recorder: &Recorder) -> Result<()> {
    recorder.catches_up().await?;
    let mut histories = vec![];
    for machine in machines.all() {
        ensure!(machine.power() == chassis::Power::On, "{} is off", machine.name);
        let node = api.node(&machine.name).await?;
        histories.push(history(&node, recorder, machine.bmc.deeds(), (Power::On, Power::On))?);
    }
    let violations = check(&histories);
    ensure!(violations.is_empty(), "the checker found {violations:#?}");
    Ok(())
}

/// Resets all machines again and again while one blow after the other hits a host.
fn survives(tag: &str, count: u8, blows: &[Blow]) -> Result<()> {
    let mesh = HostMesh::up(tag, &[&format!("{DATACENTER}=h1,h2:{RACK},h3:{RACK},bmcs")])?;
    let machines = mesh.machines("bmcs", count)?;
    mesh.init("h1", DATACENTER, &["--rack", RACK])?;
    mesh.start("h1")?;
    mesh.until("h1", &["h1"], HostState::Ready)?;
    let token = mesh.token("h1", &["--rack", RACK, "--uses", "2"])?;
    for host in HOSTS {
        mesh.join(host, "h1", &token, &[])?;
        mesh.start(host)?;
    }
    mesh.until("h1", &HOSTS, HostState::Ready)?;
    let run = async || {
        let mut api = mesh.api("h1", "h1")?;
        for machine in machines.all() {
            let request = CreateNodeRequest { rack: RACK.to_owned(), ..machine.enrolment() };
            api.nodes.create_node(request).await?;
            api.ask(&machine.name, "manage", "").await?;
        }
        for machine in machines.all() {
            api.reach(&machine.name, "manageable", SETTLED).await?;
        }
        let recorder = Recorder::begin_in(store(&mesh.host("h1")?.data, "scheduler-service").await?).await?;
        for (blow, host) in blows.iter().zip(HOSTS.iter().cycle()) {
            let begun = Instant::now();
            let (first, second) = machines.all().split_at(machines.all().len() / 2);
            for machine in first {
                reset(&mut api, machine).await?;
            }
            blow.begin(&mesh, host)?;
            for machine in second {
                reset(&mut api, machine).await?;
            }
            let settled = all_settle(&mut api, &machines).await;
            let took = begun.elapsed();
            blow.end(&mesh, host)?;
            settled.with_context(|| format!("{host}: {blow:?}; {}", mesh.complaints()))?;
            judge(&mut api, &machines, &recorder).await.with_context(|| format!("{host}: {blow:?}"))?;
            tell(format_args!("{host}: {blow:?}: {count} resets settled {took:.1?} after the first request"));
            mesh.until("h1", &HOSTS, HostState::Ready)?;
        }
        Ok(())
    };
    mesh.host("h1")?.place().enter(run)?
}

#[test]
#[ignore = "needs ironmesh join, which is not there yet"]
fn a_host_that_hears_nothing_or_dies_shares_no_machine_with_its_successor() {
    survives("thown", 10, &[Blow::Deaf, Blow::Killed]).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn no_blow_to_a_host_makes_two_owners_of_fifty_machines() {
    survives("thownl", 50, &[Blow::Deaf, Blow::Mute, Blow::CutOff, Blow::Stopped, Blow::Killed]).unwrap();
}
