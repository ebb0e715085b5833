//! Attacks on etcd with certificates that were issued for something else.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use domain::{
    id::{InstanceId, RackId},
    service::Service,
};
use integration_tests::{
    authority::for_etcd,
    etcd::Etcd,
    fault::tell,
    site::{Running, Site},
};
use keyspace::{
    Change, Expect, Store,
    key::{self, Scope},
    store::Pem,
    value::Dead,
};
use proto::api::v1::CreateRackRequest;
use service_kit::{
    clock,
    tls::{Files, Identity, Role},
};
use tokio::time::Instant;

/// Limit of one command, so that a refused handshake is not tried for long.
const LIMIT: &str = "--command-timeout=2s";

/// A site with a rack and running services of it.
async fn rack() -> Result<(Site, RackId, Vec<Running>)> {
    let site = Site::lit().await?;
    let mut scheduler = site.run(Service::Scheduler).await?;
    let mut api = site.api(&mut scheduler, &site.operator()?).await?;
    api.racks.create_rack(CreateRackRequest::default()).await?;
    let mut all = vec![scheduler];
    for service in [Service::Power, Service::Pxe, Service::Storage, Service::Inventory] {
        all.push(site.run(service).await?);
    }
    let holder = site.etcd.store().await?.get(&key::rack_name("")).await?.context("no rack")?;
    Ok((site, RackId::new(holder.value.id), all))
}

/// Runs commands with a certificate, all at the same time. Returns those that succeeded.
fn allowed(site: &Site, files: &Files, commands: &[Vec<String>]) -> Vec<String> {
    std::thread::scope(|scope| {
        let running = commands.iter().map(|words| {
            scope.spawn(move || {
                let words: Vec<_> = words.iter().map(String::as_str).chain([LIMIT]).collect();
                site.etcd.ctl_as(files, &words).is_ok()
            })
        });
        let running: Vec<_> = running.collect();
        let outcomes = running.into_iter().map(|thread| thread.join().unwrap_or(true));
        let succeeded = commands.iter().zip(outcomes).filter(|(_, succeeded)| *succeeded);
        succeeded.map(|(words, _)| words.join(" ")).collect()
    })
}

fn words(commands: &[&[&str]]) -> Vec<Vec<String>> {
    commands.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect()
}

