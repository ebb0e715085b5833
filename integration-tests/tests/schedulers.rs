//! Several schedulers: a change through one is visible through every other one at once.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use integration_tests::beside::Beside;
use integration_tests::fault::{number, tell};
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT};
use integration_tests::machine::Spec;
use integration_tests::mesh::{Api, Options};
use proto::api::v1::{GetNodeRequest, ServiceKind, UpdateNodeRequest};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

fn two() -> Options {
    Options { schedulers: 2, ..Options::default() }
}

/// Writes a number to the node through one and reads it through the other, in turns. Returns the duration of a write.
async fn in_turns(apis: &mut [Api; 2], rounds: u64) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for number in 1..=rounds {
        let user = format!("user-{number}");
        let [first, second] = apis;
        let (writer, reader) = if number % 2 == 0 { (first, second) } else { (second, first) };
        let request =
            UpdateNodeRequest { node: "n1".to_owned(), bmc_user: Some(user.clone()), ..UpdateNodeRequest::default() };
        let begun = Instant::now();
        writer.nodes.update_node(request).await?;
        took.push(begun.elapsed());
        let read = reader.nodes.get_node(GetNodeRequest { node: "n1".to_owned() }).await?.into_inner();
        let read = read.node.and_then(|node| node.intent).context("no intent")?.bmc_user;
        ensure!(read == user, "write {number}: read {read:?}, which is stale");
    }
    took.sort_unstable();
    Ok(took)
}

fn median(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn none_is_stale(tag: &str, rounds: u64) -> Result<()> {
    let lab = Lab::up(tag, &[Spec::default()], two())?;
    lab.run(async |mut api, lab| {
        api.enrol(lab.machine("n1")?).await?;
        let begun = Instant::now();
        let took = in_turns(&mut [lab.mesh().api_of(1)?, lab.mesh().api_of(2)?], rounds).await?;
        let median = median(&took);
        tell(format_args!("{rounds} writes and reads in {:?}, the median write in {median:?}", begun.elapsed()));
        Ok(())
    })
}

#[test]
fn what_is_written_through_one_scheduler_is_read_through_the_other_at_once() {
    none_is_stale("ttwo", 500).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn ten_thousand_writes_through_one_scheduler_are_read_through_the_other_at_once() {
    none_is_stale("tmany", number("IRONMESH_ROUNDS", 10_000)).unwrap();
}

#[test]
fn a_write_waits_for_a_scheduler_whose_watch_is_held_back() {
    held_back("theld", 10).unwrap();
}

#[test]
#[ignore = "takes minutes: scripts/test --all"]
fn two_hundred_writes_wait_for_a_scheduler_whose_watch_is_held_back() {
    held_back("theldl", 200).unwrap();
}

fn held_back(tag: &str, rounds: u64) -> Result<()> {
    const HELD_BACK: Duration = Duration::from_millis(500);
    let lab = Lab::up(tag, &[Spec::default()], two())?;
    lab.run(async |mut api, lab| {
        api.enrol(lab.machine("n1")?).await?;
        // A third one, which receives everything half a second late.
        let late = Beside::start(lab, Service::Scheduler, 3, HELD_BACK).await?;
        let mut third = loop {
            match fs::read_to_string(late.folder().join("grpc.address")) {
                Ok(endpoint) => break lab.mesh().api_at(endpoint.trim())?,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        };
        let begun = Instant::now();
        while third.rack().await.is_ok_and(|rack| schedulers(&rack) < 3) {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "it does not join");
            sleep(Duration::from_millis(50)).await;
        }
        let took = in_turns(&mut [lab.mesh().api_of(1)?, third], rounds).await?;
        drop(late);
        // Writes wait for it; otherwise the test would not have delayed anything.
        ensure!(median(&took) >= HELD_BACK, "a write took {:?}", median(&took));
        tell(format_args!("the median write took {:?}", median(&took)));
        Ok(())
    })
}

fn schedulers(rack: &proto::api::v1::Rack) -> usize {
    rack.replicas.iter().filter(|replica| replica.service() == ServiceKind::Scheduler).count()
}

#[test]
fn a_scheduler_that_hangs_delays_a_change_until_its_lease_is_gone_and_no_longer() {
    let lab = Lab::up("thang", &[Spec::default()], two()).unwrap();
    lab.run(async |mut api, lab| {
        api.enrol(lab.machine("n1")?).await?;
        let mut first = lab.mesh().api_of(1)?;
        let hung = lab.mesh().service("scheduler-service-2")?;
        hung.signal(Signal::STOP)?;
        let changed = first.bring("n1", "manage", "", "manageable", WAIT_TIMEOUT).await;
        hung.signal(Signal::CONT)?;
        changed?;
        first.bring("n1", "provide", "", "available", WAIT_TIMEOUT).await?;
        // Until it has joined again it is an island and changes nothing, but its view catches up.
        first.ask("n1", "deploy", IMAGE).await?;
        lab.mesh().api_of(2)?.reach("n1", "active", WAIT_TIMEOUT).await?;
        Ok(())
    })
    .unwrap();
}
