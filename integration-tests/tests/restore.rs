//! The store is restored from a backup, or runs out of space: changes stop until an operator has acted, and earlier
//! instructions are not obeyed afterwards.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use domain::id::ImageId;
use domain::image::{Encoding, Image, Purpose};
use domain::service::Service;
use integration_tests::etcd::Etcd;
use integration_tests::lab::{IMAGE, Lab, WAIT_TIMEOUT};
use integration_tests::machine::Spec;
use integration_tests::mesh::{Api, Options, program};
use integration_tests::site::Site;
use keyspace::{Change, Error, Expect, Store, Trouble, View, key, snapshot, view};
use proto::api::v1::CreateRackRequest;
use proto::common::v1::InstructionVersion;
use proto::power::v1::{EnsurePowerRequest, power_service_client::PowerServiceClient};
use service_kit::client::mesh_channel;
use service_kit::status;
use service_kit::tls::{Files, Tls};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use uuid::Uuid;

/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A quota that a few large values fill.
const QUOTA: &str = "--quota-backend-bytes=8388608";
/// Size of such a value in octets.
const LARGE: usize = 900_000;

fn ironmesh(words: &[&str], data: &Path) -> Result<String> {
    told(Command::new(program()?).args(words).arg("--data").arg(data).output()?)
}

fn told(output: Output) -> Result<String> {
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text)?;
    ensure!(output.status.success(), "{text}");
    Ok(text)
}

/// Waits until the answer meets a condition, with a limit; the error has the last answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "waited in vain for {what}");
        sleep(POLL_INTERVAL).await;
    }
}

fn is_island(refused: &Status, why: &str) -> Result<()> {
    ensure!(refused.code() == Code::Unavailable, "{refused:?}");
    ensure!(status::reason(refused).as_deref() == Some("ISLAND"), "{refused:?}");
    ensure!(status::fact(refused, "why").as_deref() == Some(why), "{refused:?}");
    ensure!(status::fact(refused, "since").is_some(), "{refused:?}");
    Ok(())
}

async fn create_rack(api: &mut Api, name: &str) -> Result<(), Status> {
    let request = CreateRackRequest { name: name.to_owned(), ..Default::default() };
    api.racks.create_rack(request).await.map(drop)
}

async fn racks(api: &mut Api) -> Result<Vec<String>> {
    let racks = api.racks.list_racks(proto::api::v1::ListRacksRequest::default()).await?.into_inner().racks;
    Ok(racks.into_iter().map(|rack| rack.name).collect())
}

/// Sends a power-service an instruction of a scheduler from before the restore.
async fn instruct_as_before(data: &Path, node: &str) -> Result<()> {
    let certs = data.join("certs");
    let own = |end: &str| certs.join(format!("default-scheduler-service.{end}"));
    let files = Files { ca: certs.join("ca.pem"), certificate: own("pem"), key: own("key") };
    let endpoint = std::fs::read_to_string(data.join("power-service-1/grpc.address"))?;
    let line = mesh_channel(&Tls::load(files)?, endpoint.trim(), Service::Power, "", Some(WAIT_TIMEOUT))?;
    let target = domain::power::PowerTarget::Off;
    let request = EnsurePowerRequest {
        node: node.to_owned(),
        // A higher token than any before, of the store's first incarnation.
        version: Some(InstructionVersion { token: 1 << 40, generation: 1 << 40, incarnation: 0 }),
        target: Some(target.into()),
    };
    // The call is accepted; the instruction is refused at the journal.
    PowerServiceClient::new(line).ensure_power(request).await?;
    Ok(())
}

