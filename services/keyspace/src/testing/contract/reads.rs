//! Reads: pages, prefixes, and the past.

use super::{Space, reading};
use crate::{
    Error,
    store::connection::{Content, Failure, Keys, Range},
};

pub(super) async fn a_key_that_does_not_exist_is_none(space: &Space<'_>) -> Result<(), Error> {
    assert_eq!(space.get("a").await?, None);
    Ok(())
}

pub(super) async fn a_write_is_read_back_with_its_revisions(space: &Space<'_>) -> Result<(), Error> {
    let created = space.write(vec![space.put("a", "1")]).await?;
    let read = space.get("a").await?.unwrap_or_else(|| panic!("the key exists"));
    assert_eq!((read.value.as_slice(), read.created, read.revision), (b"1".as_slice(), created, created));
    let written = space.write(vec![space.put("a", "2")]).await?;
    assert!(written > created, "revisions grow");
    let read = space.get("a").await?.unwrap_or_else(|| panic!("the key exists"));
    assert_eq!((read.value.as_slice(), read.created, read.revision), (b"2".as_slice(), created, written));
    Ok(())
}

pub(super) async fn a_key_that_is_made_again_has_a_new_create_revision(space: &Space<'_>) -> Result<(), Error> {
    let first = space.write(vec![space.put("a", "1")]).await?;
    let deleted = space.write(vec![space.delete("a")]).await?;
    assert_eq!(deleted, first + 1, "a deletion takes a revision");
    let again = space.write(vec![space.put("a", "1")]).await?;
    let created = space.get("a").await?.map(|pair| pair.created);
    assert_eq!(created, Some(again));
    Ok(())
}

pub(super) async fn a_prefix_is_listed_in_order_over_pages(space: &Space<'_>) -> Result<(), Error> {
    let mut last = 0;
    // More than one page of the store's own lists.
    for page in 0..11 {
        let puts = (0..100).map(|number| space.put(&format!("list/{:04}", page * 100 + number), "x"));
        last = space.write(puts.collect()).await?;
    }
    space.write(vec![space.put("lisu", "not under the prefix")]).await?;
    let (pairs, revision) = space.store.list_pairs(&space.path("list/")).await?;
    assert_eq!(pairs.len(), 1100);
    assert!(pairs.is_sorted_by(|one, next| one.path < next.path), "in order, and none twice");
    assert!(revision > last);
    Ok(())
}

pub(super) async fn a_page_says_whether_there_is_more(space: &Space<'_>) -> Result<(), Error> {
    space.write(vec![space.put("a", "1"), space.put("b", "2"), space.put("c", "3")]).await?;
    let page = |after: Option<&str>, limit| {
        let after = after.map(|name| space.path(name));
        let keys = Keys::Under { prefix: space.path(""), after };
        space.connection.range(Range { keys, revision: None, limit, content: Content::Pairs })
    };
    let names = |pairs: &[crate::store::connection::LeasedPair]| -> Vec<String> {
        pairs.iter().map(|found| found.pair.path.replace(&space.path(""), "")).collect()
    };
    let first = page(None, 2).await.map_err(reading)?;
    assert_eq!((names(&first.pairs), first.more), (vec!["a".to_owned(), "b".to_owned()], true));
    let second = page(Some("b"), 2).await.map_err(reading)?;
    assert_eq!((names(&second.pairs), second.more), (vec!["c".to_owned()], false));
    let exact = page(None, 3).await.map_err(reading)?;
    assert!(exact.pairs.len() == 3 && !exact.more);
    Ok(())
}

pub(super) async fn a_read_at_a_revision_sees_the_past(space: &Space<'_>) -> Result<(), Error> {
    let written = space.write(vec![space.put("a", "1")]).await?;
    let deleted = space.write(vec![space.delete("a"), space.put("b", "2")]).await?;
    let at = |name: &str, revision| space.connection.range(Range::one(&space.path(name)).at(Some(revision)));
    let past = at("a", written).await.map_err(reading)?;
    let value = past.pairs.first().map(|found| found.pair.value.clone());
    assert_eq!(value.as_deref(), Some(b"1".as_slice()));
    assert!(past.header.revision >= deleted, "the header tells of the present");
    assert!(at("a", deleted).await.map_err(reading)?.pairs.is_empty());
    assert!(at("b", written).await.map_err(reading)?.pairs.is_empty());
    Ok(())
}

pub(super) async fn a_future_revision_is_out_of_range(space: &Space<'_>) -> Result<(), Error> {
    let future = space.revision().await? + 1000;
    let read = space.connection.range(Range::one(&space.path("a")).at(Some(future))).await;
    assert!(matches!(read, Err(Failure::OutOfRange(_))), "{read:?}");
    Ok(())
}

pub(super) async fn a_compacted_revision_is_out_of_range_and_the_present_is_not(
    space: &Space<'_>,
) -> Result<(), Error> {
    let first = space.write(vec![space.put("a", "1")]).await?;
    let second = space.write(vec![space.put("a", "2")]).await?;
    space.subject.compact(second).await;
    let at = |revision| space.connection.range(Range::one(&space.path("a")).at(Some(revision)));
    let past = at(first).await;
    assert!(matches!(past, Err(Failure::OutOfRange(_))), "{past:?}");
    let present = at(second).await.map_err(reading)?;
    let value = present.pairs.first().map(|found| found.pair.value.clone());
    assert_eq!(value.as_deref(), Some(b"2".as_slice()));
    assert_eq!(space.store.compacted(second).await?, second - 1, "the last revision that cannot be read");
    Ok(())
}