#[tokio::test]
async fn etcd_refuses_the_certificates_of_operators_and_those_of_services_for_the_mesh() -> Result<()> {
    let site = Site::lit().await?;
    let commands = words(&[&["get", "/ironmesh/v1/dc/incarnation"], &["put", "/ironmesh/v1/dc/incarnation", "x"]]);
    let administrator = site.etcd.ctl(&["get", "/ironmesh/v1/dc/incarnation"]);
    ensure!(administrator.is_ok(), "etcd does not answer: {administrator:?}");
    let operators = Role::ALL.map(|role| Identity::Operator { name: "ann".to_owned(), role });
    for (number, bearer) in operators.into_iter().chain(Service::ALL.map(Site::identity)).enumerate() {
        let files = site.issue(&format!("bearer-{number}"), &bearer)?;
        let succeeded = allowed(&site, &files, &commands);
        ensure!(succeeded.is_empty(), "{bearer}: {succeeded:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_leaf_writes_its_own_prefix_only_and_reads_what_it_follows() -> Result<()> {
    let (site, rack, _services) = rack().await?;
    let root = format!("/ironmesh/v1/{rack}");
    let other = format!("/ironmesh/v1/{}", RackId::new(uuid::Uuid::from_u128(7)));
    let lease = site.etcd.ctl(&["lease", "grant", "600"])?;
    let lease = lease.split_whitespace().nth(1).context("no lease")?.to_owned();
    site.etcd.ctl(&["put", &format!("{root}/scheduler-test/leased"), "x", &format!("--lease={lease}")])?;
    for service in [Service::Power, Service::Pxe, Service::Storage, Service::Inventory] {
        let files = for_etcd(&site.path(service.name()));
        let command = |verb: &str, key: &str| vec![verb.to_owned(), key.to_owned(), "x".to_owned()];
        let own = format!("{root}/{service}/test");
        let legal = vec![
            command("put", &own),
            vec!["get".to_owned(), "--prefix".to_owned(), format!("{root}/{service}/")],
            vec!["get".to_owned(), "/ironmesh/v1/dc/incarnation".to_owned()],
            vec!["get".to_owned(), "/ironmesh/v1/dc/name/rack/".to_owned()],
        ];
        let succeeded = allowed(&site, &files, &legal);
        ensure!(succeeded.len() == legal.len(), "{service} may do no more than {succeeded:?}");

        let foreign = Service::ALL.into_iter().find(|foreign| *foreign != service).context("one service")?;
        let mut hostile: Vec<Vec<String>> = [
            "/ironmesh/v1/dc/incarnation".to_owned(),
            "/ironmesh/v1/dc/name/rack/".to_owned(),
            "/ironmesh/v1/dc/image/1".to_owned(),
            "/ironmesh/v1/dc/scheduler-service/election".to_owned(),
            format!("{root}/node/1/intent"),
            format!("{root}/node/1/life"),
            format!("{root}/node/1/boot"),
            format!("{root}/node-spec/1"),
            format!("{root}/port/1"),
            format!("{root}/{foreign}/election"),
            format!("{root}/{foreign}/claim/1"),
            format!("{root}/{service}-more"),
            format!("{other}/{service}/election"),
            "/elsewhere".to_owned(),
        ]
        .iter()
        .map(|key| command("put", key))
        .collect();
        hostile.extend([
            vec!["del".to_owned(), "/ironmesh/v1/dc/incarnation".to_owned()],
            vec!["del".to_owned(), "--prefix".to_owned(), "/ironmesh/v1/".to_owned()],
            vec!["del".to_owned(), "--prefix".to_owned(), format!("{root}/{foreign}/")],
            vec!["get".to_owned(), "--prefix".to_owned(), "/ironmesh/v1/".to_owned()],
            vec!["get".to_owned(), "--prefix".to_owned(), format!("{root}/")],
            vec!["get".to_owned(), "--prefix".to_owned(), "/ironmesh/v1/dc/bulk-drive/".to_owned()],
            vec!["get".to_owned(), format!("{other}/node/1/life")],
            vec!["lease".to_owned(), "revoke".to_owned(), lease.clone()],
        ]);
        hostile.extend(words(&[
            &["role", "add", "more"],
            &["role", "grant-permission", "scheduler-service", "readwrite", "/", "0"],
            &["role", "delete", "scheduler-service"],
            &["user", "add", "--no-password", "more"],
            &["user", "grant-role", &format!("{service}.default"), "root"],
            &["user", "delete", "root"],
            &["user", "passwd", "--interactive=false", "root"],
            &["auth", "disable"],
            &["defrag"],
            &["snapshot", "save", &site.path("stolen").display().to_string()],
            &["member", "add", "more", "--peer-urls=https://127.0.0.1:1"],
        ]));
        let succeeded = allowed(&site, &files, &hostile);
        ensure!(succeeded.is_empty(), "{service}: {succeeded:?}");
    }
    ensure!(site.etcd.ctl(&["user", "list"])?.lines().count() == 6, "users changed");
    Ok(())
}

#[tokio::test]
async fn roles_that_were_changed_by_hand_are_restored() -> Result<()> {
    let (site, _, _services) = rack().await?;
    let before = site.etcd.ctl(&["role", "get", "pxe-service.default"])?;
    site.etcd.ctl(&["role", "grant-permission", "pxe-service.default", "readwrite", "/", "0"])?;
    site.etcd.ctl(&["user", "grant-role", "pxe-service.default", "root"])?;
    site.etcd.ctl(&["user", "delete", "power-service.default"])?;
    site.etcd.init()?;
    ensure!(site.etcd.ctl(&["role", "get", "pxe-service.default"])? == before);
    ensure!(!site.etcd.ctl(&["user", "get", "pxe-service.default"])?.contains("root"));
    site.etcd.ctl(&["user", "get", "power-service.default"])?;
    Ok(())
}

/// Time that so many transactions take, one after the other.
async fn transactions(store: &Store, count: u32) -> Result<Duration> {
    let begun = Instant::now();
    for _ in 0..count {
        let key = key::dead(Scope::Datacenter, Service::Scheduler, InstanceId::new(uuid::Uuid::new_v4()));
        let dead = Dead { by: "a measurement".to_owned(), at: clock::now() };
        store
            .commit(Change::new().expect(&key::incarnation(), Expect::Absent).put(&key, &dead, Expect::Absent)?)
            .await?;
    }
    Ok(begun.elapsed())
}

#[tokio::test]
#[ignore = "a measurement: what the checks of permissions cost"]
async fn transactions_with_and_without_roles() -> Result<()> {
    let (folder, site) = (tempfile::tempdir()?, Site::lit().await?);
    let etcd = Etcd::start(folder.path()).await?;
    let open = etcd.store().await?;
    site.issue("scheduler", &Site::identity(Service::Scheduler))?;
    let Files { ca, certificate, key } = for_etcd(&site.path("scheduler"));
    let (ca, certificate, key) = (fs::read(ca)?, fs::read(certificate)?, fs::read(key)?);
    let pem = Pem { ca: &ca, certificate: &certificate, key: &key };
    let checked = Store::connect(&[site.etcd.endpoint()], pem).await?;
    for _ in 0..5 {
        let (open, checked) = (transactions(&open, 300).await?, transactions(&checked, 300).await?);
        tell(format_args!("300 transactions: {open:?} without roles, {checked:?} with roles"));
    }
    Ok(())
}
