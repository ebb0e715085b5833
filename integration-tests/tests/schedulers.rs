//! Several schedulers: what is written through one is read through every other one at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration_tests::lab::{IMAGE, Lab, PATIENCE};
use integration_tests::machine::Spec;
use integration_tests::mesh::{Api, Options};
use proto::api::v1::{GetNodeRequest, UpdateNodeRequest};
use rustix::process::Signal;

fn two() -> Options {
    Options { schedulers: 2, ..Options::default() }
}

/// Writes a number into the node through one and reads it through the other, in turns; how long a write took.
async fn in_turns(apis: &mut [Api; 2], rounds: u32) -> Result<Vec<Duration>> {
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

#[test]
fn what_is_written_through_one_scheduler_is_read_through_the_other_at_once() {
    let lab = Lab::up("ttwo", &[Spec::default()], two()).unwrap();
    lab.run(async |mut api, lab| {
        api.enrol(lab.machine("n1")?).await?;
        let mut apis = [lab.mesh().api_of(1)?, lab.mesh().api_of(2)?];
        let rounds = 1000;
        let begun = Instant::now();
        let took = in_turns(&mut apis, rounds).await?;
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        println!("{rounds} writes and reads in {:?}, the median write in {median:?}", begun.elapsed());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_scheduler_that_hangs_delays_a_change_until_its_lease_is_gone_and_no_longer() {
    let lab = Lab::up("thang", &[Spec::default()], two()).unwrap();
    lab.run(async |mut api, lab| {
        api.enrol(lab.machine("n1")?).await?;
        let mut first = lab.mesh().api_of(1)?;
        let hung = lab.mesh().service("scheduler-service-2")?;
        hung.signal(Signal::STOP)?;
        let changed = first.bring("n1", "manage", "", "manageable", PATIENCE).await;
        hung.signal(Signal::CONT)?;
        changed?;
        first.bring("n1", "provide", "", "available", PATIENCE).await?;
        // Until it has joined anew it is an island and changes nothing, but what it knows catches up.
        first.ask("n1", "deploy", IMAGE).await?;
        lab.mesh().api_of(2)?.reach("n1", "active", PATIENCE).await?;
        Ok(())
    })
    .unwrap();
}