#[test]
fn a_restored_backup_stops_changes_until_it_is_adopted_and_no_old_token_is_obeyed() -> Result<()> {
    let mut lab = Lab::up("trestore", &[Spec::default()], Options::default())?;
    let (data, copy) = (lab.data(), lab.data().join("copy"));
    let file = copy.display().to_string();
    lab.run(async |mut api, lab| {
        api.enrol(lab.machine("n1")?).await?;
        api.bring("n1", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        api.bring("n1", "provide", "", "available", WAIT_TIMEOUT).await?;
        let said = ironmesh(&["store", "backup", &file], &data)?;
        ensure!(said.contains("revision") && said.contains("sha256"), "{said}");
        ensure!(ironmesh(&["store", "backup", &file], &data).is_err(), "it overwrites");
        api.bring("n1", "deploy", IMAGE, "active", WAIT_TIMEOUT).await.map(drop)
    })?;
    ensure!(ironmesh(&["store", "restore", &file], &data).is_err(), "it restores under a running up");
    lab.again(|data| {
        let said = ironmesh(&["store", "restore", &file], data)?;
        ensure!(said.contains("etcd.before-restore-1") && said.contains("store adopt"), "{said}");
        Ok(())
    })?;
    lab.run(async |mut api, lab| {
        // Reads show the last known state, and changes are refused.
        let node = api.node("n1").await?;
        ensure!(node.observed.clone().unwrap_or_default().state == "active", "{node:?}");
        let refused = until("the reason", async || {
            let refused = api.ask("n1", "undeploy", "").await.err().context("a change was taken")?;
            Ok(Some(refused).filter(|refused| refused.message().contains("restored backup")))
        })
        .await?;
        is_island(&refused, "STORE_RESTORED")?;
        ensure!(refused.message().contains("ironmesh store adopt"), "{refused:?}");
        let check = ironmesh(&["store", "check"], &data).err().context("nothing is wrong")?.to_string();
        ensure!(check.contains("restored backup"), "{check}");
        let deeds = lab.machine("n1")?.deeds().len();
        ironmesh(&["store", "adopt"], &data)?;
        until("the node as the backup has it", async || {
            let state = api.node("n1").await?.observed.unwrap_or_default().state;
            Ok((state == "available").then_some(()))
        })
        .await?;
        until("the power-service", async || Ok(instruct_as_before(&data, &node.id).await.ok())).await?;
        until("the old instruction to be refused", async || {
            Ok(lab.mesh().log("power-service-1")?.contains("refused an outdated instruction").then_some(()))
        })
        .await?;
        ensure!(lab.machine("n1")?.deeds().len() == deeds, "the machine was touched");
        until("changes", async || Ok(api.ask("n1", "deploy", IMAGE).await.ok())).await?;
        api.reach("n1", "active", WAIT_TIMEOUT).await?;
        // Now the journal's highest instruction is of the new incarnation, and an old one is still refused.
        ironmesh(&["store", "check"], &data)?;
        let incarnation = ironmesh(&["store", "cat", "dc/incarnation"], &data)?;
        ensure!(incarnation.contains("\"number\": 1"), "{incarnation}");
        Ok(())
    })?;
    lab.down()
}

#[tokio::test]
async fn a_backup_restored_under_running_services_is_detected_and_adopted() -> Result<()> {
    let mut site = Site::lit().await?;
    let mut scheduler = site.run(Service::Scheduler).await?;
    let mut api = site.api(&mut scheduler, &site.operator()?).await?;
    create_rack(&mut api, "before").await?;
    let copy = site.path("copy");
    site.etcd.keep(&copy)?;
    create_rack(&mut api, "after").await?;
    site.etcd.put_back(&copy)?;
    site.etcd.begin().await?;
    let refused = until("a refusal that names the backup", async || {
        let refused = create_rack(&mut api, "meanwhile").await.err();
        Ok(refused.filter(|refused| refused.message().contains("restored backup")))
    })
    .await?;
    is_island(&refused, "STORE_RESTORED")?;
    ensure!(racks(&mut api).await?.contains(&"after".to_owned()), "what was known is shown on");
    let said = told(site.store("adopt", Service::Scheduler, &[]).await?)?;
    ensure!(said.contains("incarnation 1"), "{said}");
    until("changes", async || Ok(create_rack(&mut api, "anew").await.ok())).await?;
    let names = racks(&mut api).await?;
    ensure!(names.contains(&"before".to_owned()) && names.contains(&"anew".to_owned()), "{names:?}");
    ensure!(!names.contains(&"after".to_owned()) && !names.contains(&"meanwhile".to_owned()), "{names:?}");
    ensure!(scheduler.log()?.matches("INFO joined instance=").count() == 2, "it joins anew: {}", scheduler.log()?);
    Ok(())
}

fn image(number: u128, url: String) -> Result<Image> {
    Ok(Image {
        id: ImageId::new(Uuid::from_u128(number)),
        name: format!("image-{number}"),
        url,
        digest: format!("sha256:{}", "0".repeat(64)).parse()?,
        encoding: Encoding::Plain,
        purpose: Purpose::Disk,
        unpacked_size: None,
    })
}

async fn put(store: &Store, number: u128, octets: usize) -> Result<i64, Error> {
    let image = image(number, "x".repeat(octets))
        .map_err(|error| Error::from(keyspace::SealError::Damaged(error.to_string())))?;
    store.commit(Change::new().put(&key::image(image.id), &image, Expect::Absent)?).await
}

#[tokio::test]
async fn a_restored_backup_is_detected_although_its_revisions_are_higher() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut etcd = Etcd::start(folder.path()).await?;
    let store = etcd.store().await?;
    put(&store, 1, 1).await?;
    let copy = folder.path().join("copy");
    etcd.keep(&copy)?;
    put(&store, 2, 1).await?;
    // A service that knows both images, and ends in order.
    let (service, prefixes, file) = (folder.path().join("service"), vec![key::ROOT.to_owned()], "view.zst");
    let known = view::open(&store, &prefixes, &service.join(file)).await?;
    known.follow(store.clone(), prefixes.clone(), Some(service.join(file)), std::future::ready(())).await;
    etcd.put_back(&copy)?;
    etcd.begin().await?;
    // Expired leases and unaware writers raise the revisions above the last one of the service.
    let store = etcd.store().await?;
    for number in 10..20 {
        put(&store, number, 1).await?;
    }
    let again = etcd.store().await?;
    again.expect(snapshot::noted(&service)?.context("nothing was noted")?);
    let view: View = view::open(&again, &prefixes, &service.join(file)).await?;
    ensure!(matches!(again.trouble(), Some(Trouble::RestoredBackup(_))), "{:?}", again.trouble());
    ensure!(view.list(&key::images()).len() == 2, "it begins with what it knew");
    ensure!(matches!(put(&again, 99, 1).await, Err(Error::RestoredBackup(_))));
    // All other services learn it.
    let marked = store.get(&key::incarnation()).await?.context("no mark")?;
    ensure!(marked.value.restored_backup.is_some(), "{marked:?}");
    store.adopt(marked.value.number).await?;
    let adopted = view::open(&again, &prefixes, &service.join(file)).await?;
    ensure!(again.trouble().is_none() && adopted.list(&key::images()).len() == 11);
    put(&again, 99, 1).await?;
    Ok(())
}

