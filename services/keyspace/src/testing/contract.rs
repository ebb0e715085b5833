//! What `keyspace` relies on of etcd, as cases that run over any store: over the in-memory one in this crate's own tests,
//! and over a real etcd in `integration-tests`. A case that holds over one and not over the other is a fault of the
//! in-memory store.
//!
//! Each case writes under a prefix of its own, so that all of them may share a store. Times are those of etcd: a case
//! about leases takes some seconds unless tokio's clock is paused.

mod leases;
mod reads;
mod transactions;
mod watches;

use std::{future::Future, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::{
    Error, Store,
    key::ROOT,
    store::connection::{
        Compare, Connection, Failure, Operation, Range, Transaction, TransactionAnswer, WatchMessage, WatchStream,
    },
    store::{Event, Pair},
};

/// How long a case waits for a state.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A store under test.
pub trait Subject: Send + Sync {
    /// A connection of its own.
    fn store(&self) -> BoxFuture<'_, Store>;
    /// Compacts the history up to a revision.
    fn compact(&self, revision: i64) -> BoxFuture<'_, ()>;
}

/// A case of the contract.
pub struct Case {
    /// Its name: a sentence.
    pub name: &'static str,
    run: for<'a> fn(&'a Space<'a>) -> BoxFuture<'a, Result<(), Error>>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Case {
    /// Runs the case.
    ///
    /// # Errors
    /// A request failed that the case did not expect to fail.
    ///
    /// # Panics
    /// The store does not do what the contract says.
    pub async fn run(&self, subject: &dyn Subject) -> Result<(), Error> {
        let store = subject.store().await;
        let connection = Arc::clone(&store.endpoint()?.connection);
        let space = Space { subject, store, connection, prefix: format!("{ROOT}contract/{}/", self.name) };
        (self.run)(&space).await
    }
}

/// The cases, from one list: `CASES`, and a macro that makes a test of each.
macro_rules! cases {
    ($($module:ident: $($name:ident)*;)*) => {
        /// All cases.
        pub const CASES: &[Case] =
            &[$($(Case { name: stringify!($name), run: |space| Box::pin($module::$name(space)) },)*)*];

        /// Makes a test of each case: `contract_tests!(#[tokio::test] subject)`, where `subject()` makes a
        /// `Subject`.
        #[macro_export]
        macro_rules! contract_tests {
            (#[$test:meta] $subject:path) => {
                $($($crate::contract_test!(#[$test] $subject, $name);)*)*
            };
        }
    };
}

/// Makes a test of one case.
#[macro_export]
macro_rules! contract_test {
    (#[$test:meta] $subject:path, $name:ident) => {
        #[$test]
        async fn $name() {
            let case = $crate::testing::contract::CASES.iter().find(|case| case.name == stringify!($name)).unwrap();
            case.run(&$subject()).await.unwrap();
        }
    };
}

cases! {
    reads:
        a_key_that_does_not_exist_is_none
        a_write_is_read_back_with_its_revisions
        a_key_that_is_made_again_has_a_new_create_revision
        a_prefix_is_listed_in_order_over_pages
        a_page_says_whether_there_is_more
        a_read_at_a_revision_sees_the_past
        a_future_revision_is_out_of_range
        a_compacted_revision_is_out_of_range_and_the_present_is_not;
    transactions:
        a_transaction_writes_everything_at_one_revision
        a_transaction_with_a_false_condition_writes_nothing
        a_condition_on_the_create_revision_fails_once_the_key_was_made_again
        a_condition_that_nothing_is_under_a_prefix_fails_once_a_key_is
        a_failed_transaction_reads_what_is_there
        deleting_what_does_not_exist_takes_no_revision
        a_key_is_written_once_in_a_transaction;
    leases:
        keys_are_deleted_with_their_lease_at_one_revision
        a_key_that_is_written_without_its_lease_outlives_it
        nothing_is_written_under_a_lease_that_does_not_exist
        a_revoked_lease_is_not_kept_alive
        a_lease_lives_while_it_is_kept_and_expires_when_it_is_not
        a_watch_reports_the_keys_of_an_expired_lease;
    watches:
        a_watch_replays_from_its_revision_and_goes_on
        a_watch_reports_its_prefix_only
        a_revision_arrives_in_one_message
        watchers_of_one_stream_are_told_apart
        a_watch_from_a_compacted_revision_is_canceled
        a_request_for_progress_is_answered
        a_follower_sees_everything_and_then_every_change
        a_follower_lists_again_after_a_compaction;
}

/// What a case works with.
pub(super) struct Space<'a> {
    subject: &'a dyn Subject,
    store: Store,
    connection: Arc<dyn Connection>,
    prefix: String,
}

impl Space<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn put(&self, name: &str, value: &str) -> Operation {
        self.put_leased(name, value, 0)
    }

    fn put_leased(&self, name: &str, value: &str, lease: i64) -> Operation {
        Operation::Put { path: self.path(name), value: value.as_bytes().to_vec(), lease }
    }

    fn delete(&self, name: &str) -> Operation {
        Operation::Delete(self.path(name))
    }

    /// Carries out operations if conditions hold.
    async fn transact(&self, compares: Vec<Compare>, then: Vec<Operation>) -> Result<TransactionAnswer, Failure> {
        self.connection.transact(Transaction { compares, then, otherwise: Vec::new() }).await
    }

    /// Carries out operations and returns their revision.
    async fn write(&self, then: Vec<Operation>) -> Result<i64, Error> {
        let answer = self.transact(Vec::new(), then).await.map_err(writing)?;
        assert!(answer.succeeded, "a transaction without conditions succeeds");
        Ok(answer.header.revision)
    }

    async fn get(&self, name: &str) -> Result<Option<Pair>, Error> {
        self.store.get_pair(&self.path(name)).await
    }

    /// The present revision.
    async fn revision(&self) -> Result<i64, Error> {
        let range = Range::one(&self.path("nothing"));
        Ok(self.connection.range(range).await.map_err(reading)?.header.revision)
    }

    /// Waits until a key is gone.
    async fn gone(&self, name: &str) -> Result<(), Error> {
        until("the key is gone", async || Ok(self.get(name).await?.is_none())).await
    }
}

fn writing(failure: Failure) -> Error {
    failure.doing("writing")
}

fn reading(failure: Failure) -> Error {
    failure.doing("reading")
}

/// Waits for a state.
async fn until<F: Future<Output = Result<bool, Error>>>(what: &str, mut is_so: impl FnMut() -> F) -> Result<(), Error> {
    let begun = Instant::now();
    while !is_so().await? {
        assert!(begun.elapsed() < WAIT_TIMEOUT, "waited in vain until {what}");
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// The next changes of a stream and the watcher that they are for.
async fn changes(stream: &mut dyn WatchStream) -> Result<Told, Error> {
    loop {
        let message = tokio::time::timeout(WAIT_TIMEOUT, stream.message()).await;
        let message = message.map_err(|_| silent())?;
        match message.map_err(reading)? {
            WatchMessage::Changes { watcher, changes, .. } if !changes.is_empty() => {
                return Ok(Told { watcher, changes });
            }
            WatchMessage::Changes { .. } => {}
            WatchMessage::Canceled => return Err(Error::Unavailable { doing: "watching: canceled", source: None }),
        }
    }
}

struct Told {
    watcher: Option<usize>,
    changes: Vec<Event>,
}

const fn silent() -> Error {
    Error::Unavailable { doing: "waiting for a watch", source: None }
}
