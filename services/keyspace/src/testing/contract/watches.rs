//! Watches: order, prefixes, compaction, and the followers made of them.

use std::time::Duration;

use tokio::time::timeout;

use super::{Space, WAIT_TIMEOUT, changes, reading};
use crate::{
    Error,
    store::{
        Event,
        connection::{WatchMessage, WatchStream, Watcher},
    },
    watch::{Update, Watch},
};

async fn open(space: &Space<'_>, watchers: Vec<Watcher>) -> Result<Box<dyn WatchStream>, Error> {
    space.connection.watch(watchers).await.map_err(reading)
}

fn watcher(space: &Space<'_>, prefix: &str, from: i64) -> Watcher {
    Watcher { prefix: space.path(prefix), from }
}

/// The names and revisions of changes; a deletion begins with a minus.
fn told(space: &Space<'_>, changes: &[Event]) -> Vec<String> {
    let name = |event: &Event| {
        let name = event.path().replace(&space.path(""), "");
        match event {
            Event::Put(_) => format!("{name}@{}", event.revision()),
            Event::Delete { .. } => format!("-{name}@{}", event.revision()),
        }
    };
    changes.iter().map(name).collect()
}

pub(super) async fn a_watch_replays_from_its_revision_and_goes_on(space: &Space<'_>) -> Result<(), Error> {
    let first = space.write(vec![space.put("a", "1")]).await?;
    let second = space.write(vec![space.put("a", "2")]).await?;
    let third = space.write(vec![space.delete("a")]).await?;
    let mut stream = open(space, vec![watcher(space, "", second)]).await?;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(changes(stream.as_mut()).await?.changes);
    }
    assert_eq!(told(space, &seen), [format!("a@{second}"), format!("-a@{third}")], "and not {first}");
    let fourth = space.write(vec![space.put("b", "1")]).await?;
    assert_eq!(told(space, &changes(stream.as_mut()).await?.changes), [format!("b@{fourth}")]);
    Ok(())
}

pub(super) async fn a_watch_reports_its_prefix_only(space: &Space<'_>) -> Result<(), Error> {
    let now = space.revision().await?;
    let mut stream = open(space, vec![watcher(space, "in/", now + 1)]).await?;
    space.write(vec![space.put("in", "1"), space.put("inner/a", "1")]).await?;
    let written = space.write(vec![space.put("in/a", "1"), space.put("io", "1")]).await?;
    assert_eq!(told(space, &changes(stream.as_mut()).await?.changes), [format!("in/a@{written}")]);
    Ok(())
}

pub(super) async fn a_revision_arrives_in_one_message(space: &Space<'_>) -> Result<(), Error> {
    let now = space.revision().await?;
    let mut stream = open(space, vec![watcher(space, "", now + 1)]).await?;
    let puts = (0..100).map(|number| space.put(&format!("{number:03}"), "x")).collect();
    let revision = space.write(puts).await?;
    let seen = changes(stream.as_mut()).await?.changes;
    assert!(seen.len() == 100 && seen.iter().all(|event| event.revision() == revision), "{}", seen.len());
    Ok(())
}

pub(super) async fn watchers_of_one_stream_are_told_apart(space: &Space<'_>) -> Result<(), Error> {
    let from = space.revision().await? + 1;
    let mut stream = open(space, vec![watcher(space, "a/", from), watcher(space, "b/", from)]).await?;
    space.write(vec![space.put("b/1", "x")]).await?;
    assert_eq!(changes(stream.as_mut()).await?.watcher, Some(1));
    space.write(vec![space.put("a/1", "x")]).await?;
    assert_eq!(changes(stream.as_mut()).await?.watcher, Some(0));
    Ok(())
}

pub(super) async fn a_watch_from_a_compacted_revision_is_canceled(space: &Space<'_>) -> Result<(), Error> {
    let first = space.write(vec![space.put("a", "1")]).await?;
    space.write(vec![space.put("a", "2")]).await?;
    let last = space.write(vec![space.put("a", "3")]).await?;
    space.subject.compact(last).await;
    let mut stream = open(space, vec![watcher(space, "", first)]).await?;
    let message = timeout(WAIT_TIMEOUT, stream.message()).await.map_err(|_| super::silent())?;
    assert_eq!(message.map_err(reading)?, WatchMessage::Canceled);
    let mut stream = open(space, vec![watcher(space, "", last)]).await?;
    assert_eq!(told(space, &changes(stream.as_mut()).await?.changes), [format!("a@{last}")], "it is not compacted");
    Ok(())
}

pub(super) async fn a_request_for_progress_is_answered(space: &Space<'_>) -> Result<(), Error> {
    let now = space.revision().await?;
    let mut stream = open(space, vec![watcher(space, "", now + 1)]).await?;
    let nothing = timeout(Duration::from_millis(500), stream.message()).await;
    assert!(nothing.is_err(), "nothing changed: {nothing:?}");
    stream.request_progress().await.map_err(reading)?;
    let message = timeout(WAIT_TIMEOUT, stream.message()).await.map_err(|_| super::silent())?;
    let message = message.map_err(reading)?;
    assert!(matches!(&message, WatchMessage::Changes { changes, .. } if changes.is_empty()), "{message:?}");
    Ok(())
}

pub(super) async fn a_follower_sees_everything_and_then_every_change(space: &Space<'_>) -> Result<(), Error> {
    let revision = space.write(vec![space.put("a", "1")]).await?;
    let mut watch = Watch::new(space.store.clone(), vec![space.path("")]);
    let first = watch.next().await?;
    assert!(matches!(&first, Update::Snapshot { pairs, revision: at, .. } if pairs.len() == 1 && *at >= revision));
    let revision = space.write(vec![space.put("b", "1")]).await?;
    assert_eq!(next_changes(&mut watch).await?, (vec![format!("{}b", space.path(""))], Some(revision)));
    Ok(())
}

pub(super) async fn a_follower_lists_again_after_a_compaction(space: &Space<'_>) -> Result<(), Error> {
    space.write(vec![space.put("a", "1")]).await?;
    let mut watch = Watch::new(space.store.clone(), vec![space.path("")]);
    // It lists, and has not opened its stream yet.
    watch.next().await?;
    space.write(vec![space.put("a", "2")]).await?;
    let last = space.write(vec![space.put("b", "1"), space.delete("a")]).await?;
    let last = space.write(vec![space.put("c", "1")]).await?.max(last);
    space.subject.compact(last).await;
    let update = loop {
        match watch.next().await? {
            Update::Unchanged => {}
            update @ (Update::Snapshot { .. } | Update::Rebuilt { .. } | Update::Changes { .. }) => break update,
        }
    };
    let Update::Snapshot { pairs, .. } = update else { panic!("it lists again: {update:?}") };
    assert_eq!(pairs.iter().map(|pair| pair.path.clone()).collect::<Vec<_>>(), [space.path("b"), space.path("c")]);
    Ok(())
}

async fn next_changes(watch: &mut Watch) -> Result<(Vec<String>, Option<i64>), Error> {
    loop {
        match watch.next().await? {
            Update::Changes { changes, revision } => {
                return Ok((changes.iter().map(|event| event.path().to_owned()).collect(), revision));
            }
            Update::Unchanged => {}
            update @ (Update::Snapshot { .. } | Update::Rebuilt { .. }) => {
                panic!("nothing is listed again: {update:?}")
            }
        }
    }
}
