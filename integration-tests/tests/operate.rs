//! An operator's day: services started one by one from the files that are shipped, told wrong things, stopped, and
//! given new certificates. Needs etcd, and `ironmesh` built.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use integration_tests::mesh::program;
use integration_tests::site::{Running, START, Site};
use proto::api::v1::{CreateRackRequest, Rack};
use service_kit::tls::Tls;
use tokio::process::Command;

/// How long a service may take to stop.
const STOP: Duration = Duration::from_secs(5);

/// A scheduler-service, and the rack whose name is empty: what the others need.
async fn found(site: &Site, operator: &Tls) -> Result<Running> {
    let mut scheduler = site.run(Service::Scheduler).await?;
    let mut api = site.api(&mut scheduler, operator).await?;
    api.racks.create_rack(CreateRackRequest { rack: Some(Rack::default()) }).await?;
    Ok(scheduler)
}

async fn page(running: &mut Running, path: &str) -> Result<String> {
    let url = format!("http://{}{path}", running.address("monitor").await?);
    let answer = reqwest::Client::builder().no_proxy().build()?.get(&url).send().await?.error_for_status()?;
    Ok(answer.text().await?)
}

#[tokio::test]
async fn each_service_starts_as_it_is_shipped_is_healthy_and_stops_when_asked() -> Result<()> {
    let site = Site::lit().await?;
    let operator = site.operator()?;
    let mut all = vec![found(&site, &operator).await?];
    for service in Service::ALL.into_iter().filter(|service| *service != Service::Scheduler) {
        all.push(site.run(service).await?);
    }
    for running in &mut all {
        assert_eq!(page(running, "/healthz").await?, "ok\n");
        let metrics = page(running, "/metrics").await?;
        assert!(metrics.contains("# TYPE "), "{metrics}");
    }
    // Leaves first: whoever stops hands over, and needs nobody for it.
    for running in all.iter_mut().rev() {
        running.stop()?;
        let ended = running.ended(STOP).await?;
        assert_eq!(ended.code(), Some(0), "{}", running.log()?);
    }
    Ok(())
}

#[tokio::test]
async fn a_service_says_where_it_waits_for_etcd_and_gives_up_with_an_error() -> Result<()> {
    let site = Site::dark()?;
    let mut both = vec![];
    for service in [Service::Scheduler, Service::Power] {
        both.push(site.start(service, &site.configure(service, &[])?)?);
    }
    for running in &mut both {
        let said = running.says("waiting for etcd", START).await?;
        assert!(said.contains(&site.etcd.endpoint()) && said.contains("giving up in "), "{said}");
    }
    for running in &mut both {
        let ended = running.ended(Duration::from_secs(45)).await?;
        let said = running.log()?;
        let last = said.lines().last().context("it said nothing")?;
        assert!(last.contains(&format!("etcd has not answered at {}", site.etcd.endpoint())), "{said}");
        assert!(last.contains("start it, or name its members in service.etcd"), "{said}");
        assert_eq!(ended.code(), Some(2), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_waits_for_etcd_begins_when_it_comes_and_stops_when_asked() -> Result<()> {
    let mut site = Site::dark()?;
    let operator = site.operator()?;
    let mut both = vec![];
    for service in [Service::Scheduler, Service::Power] {
        let mut running = site.start(service, &site.configure(service, &[])?)?;
        running.says("waiting for etcd", START).await?;
        both.push(running);
    }
    let (Some(mut power), Some(mut scheduler)) = (both.pop(), both.pop()) else { anyhow::bail!("two were started") };
    power.stop()?;
    assert_eq!(power.ended(STOP).await?.code(), Some(0), "{}", power.log()?);
    site.etcd.begin().await?;
    scheduler.is_healthy(&operator).await?;
    scheduler.stop()?;
    assert_eq!(scheduler.ended(STOP).await?.code(), Some(0), "{}", scheduler.log()?);
    Ok(())
}

/// What the binary prints when it ends by itself with an error.
async fn refused(words: &[&str], last: &Path) -> Result<String> {
    let mut command = Command::new(program()?);
    command.args(words).arg(last).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(STOP, command.output()).await.context("it does not end")??;
    let said = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success(), "it ended well: {said}");
    Ok(said)
}

#[tokio::test]
async fn everything_wrong_with_a_configuration_is_told_at_once_and_nothing_is_started() -> Result<()> {
    let site = Site::dark()?;
    let tables: [(Service, &str, &[&str]); 5] = [
        (
            Service::Power,
            "[power]\ntries = 0\nsettle = \"3m\"\npol = \"1m\"",
            &["power.tries", "power.instruction", "power.pol "],
        ),
        (
            Service::Pxe,
            "[pxe]\nlease = \"1s\"\naddress = \"here\"\ntftp_port = 70000",
            &["pxe.lease", "pxe.address", "pxe.tftp_port"],
        ),
        (
            Service::Storage,
            "[storage]\nfiles_from = [\"images\"]\nhttp = 8081",
            &["storage.files_from", "storage.http"],
        ),
        (
            Service::Inventory,
            "[inventory]\nagents = \"127.0.0.1\"\nagent = 1",
            &["inventory.agents", "inventory.agent "],
        ),
        (Service::Scheduler, "[scheduler]\nboots = 0\nboot = 5", &["scheduler.boots", "scheduler.boot "]),
    ];
    for (service, table, keys) in tables {
        let file = site.path(&format!("wrong-{service}.toml"));
        let data = site.path(&format!("wrong-{service}.data"));
        let common =
            "rack = \"R 1\"\nlisten = \"here\"\netcd = [\"http://127.0.0.1:1\"]\notlp = \"collector\"\nrak = 1";
        fs::write(&file, format!("[service]\ndata = {data:?}\n{common}\n{table}\n[powr]\n"))?;
        for words in [&[service.name(), "--check", "--config"][..], &[service.name(), "--config"]] {
            let said = refused(words, &file).await?;
            let common = ["service.rack", "service.listen", "service.etcd", "service.otlp", "service.rak ", "powr "];
            for part in common.iter().chain(keys).copied().chain([file.display().to_string().as_str()]) {
                assert!(said.contains(part), "{part:?} of the {service}: {said}");
            }
            assert!(!data.exists(), "the {service} was started");
        }
        let right = site.configure(service, &[])?;
        let checked =
            Command::new(program()?).args([service.name(), "--check", "--config"]).arg(right).output().await?;
        assert!(checked.status.success() && !site.data(service).exists(), "{checked:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_data_folder_that_another_up_works_in_is_refused_with_its_name_and_who_has_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("rack");
    let log = fs::File::create(folder.path().join("log"))?;
    let mut first = Command::new(program()?);
    first.args(["up", "--data"]).arg(&data).stdin(Stdio::null()).stderr(log).kill_on_drop(true);
    let mut first = first.spawn()?;
    let pid = first.id().context("it ended")?;
    let said = || fs::read_to_string(folder.path().join("log"));
    let ready = async {
        while !said()?.contains("ready") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(START * 2, ready).await.with_context(|| format!("it is not ready: {:?}", said()))??;
    let told = refused(&["up", "--data"], &data).await?;
    for part in [data.display().to_string(), format!("process {pid} ("), "ironmesh up --data".to_owned()] {
        assert!(told.contains(&part), "{part}: {told}");
    }
    // Whoever was refused has disturbed nothing.
    assert!(first.try_wait()?.is_none(), "{:?}", said());
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let ended = tokio::time::timeout(START, first.wait()).await.context("it does not stop")??;
    assert!(ended.success(), "{:?}", said());
    Ok(())
}
