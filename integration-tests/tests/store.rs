//! The store and the mesh over a real etcd.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use domain::{
    id::{ImageId, NodeId, RackId},
    image::{Encoding, Image, Purpose},
    ring::fence::Times,
    service::Service,
};
use integration_tests::etcd::Etcd;
use keyspace::{Change, Error, Expect, Store, View, key, key::Scope};
use mesh::{Lock, Mesh, Setting};
use service_kit::Host;
use uuid::Uuid;

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

fn image(number: u128) -> Result<Image> {
    Ok(Image {
        id: ImageId::new(Uuid::from_u128(number)),
        name: format!("image-{number}"),
        url: "http://example/".to_owned(),
        digest: format!("sha256:{}", "0".repeat(64)).parse()?,
        encoding: Encoding::Plain,
        purpose: Purpose::Disk,
        unpacked_size: None,
    })
}

async fn put(store: &Store, number: u128, expect: Expect) -> Result<i64, Error> {
    let image = image(number).map_err(|error| Error::Seal(error.to_string()))?;
    store.commit(Change::new().put(&key::image(image.id), &image, expect)?).await
}

/// Waits for a state, bounded.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("waited in vain for {what}"))
}

#[tokio::test]
async fn a_write_that_expects_something_else_is_refused_and_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let etcd = Etcd::start(folder.path()).await?;
    let store = etcd.store().await?;
    let revision = put(&store, 1, Expect::Absent).await?;
    assert!(matches!(put(&store, 1, Expect::Absent).await, Err(Error::Conflict)));
    assert!(matches!(put(&store, 1, Expect::Revision(revision - 1)).await, Err(Error::Conflict)));
    let both = Change::new()
        .put(&key::image(ImageId::new(Uuid::from_u128(2))), &image(2)?, Expect::Absent)?
        .delete(&key::image(ImageId::new(Uuid::from_u128(1))), Expect::Revision(revision - 1));
    assert!(matches!(store.commit(both).await, Err(Error::Conflict)));
    assert_eq!(store.list(&key::images()).await?.len(), 1, "together or not at all");
    let seen = etcd.ctl(&["get", "--prefix", key::ROOT])?;
    assert!(seen.contains("\"name\":\"image-1\""), "readable at 3 a.m.: {seen}");
    Ok(())
}

#[tokio::test]
async fn a_watch_has_no_gap_after_a_restart_of_etcd_and_after_compaction() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut etcd = Etcd::start(folder.path()).await?;
    let store = etcd.store().await?;
    put(&store, 1, Expect::Absent).await?;
    let (view, host) = (View::default(), Host::default());
    let (followed, inner) = (view.clone(), etcd.store().await?);
    host.spawn(async move { followed.follow(inner, vec![key::ROOT.to_owned()], None).await });
    let count = |view: &View| view.list(&key::images()).len();
    until("the first image", || count(&view) == 1).await?;
    etcd.kill()?;
    etcd.begin().await?;
    let store = etcd.store().await?;
    for number in 2..=20 {
        put(&store, number, Expect::Absent).await?;
    }
    let gone = key::image(ImageId::new(Uuid::from_u128(1)));
    let revision = store.get(&gone).await?.context("the first image")?.revision;
    let last = store.commit(Change::new().delete(&gone, Expect::Revision(revision))).await?;
    // Whatever the watch had not seen by now it can not resume: it must list again.
    etcd.ctl(&["compact", &last.to_string()])?;
    until("nineteen images and not the first", || count(&view) == 19 && view.get(&gone).is_none()).await?;
    put(&store, 21, Expect::Absent).await?;
    until("an image after the compaction", || count(&view) == 20).await
}

struct Member {
    mesh: Mesh,
    host: Host,
}

async fn member(etcd: &Etcd, folder: &Path, rack: RackId) -> Result<Member> {
    let (store, view, host) = (etcd.store().await?, View::default(), Host::default());
    let scope = Scope::Rack(rack);
    let (followed, inner) = (view.clone(), store.clone());
    host.spawn(async move { followed.follow(inner, vec![scope.root()], None).await });
    let setting = Setting {
        service: Service::Power,
        scope,
        endpoint: folder.display().to_string(),
        data_endpoint: String::new(),
        times: Times::default(),
    };
    let mesh = Mesh::new(setting, store, view);
    host.spawn(mesh.clone().live(host.clone(), Lock::take(folder)?));
    mesh.joined().await;
    Ok(Member { mesh, host })
}

fn nodes() -> impl Iterator<Item = NodeId> {
    (1..=100).map(|number| NodeId::new(Uuid::from_u128(number)))
}

#[tokio::test]
async fn two_members_share_nodes_and_one_that_stops_hands_over_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let etcd = Etcd::start(folder.path()).await?;
    let rack = RackId::new(Uuid::from_u128(7));
    let first = member(&etcd, &folder.path().join("first"), rack).await?;
    let second = member(&etcd, &folder.path().join("second"), rack).await?;
    let owned = |member: &Member| nodes().filter(|node| member.mesh.owns(*node)).count();
    until("each node to have one owner", || {
        let both = nodes().filter(|node| first.mesh.owns(*node) && second.mesh.owns(*node)).count();
        owned(&first) + owned(&second) == 100 && both == 0 && owned(&second) > 20
    })
    .await?;
    let node = nodes().find(|node| second.mesh.owns(*node)).context("a node of the second")?;
    let refused = first.mesh.stake(node).err().context("the first is not the owner")?;
    assert!(matches!(&refused, mesh::Error::NotOwner { endpoint, .. } if endpoint.ends_with("second")), "{refused}");
    let stake = second.mesh.stake(node)?;
    let claim = second.mesh.claim(&stake).await?;
    assert_eq!(second.mesh.claim(&stake).await?.token(), claim.token(), "a claim is kept");
    second.host.stop();
    stake.lost().await;
    assert!(!first.mesh.owns(node) || first.mesh.stake(node).is_ok());
    drop(stake);
    until("the first to own everything", || owned(&first) == 100).await?;
    let stake = first.mesh.stake(node)?;
    let taken = async {
        loop {
            match first.mesh.claim(&stake).await {
                Ok(claim) => return claim,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    // Nothing waits for a lease or W to run out: the second one acknowledged.
    let later = tokio::time::timeout(Duration::from_secs(3), taken).await.context("the claim did not pass on")?;
    assert!(later.token() > claim.token());
    let late = second.mesh.fenced(&claim).put(&key::power(rack, node), &seen(&claim), Expect::Absent)?;
    let written = second.mesh.store().commit(late).await;
    assert!(matches!(written, Err(Error::Conflict)), "the predecessor's writes are fenced: {written:?}");
    first.host.stop();
    Ok(())
}

fn seen(claim: &mesh::Claim) -> keyspace::value::PowerSeen {
    keyspace::value::PowerSeen {
        power: domain::power::Power::On,
        seen_at: domain::time::Timestamp::default(),
        seen_by: claim.instance(),
        settled: None,
        trouble: None,
    }
}
