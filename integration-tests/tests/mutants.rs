//! Processes with a broken rule: the checker finds the violations, and finds none with the rule.
//!
//! An owner is stopped with a command on its way that the BMC has not got. Its successor takes the node over and acts;
//! then the stopped one goes on, cut off from etcd, and repeats its command. What keeps that from the machine is the
//! permit, whose time is over, or, where the owner's clock stood still with it, that its session was closed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use domain::service::Service;
use integration_tests::beside::{Beside, until_members};
use integration_tests::check::{Violation, check};
use integration_tests::fault::{histories, owner, tell};
use integration_tests::lab::{Lab, WAIT_TIMEOUT};
use integration_tests::machine::fault::Bmc;
use integration_tests::machine::{Faults, Machine, Spec};
use integration_tests::mesh::{Api, Options};
use integration_tests::record::Recorder;
use proto::api::v1::EnsureNodePowerRequest;
use proto::common::v1::{PowerTarget, power_target};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Members of a rack with one replica of everything and one scheduler.
const MEMBERS: usize = 5;

/// Maximum number of runs of a scenario that must end with a late command.
const MAX_RUNS: u32 = 4;

/// Broken rule, and the process with it.
struct Case {
    tag: &'static str,
    bmc: Bmc,
    words: &'static [&'static str],
}

/// Runs the scenario, and returns the violations that the checker found.
fn overtaken(case: &Case) -> Result<Vec<Violation>> {
    let faults = Faults { bmc: case.bmc, ..Faults::default() };
    // Only instructions read from the BMC.
    let options = Options { set: vec!["power.poll=0s".to_owned()], ..Options::default() };
    let lab = Lab::up(case.tag, &[Spec { faults, ..Spec::default() }], options)?;
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        let machine = lab.machine("n1")?;
        api.enrol(machine).await?;
        api.bring("n1", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        let pair = [bent(lab, 2, case.words).await?, bent(lab, 3, case.words).await?];
        until_members(&mut api, MEMBERS + 2).await?;
        lab.mesh().service("power-service-1")?.signal(Signal::STOP)?;
        let victim = victim(&mut api, lab, &pair).await?;
        let session = stop_in_the_middle(&mut api, machine, victim).await?;
        goes_on(&recorder, machine, victim, session).await?;
        victim.network.heal();
        until_members(&mut api, MEMBERS + 1).await?;
        let histories = histories(&mut api, lab, &recorder).await?;
        lab.mesh().service("power-service-1")?.signal(Signal::CONT)?;
        Ok(check(&histories))
    })
}

async fn bent(lab: &Lab, number: u8, words: &[&str]) -> Result<Beside> {
    let words: Vec<String> = [env!("CARGO_BIN_EXE_node")].iter().chain(words).map(|word| (*word).to_owned()).collect();
    Beside::start_as(lab, Service::Power, number, Duration::ZERO, &words).await
}

/// Waits until the shipped process is out of the ring, and returns the owner of the node.
async fn victim<'b>(api: &mut Api, lab: &Lab, pair: &'b [Beside; 2]) -> Result<&'b Beside> {
    let begun = Instant::now();
    loop {
        let (name, _) = owner(api, lab, Service::Power, "n1").await?;
        if let Some(owner) = pair.iter().find(|beside| beside.name == name) {
            return Ok(owner);
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{name} owns the node still");
        sleep(POLL_INTERVAL).await;
    }
}

/// Asks for power, stops the owner with its command on the way, and waits for the successor to bring it: the session
/// of the one that was stopped.
async fn stop_in_the_middle(api: &mut Api, machine: &Machine, victim: &Beside) -> Result<u32> {
    let lost = machine.lose_commands();
    let target = PowerTarget { target: Some(power_target::Target::On(power_target::On {})) };
    let asked = EnsureNodePowerRequest { node: "n1".to_owned(), target: Some(target) };
    let generation = api.nodes.ensure_node_power(asked).await?.into_inner().generation;
    let session = tokio::time::timeout(WAIT_TIMEOUT, lost).await.context("no command was sent")??;
    victim.process.signal(Signal::STOP)?;
    victim.network.cut();
    let is_done = |observed: &proto::api::v1::NodeObserved| observed.power_settled_generation >= generation;
    api.sees("n1", "its power on by the successor", WAIT_TIMEOUT, is_done).await?;
    machine.find_commands();
    Ok(session)
}

/// Lets the victim go on, and waits until it has either acted once more or found that it may not.
async fn goes_on(recorder: &Recorder, machine: &Machine, victim: &Beside, session: u32) -> Result<()> {
    let fenced = |log: &str| log.matches("fenced: ").count();
    let (before, acts) = (fenced(&victim.log()?), machine.mutations().len());
    let (begun, writes) = (Instant::now(), recorder.len());
    victim.process.signal(Signal::CONT)?;
    loop {
        let acted = machine.mutations().into_iter().skip(acts).any(|mutation| mutation.session == session);
        if acted || fenced(&victim.log()?) > before {
            tell(format_args!("{} has {}", victim.name, if acted { "acted" } else { "fenced itself" }));
            return Ok(());
        }
        let written = recorder.len() - writes;
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{} neither acts nor fences; {written} writes since", victim.name);
        sleep(POLL_INTERVAL).await;
    }
}

fn is_late(violation: &Violation) -> bool {
    matches!(violation, Violation::AfterDecidingRead { .. } | Violation::OlderToken { .. })
}

/// Which comes first when the stopped process goes on, its command or its fence, depends on how its threads are scheduled, so
/// the scenario is repeated until the command does.
fn found(case: &Case) -> Result<()> {
    for _ in 0..MAX_RUNS {
        let violations = overtaken(case)?;
        violations.iter().for_each(tell);
        if violations.iter().any(is_late) {
            return Ok(());
        }
        ensure!(violations.is_empty(), "the checker does not find the late command: {violations:#?}");
    }
    bail!("the process with the broken rule fenced itself {MAX_RUNS} times")
}

fn nothing_found(case: &Case) -> Result<()> {
    let violations = overtaken(case)?;
    ensure!(violations.is_empty(), "the checker finds {violations:#?}");
    Ok(())
}

#[test]
fn an_owner_that_was_stopped_sends_nothing_to_a_bmc_that_closes_no_session() -> Result<()> {
    nothing_found(&Case { tag: "tmpc", bmc: Bmc::ClosesOwnAlone, words: &[] })
}

#[test]
fn an_owner_that_asks_no_permit_is_found_by_the_checker() -> Result<()> {
    found(&Case { tag: "tmpu", bmc: Bmc::ClosesOwnAlone, words: &["--permits", "unchecked"] })
}

#[test]
fn an_owner_whose_clock_stood_still_with_it_comes_to_a_closed_session() -> Result<()> {
    nothing_found(&Case { tag: "tmfc", bmc: Bmc::Well, words: &["--clock", "frozen"] })
}

#[test]
fn an_owner_whose_clock_stood_still_and_whose_session_was_left_open_is_found_by_the_checker() -> Result<()> {
    found(&Case { tag: "tmfo", bmc: Bmc::Well, words: &["--clock", "frozen", "--sessions", "left-open"] })
}
