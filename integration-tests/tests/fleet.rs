//! Hundreds of BMCs at once, most of them bad: every node reaches its power, no command is sent by two owners, and a
//! bad BMC delays no other.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::power::Power;
use domain::service::Service;
use integration_tests::bmc::{Habit, Script};
use integration_tests::check::check;
use integration_tests::fault::{draw, history, number, tell};
use integration_tests::fleet::{Fleet, Machine};
use integration_tests::mesh::{Api, Options};
use integration_tests::record::Recorder;
use proto::api::v1::{EnsureNodePowerRequest, Node, NodeObserved};
use proto::common::v1::{PowerTarget, power_target};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};
use wire_ipmi::chassis;

/// Maximum duration of one step of the whole fleet.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);
/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Power is not polled, and a BMC that lies is detected soon.
fn pairs() -> Options {
    let set = ["power.poll=0s", "power.settle=3s"].map(str::to_owned).into();
    Options { replicas: 2, set, ..Options::default() }
}

/// Enrolls all machines and has each BMC verified.
async fn manageable(api: &mut Api, fleet: &Fleet) -> Result<()> {
    for machine in fleet.machines() {
        api.nodes.create_node(machine.enrolment()).await?;
        api.ask(&machine.name, "manage", "").await?;
    }
    for machine in fleet.machines() {
        api.reach(&machine.name, "manageable", WAIT_TIMEOUT).await?;
    }
    Ok(())
}

/// Requests a power state.
async fn switch_on(api: &mut Api, machine: &Machine) -> Result<()> {
    let target = Some(PowerTarget { target: Some(power_target::Target::On(power_target::On {})) });
    let asked = EnsureNodePowerRequest { node: machine.name.clone(), target };
    api.nodes.ensure_node_power(asked).await.map(drop).with_context(|| machine.name.clone())
}

/// Whether the last instruction has ended.
fn has_settled(node: &Node) -> bool {
    settled(node.observed.as_ref()) >= node.generation
}

fn settled(observed: Option<&NodeObserved>) -> u64 {
    observed.map_or(0, |observed| observed.power_settled_generation)
}

/// Waits until the last instruction of each has ended. Returns those that failed, and why.
async fn all_settle<'m>(
    api: &mut Api,
    machines: impl Iterator<Item = &'m Machine>,
) -> Result<Vec<(&'m Machine, String)>> {
    let (begun, mut failed) = (Instant::now(), vec![]);
    for machine in machines {
        let node = loop {
            let node = api.node(&machine.name).await?;
            if has_settled(&node) {
                break node;
            }
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "{} does not settle: {:#?}", machine.name, node.observed);
            sleep(POLL_INTERVAL).await;
        };
        let failure = node.observed.and_then(|observed| observed.power_failure);
        failed.extend(failure.map(|failure| (machine, failure.cause)));
    }
    Ok(failed)
}

/// Gives two machines in three a BMC with one or two faults; returns how many.
fn spoil(fleet: &Fleet, seed: &mut u64) -> usize {
    let mut bad = 0;
    for machine in fleet.machines() {
        let habits = draw(seed) % 3;
        bad += usize::from(habits > 0);
        machine.bmc.follow(Script::new((0..habits).map(|_| Habit::of(draw(seed))).collect::<Vec<_>>()));
    }
    bad
}

/// Whether all have the requested power, and the checker finds no violation.
async fn judge(api: &mut Api, fleet: &Fleet, recorder: &Recorder) -> Result<()> {
    recorder.catches_up().await?;
    let mut histories = vec![];
    for machine in fleet.machines() {
        let node = api.node(&machine.name).await?;
        ensure!(machine.power() == chassis::Power::On, "{} is off: {:#?}", machine.name, node.observed);
        histories.push(history(&node, recorder, machine.bmc.deeds(), (Power::On, Power::On))?);
    }
    let violations = check(&histories);
    ensure!(violations.is_empty(), "the checker found {violations:#?}; {}", fleet.log()?.display());
    Ok(())
}

#[test]
fn two_hundred_machines_are_switched_on_despite_bad_bmcs_and_killed_services() -> Result<()> {
    let count = usize::try_from(number("IRONMESH_MACHINES", 200))?;
    let mut seed = number("IRONMESH_SEED", 1);
    let fleet = Fleet::up("tfleet", count, &pairs())?;
    fleet.run(async |mut api, fleet| {
        let begun = Instant::now();
        manageable(&mut api, fleet).await?;
        tell(format_args!("{count} machines are manageable after {:.1?}", begun.elapsed()));
        let recorder = Recorder::begin(&fleet.data()).await?;
        let bad = spoil(fleet, &mut seed);
        let begun = Instant::now();
        for machine in fleet.machines() {
            switch_on(&mut api, machine).await?;
        }
        fleet.mesh().service(&format!("{}-1", Service::Power))?.signal(Signal::KILL)?;
        let failed = all_settle(&mut api, fleet.machines().iter()).await?;
        let through = fleet.machines().iter().filter(|machine| machine.bmc.is_through()).count();
        tell(format_args!(
            "{bad} of {count} BMCs are bad; all settled {:.1?} after, {} of them by a failure, {through} through with it",
            begun.elapsed(),
            failed.len()
        ));
        // A BMC that lied is detected, and the request is repeated as an operator would.
        for (machine, cause) in &failed {
            ensure!(!cause.is_empty(), "{} failed without a cause", machine.name);
            machine.bmc.follow(Script::default());
            switch_on(&mut api, machine).await?;
        }
        let again = all_settle(&mut api, failed.iter().map(|(machine, _)| *machine)).await?;
        ensure!(again.is_empty(), "good BMCs failed: {again:?}");
        judge(&mut api, fleet, &recorder).await?;
        ensure!(through * 10 >= count * 7, "too little went wrong: {through} of {count}");
        Ok(())
    })
}

#[test]
fn dead_bmcs_cost_a_timer_each_and_delay_no_other() -> Result<()> {
    let count = 100;
    let fleet = Fleet::up("tdead", count, &pairs())?;
    fleet.run(async |mut api, fleet| {
        manageable(&mut api, fleet).await?;
        let (dead, well) = fleet.machines().split_at(count / 2);
        for machine in dead {
            machine.bmc.follow(Script::new([Habit::Deaf(u32::MAX)]));
        }
        // The dead ones come first, so their timers start before the others' requests.
        for machine in fleet.machines() {
            switch_on(&mut api, machine).await?;
        }
        let failed = all_settle(&mut api, well.iter()).await?;
        ensure!(failed.is_empty(), "good BMCs failed: {failed:?}");
        // By then no timer of a dead one has expired.
        for machine in dead {
            let node = api.node(&machine.name).await?;
            ensure!(!has_settled(&node), "{} was waited for first: {:#?}", machine.name, node.observed);
        }
        Ok(())
    })
}
