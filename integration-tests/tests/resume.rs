//! An agent's work continues at another replica: its download, octet by octet, and its conversation with the mesh.

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use integration_tests::fault::{judge, tell};
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT, image};
use integration_tests::machine::Spec;
use integration_tests::mesh::{Api, Options};
use integration_tests::rack::wait;
use integration_tests::record::Recorder;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

/// Ports of the replicas for images and for agents.
const IMAGES: u16 = 8081;
const AGENTS: u16 = 8443;
/// Eight MiB take four seconds at this rate.
const RATE: &str = "16mbit";
/// Interval between two checks.
const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);

/// The replica of a service, by number, that a machine has a connection with on this port.
fn serving(lab: &Lab, port: u16) -> Result<Option<u8>> {
    let port = format!(":{port}");
    let found = lab.rack().place().run(&["ss", "-Htn", "state", "established", "sport", "=", &port])?;
    let local = found.lines().find_map(|line| line.split_whitespace().nth(2)).unwrap_or_default().to_owned();
    let addresses = &lab.rack().services.addresses;
    let number = addresses.iter().position(|address| local.starts_with(&format!("{address}:")));
    Ok(number.and_then(|number| u8::try_from(number + 1).ok()))
}

/// Waits until a part of the image is written.
async fn is_in_the_middle(api: &mut Api) -> Result<()> {
    let begun = Instant::now();
    while !api.marks("n1").await?.iter().any(|(mark, _)| mark == "IMAGE_PROGRESS") {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "no image is written: {:?}", api.marks("n1").await?);
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Kills the replica of a service that the agent is connected with, in the middle of its download.
fn goes_on(tag: &str, service: Service, port: u16) -> Result<()> {
    let lab = Lab::up(tag, &[Spec::default()], Options { replicas: 2, ..Options::default() })?;
    lab.run(async |mut api, lab| {
        let recorder = Recorder::begin(&lab.data()).await?;
        api.enrol(lab.machine("n1")?).await?;
        api.bring("n1", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        api.bring("n1", "provide", "", "available", WAIT_TIMEOUT).await?;
        lab.rack().slow_down("n1", RATE)?;
        api.ask("n1", "deploy", IMAGE).await?;
        is_in_the_middle(&mut api).await?;
        let number = serving(lab, port)?.with_context(|| format!("no connection at port {port}"))?;
        let name = format!("{service}-{number}");
        let killed = lab.mesh().service(&name)?;
        killed.signal(Signal::KILL)?;
        wait::until("its end", WAIT_TIMEOUT, || Ok((!killed.alive()).then_some(())))?;
        let struck = Instant::now();
        let before = api.marks("n1").await?;
        ensure!(!before.iter().any(|(mark, _)| mark == "IMAGE_WRITTEN"), "the image was written already: {before:?}");
        api.reach("n1", "active", WAIT_TIMEOUT).await?;
        tell(format_args!("{name} killed; active {:.1?} after", struck.elapsed()));
        judge(&mut api, lab, &recorder, &image()).await?;
        let starts = lab.machine("n1")?.console().iter().filter(|line| line.contains("the agent starts")).count();
        ensure!(starts == 1, "the machine was booted {starts} times to be written");
        Ok(())
    })
}

#[test]
fn an_image_goes_on_at_another_storage_service_in_its_middle() -> Result<()> {
    goes_on("tresto", Service::Storage, IMAGES)
}

#[test]
fn an_agent_goes_on_with_another_inventory_service_in_the_middle_of_its_image() -> Result<()> {
    goes_on("tresin", Service::Inventory, AGENTS)
}