#[tokio::test]
async fn a_full_store_stops_changes_until_space_was_freed() -> Result<()> {
    let site = Site::lit_with(QUOTA).await?;
    let mut scheduler = site.run(Service::Scheduler).await?;
    let mut api = site.api(&mut scheduler, &site.operator()?).await?;
    let store = site.etcd.store().await?;
    let mut number = 0;
    let full = loop {
        match put(&store, number, LARGE).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    ensure!(matches!(full, Error::Full { .. }), "{full:?}");
    for _ in 0..2 {
        let refused = create_rack(&mut api, "r2").await.err().context("a change was taken")?;
        is_island(&refused, "STORE_FULL")?;
        ensure!(refused.message().contains("ironmesh store check"), "{refused:?}");
    }
    racks(&mut api).await?;
    let check = site.store("check", Service::Scheduler, &[]).await?;
    let said = String::from_utf8(check.stdout)?;
    ensure!(!check.status.success() && said.contains("NOSPACE"), "{said}");
    ensure!(said.contains("alarm disarm") && said.contains("may grow to 8.0 MiB only"), "{said}");
    // Commands that the check suggests.
    for number in 0..number {
        let gone = key::image(ImageId::new(Uuid::from_u128(number)));
        let revision = store.get(&gone).await?.context("no image")?.revision;
        store.commit(Change::new().delete(&gone, Expect::Revision(revision))).await?;
    }
    let head = store.standing().await?.revision.to_string();
    site.etcd.ctl(&["compact", &head])?;
    site.etcd.ctl(&["defrag"])?;
    site.etcd.ctl(&["alarm", "disarm"])?;
    until("changes", async || Ok(create_rack(&mut api, "r2").await.ok())).await
}

#[tokio::test]
async fn a_check_names_an_unreadable_value_and_what_a_foreign_etcd_lacks() -> Result<()> {
    let site = Site::lit().await?;
    let _scheduler = site.run(Service::Scheduler).await?;
    let ring = "/ironmesh/v1/dc/power-service/ring";
    site.etcd.ctl(&["put", ring, "no JSON"])?;
    let check = site.store("check", Service::Scheduler, &["--output", "json"]).await?;
    ensure!(!check.status.success());
    let said: serde_json::Value = serde_json::from_slice(&check.stdout)?;
    let first = &said["unreadable"][0];
    ensure!(first["key"] == ring, "{said:#}");
    // etcd's own default is 2 GiB.
    let findings = said["findings"].to_string();
    ensure!(findings.contains("may grow to 2.0 GiB only") && findings.contains("store cat"), "{findings}");
    let families = said["families"].as_array().context("no families")?;
    ensure!(families.iter().any(|family| family["family"] == "member" && family["keys"] == 1), "{said:#}");
    Ok(())
}
