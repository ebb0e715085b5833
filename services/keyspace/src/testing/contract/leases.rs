//! Leases: what is deleted with them, and when they expire.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Space, changes, reading, writing};
use crate::{
    Error,
    store::{
        Event,
        connection::{Failure, Watcher},
    },
};

/// A time to live, in seconds, that etcd takes as it is.
const TIME_TO_LIVE: i64 = 3;
/// How long a keep-alive may take.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn keys_are_deleted_with_their_lease_at_one_revision(space: &Space<'_>) -> Result<(), Error> {
    let lease = space.store.grant(60).await?;
    let written = space.write(vec![space.put_leased("a", "1", lease), space.put_leased("b", "2", lease)]).await?;
    let range = crate::store::connection::Range::one(&space.path("a"));
    let read = space.connection.range(range).await.map_err(reading)?;
    assert_eq!(read.pairs.first().map(|found| found.lease), Some(lease));
    space.store.revoke(lease).await?;
    assert_eq!((space.get("a").await?, space.get("b").await?), (None, None));
    assert_eq!(space.revision().await?, written + 1);
    Ok(())
}

pub(super) async fn a_key_that_is_written_without_its_lease_outlives_it(space: &Space<'_>) -> Result<(), Error> {
    let (lease, other) = (space.store.grant(60).await?, space.store.grant(60).await?);
    assert_ne!(lease, other);
    space.write(vec![space.put_leased("freed", "1", lease), space.put_leased("moved", "1", lease)]).await?;
    space.write(vec![space.put("freed", "2"), space.put_leased("moved", "2", other)]).await?;
    space.store.revoke(lease).await?;
    assert!(space.get("freed").await?.is_some() && space.get("moved").await?.is_some());
    space.store.revoke(other).await?;
    assert!(space.get("freed").await?.is_some() && space.get("moved").await?.is_none());
    Ok(())
}

pub(super) async fn nothing_is_written_under_a_lease_that_does_not_exist(space: &Space<'_>) -> Result<(), Error> {
    let lease = space.store.grant(60).await?;
    space.store.revoke(lease).await?;
    let refused = space.transact(vec![], vec![space.put_leased("a", "1", lease)]).await;
    assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
    assert_eq!(space.get("a").await?, None);
    Ok(())
}

pub(super) async fn a_revoked_lease_is_not_kept_alive(space: &Space<'_>) -> Result<(), Error> {
    let lease = space.store.grant(60).await?;
    assert!(space.store.keep_alive(lease, KEEP_ALIVE_TIMEOUT).await?);
    space.store.revoke(lease).await?;
    assert!(!space.store.keep_alive(lease, KEEP_ALIVE_TIMEOUT).await?);
    let again = space.store.revoke(lease).await;
    assert!(matches!(again, Err(Error::Refused { .. })), "{again:?}");
    Ok(())
}

pub(super) async fn a_lease_lives_while_it_is_kept_and_expires_when_it_is_not(space: &Space<'_>) -> Result<(), Error> {
    let lease = space.store.grant(TIME_TO_LIVE).await?;
    space.write(vec![space.put_leased("a", "1", lease)]).await?;
    // Twice its time to live.
    for _ in 0..6 {
        sleep(Duration::from_secs(1)).await;
        assert!(space.store.keep_alive(lease, KEEP_ALIVE_TIMEOUT).await?);
    }
    assert!(space.get("a").await?.is_some());
    let kept = Instant::now();
    space.gone("a").await?;
    assert!(kept.elapsed() >= Duration::from_secs(2), "not before its time: {:?}", kept.elapsed());
    assert!(!space.store.keep_alive(lease, KEEP_ALIVE_TIMEOUT).await?);
    Ok(())
}

pub(super) async fn a_watch_reports_the_keys_of_an_expired_lease(space: &Space<'_>) -> Result<(), Error> {
    let lease = space.store.grant(TIME_TO_LIVE).await?;
    let written = space.write(vec![space.put_leased("a", "1", lease)]).await?;
    let watcher = Watcher { prefix: space.path(""), from: written + 1 };
    let mut stream = space.connection.watch(vec![watcher]).await.map_err(writing)?;
    let told = changes(stream.as_mut()).await?;
    assert!(matches!(told.changes.as_slice(), [Event::Delete { path, .. }] if *path == space.path("a")));
    Ok(())
}
