//! Transactions: conditions, atomicity, and what takes a revision.

use super::{Space, writing};
use crate::{
    Error,
    store::connection::{Compare, Failure, Operation, Transaction},
};

pub(super) async fn a_transaction_writes_everything_at_one_revision(space: &Space<'_>) -> Result<(), Error> {
    space.write(vec![space.put("old", "1")]).await?;
    let revision = space.write(vec![space.put("a", "1"), space.put("b", "2"), space.delete("old")]).await?;
    for name in ["a", "b"] {
        assert_eq!(space.get(name).await?.map(|pair| pair.revision), Some(revision), "{name}");
    }
    assert_eq!(space.get("old").await?, None);
    assert_eq!(space.revision().await?, revision);
    Ok(())
}

pub(super) async fn a_transaction_with_a_false_condition_writes_nothing(space: &Space<'_>) -> Result<(), Error> {
    let absent = || Compare::ModRevision(space.path("a"), 0);
    let made = space.transact(vec![absent()], vec![space.put("a", "1")]).await.map_err(writing)?;
    assert!(made.succeeded);
    let revision = made.header.revision;
    for compares in [
        vec![absent()],
        vec![Compare::ModRevision(space.path("a"), revision - 1)],
        vec![Compare::ModRevision(space.path("a"), revision), Compare::ModRevision(space.path("b"), revision)],
    ] {
        let refused =
            space.transact(compares, vec![space.put("a", "2"), space.put("b", "2")]).await.map_err(writing)?;
        assert!(!refused.succeeded);
        assert_eq!(refused.header.revision, revision, "it takes no revision");
    }
    assert_eq!(space.get("b").await?, None);
    let same = vec![Compare::ModRevision(space.path("a"), revision)];
    assert!(space.transact(same, vec![space.put("a", "3")]).await.map_err(writing)?.succeeded);
    Ok(())
}

pub(super) async fn a_condition_on_the_create_revision_fails_once_the_key_was_made_again(
    space: &Space<'_>,
) -> Result<(), Error> {
    let created = space.write(vec![space.put("a", "1")]).await?;
    space.write(vec![space.put("a", "2")]).await?;
    let is_same = || vec![Compare::CreateRevision(space.path("a"), created)];
    assert!(space.transact(is_same(), vec![space.put("b", "1")]).await.map_err(writing)?.succeeded);
    space.write(vec![space.delete("a")]).await?;
    assert!(!space.transact(is_same(), vec![space.put("b", "2")]).await.map_err(writing)?.succeeded, "it is gone");
    space.write(vec![space.put("a", "1")]).await?;
    assert!(!space.transact(is_same(), vec![space.put("b", "2")]).await.map_err(writing)?.succeeded, "it is another");
    Ok(())
}

pub(super) async fn a_condition_that_nothing_is_under_a_prefix_fails_once_a_key_is(
    space: &Space<'_>,
) -> Result<(), Error> {
    let none = |prefix: &str| vec![Compare::NoneUnder(space.path(prefix))];
    let writes = async |prefix: &str, value: &str| {
        Ok::<_, Error>(space.transact(none(prefix), vec![space.put("z", value)]).await.map_err(writing)?.succeeded)
    };
    space.write(vec![space.put("rack1/a", "1"), space.put("rack10", "1")]).await?;
    for (prefix, is_so) in [("rack/", true), ("rack1/", false), ("rack1", false), ("rack10", false), ("rack10/", true)]
    {
        assert_eq!(writes(prefix, "1").await?, is_so, "{prefix}");
    }
    space.write(vec![space.delete("rack1/a")]).await?;
    assert!(writes("rack1/", "2").await?, "what was deleted is not there");
    Ok(())
}

pub(super) async fn a_failed_transaction_reads_what_is_there(space: &Space<'_>) -> Result<(), Error> {
    let revision = space.write(vec![space.put("a", "1")]).await?;
    let transaction = |compare| Transaction {
        compares: vec![compare],
        then: vec![space.put("a", "2")],
        otherwise: vec![Operation::Get(space.path("b")), Operation::Get(space.path("a"))],
    };
    let absent = Compare::ModRevision(space.path("a"), 0);
    let answer = space.connection.transact(transaction(absent)).await.map_err(writing)?;
    let found: Vec<_> = answer.found.iter().map(|found| found.as_ref().map(|pair| pair.revision)).collect();
    assert_eq!((answer.succeeded, found), (false, vec![None, Some(revision)]));
    let same = Compare::ModRevision(space.path("a"), revision);
    let answer = space.connection.transact(transaction(same)).await.map_err(writing)?;
    assert!(answer.succeeded && answer.found.is_empty());
    Ok(())
}

pub(super) async fn deleting_what_does_not_exist_takes_no_revision(space: &Space<'_>) -> Result<(), Error> {
    let before = space.revision().await?;
    assert_eq!(space.write(vec![space.delete("a"), space.delete("a")]).await?, before);
    assert_eq!(space.write(vec![]).await?, before, "nor does nothing at all");
    Ok(())
}

pub(super) async fn a_key_is_written_once_in_a_transaction(space: &Space<'_>) -> Result<(), Error> {
    for operations in [
        vec![space.put("a", "1"), space.put("a", "2")],
        vec![space.put("a", "1"), space.delete("a")],
        vec![space.delete("a"), space.put("a", "1")],
    ] {
        let refused = space.transact(vec![], operations).await;
        assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
    }
    assert_eq!(space.get("a").await?, None);
    Ok(())
}
