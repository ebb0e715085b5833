//! The store, with a real etcd.

use std::time::Duration;

use anyhow::{Context as _, Result};
use domain::{
    id::ImageId,
    image::{Encoding, Image, Purpose},
};
use futures::future::BoxFuture;
use integration_tests::etcd::Etcd;
use keyspace::{
    Change, Error, Expect, Store, View, key,
    testing::contract::{CASES, Subject},
};
use service_kit::Host;
use uuid::Uuid;

/// Maximum time until an expected state is observed.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

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
    let image = image(number).map_err(|error| Error::from(keyspace::SealError::Damaged(error.to_string())))?;
    store.commit(Change::new().put(&key::image(image.id), &image, expect)?).await
}

/// Waits for a state, with a limit.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, waiting).await.with_context(|| format!("waited in vain for {what}"))
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
    host.spawn(async move { followed.follow(inner, vec![key::ROOT.to_owned()], None, std::future::pending()).await });
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
    // The revision of the watch was compacted, so it must list again.
    etcd.ctl(&["compact", &last.to_string()])?;
    until("nineteen images and not the first", || count(&view) == 19 && view.get(&gone).is_none()).await?;
    put(&store, 21, Expect::Absent).await?;
    until("an image after the compaction", || count(&view) == 20).await
}

struct Real(Etcd);

impl Subject for Real {
    fn store(&self) -> BoxFuture<'_, Store> {
        Box::pin(async { self.0.store().await.unwrap_or_else(|error| panic!("{error:#}")) })
    }

    fn compact(&self, revision: i64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let compacted = self.0.ctl(&["compact", &revision.to_string()]);
            assert!(compacted.is_ok(), "{compacted:?}");
        })
    }
}

/// The same cases run over the in-memory store in `services/keyspace/tests/contract.rs`.
#[tokio::test]
async fn etcd_fulfills_the_contract_that_the_in_memory_store_is_held_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let etcd = Real(Etcd::start(folder.path()).await?);
    for case in CASES {
        case.run(&etcd).await.with_context(|| case.name)?;
    }
    Ok(())
}
