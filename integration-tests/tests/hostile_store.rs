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
    hostile::{self, Guard, store},
    site::{Running, Site},
};
use keyspace::{
    Change, Expect, Store,
    key::{self, Scope},
    store::Pem,
    value::Dead,
};
use proto::api::v1::CreateRackRequest;
use service_kit::{clock, tls::Files};
use tokio::time::Instant;

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

#[tokio::test]
async fn etcd_refuses_what_a_certificate_was_not_issued_for() -> Result<()> {
    let (site, rack, services) = rack().await?;
    let root = format!("/ironmesh/v1/{rack}");
    let lease = site.etcd.ctl(&["lease", "grant", "600"])?;
    let lease = lease.split_whitespace().nth(1).context("no lease")?.to_owned();
    site.etcd.ctl(&["put", &format!("{root}/scheduler-test/leased"), "x", &format!("--lease={lease}")])?;
    // What each leaf needs is allowed, so that the rest is refused for what it is.
    for leaf in store::LEAVES {
        let legal = [
            format!("put {root}/{leaf}/test x"),
            format!("get --prefix {root}/{leaf}/"),
            "get /ironmesh/v1/dc/incarnation".to_owned(),
            "get /ironmesh/v1/dc/name/rack/".to_owned(),
        ];
        for outcome in store::outcomes(&site, &for_etcd(&site.path(leaf.name())), &legal) {
            outcome.map_err(|error| anyhow::anyhow!("{leaf}: {error}"))?;
        }
    }
    let mut guard = Guard::of_services(&services)?;
    hostile::attack("store", store::TABLE, &mut guard, async |how| store::carry_out(&site, rack, &lease, how)).await?;
    ensure!(site.etcd.ctl(&["user", "list"])?.lines().count() == 6, "users changed");
    ensure!(!site.path("stolen").exists(), "a copy of the database was taken");
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
