//! Journals, permits and group commit.

use std::sync::Arc;

use domain::generation::{Generation, InstructionVersion, Token};
use futures::future::join_all;
use keyspace::{
    key,
    testing::{CallKind, Delivery, MemoryEtcd},
    value::{Journal, Outcome},
};
use mesh::{Error, JournalWriter};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::harness::{Place, Process, SCOPE, SERVICE, ms, node, node_of, nodes, pair, stored};

fn version(token: u64, generation: u64) -> InstructionVersion {
    InstructionVersion { token: Token::from_number(token), generation: Generation::from_number(generation) }
}

fn journal_of(etcd: &MemoryEtcd) -> Journal {
    stored(etcd, &key::journal(SCOPE, SERVICE, node(1))).unwrap()
}

async fn writer(process: &Process) -> JournalWriter {
    JournalWriter::read(&process.mesh, process.claims(node(1)).await).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_entry_is_stored_before_the_permit_is_given() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut journal = writer(&process).await;
    journal.opened(9, "");
    let permit = journal.arm(version(1, 1), 9, "power on").await.unwrap();
    assert!(permit.allows(9));
    let stored = journal_of(&etcd);
    let entry = stored.entry.unwrap();
    assert_eq!((entry.command.as_str(), entry.session, entry.outcome), ("power on", 9, None));
    assert_eq!(entry.token, journal.claim().token());
    assert_eq!(stored.sessions.first().map(|session| session.id), Some(9), "with the sessions that may be open");
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_for_the_session_of_its_entry() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let permit = writer(&process).await.arm(version(1, 1), 9, "power on").await.unwrap();
    assert!(permit.allows(9) && !permit.allows(8));
}

#[tokio::test(start_paused = true)]
async fn a_permit_expires_a_after_its_entry_was_requested() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut journal = writer(&process).await;
    // The answer takes 600 ms: they count.
    process.client.set_delivery(Delivery::delayed(ms(300), ms(300)));
    let requested = Instant::now();
    let permit = journal.arm(version(1, 1), 9, "power on").await.unwrap();
    assert!(requested.elapsed() > ms(600) && permit.allows(9));
    sleep(ms(990).saturating_sub(requested.elapsed())).await;
    assert!(permit.allows(9));
    sleep(ms(20)).await;
    assert!(!permit.allows(9));
}

#[tokio::test(start_paused = true)]
async fn a_permit_expires_when_its_process_is_fenced() {
    let etcd = MemoryEtcd::new();
    let times = domain::ring::fence::Times { arm: ms(60_000), ..Default::default() };
    let process = Process::start_with(&etcd, &Place::new(1), |safety| safety.dangerous_times(times));
    process.owns_everything().await;
    let permit = writer(&process).await.arm(version(1, 1), 9, "power on").await.unwrap();
    process.client.partition();
    sleep(ms(1900)).await;
    assert!(permit.allows(9));
    sleep(ms(1200)).await;
    assert!(!permit.allows(9), "F alone stops it");
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_given_if_the_entry_is_not_stored() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut journal = writer(&process).await;
    process.client.partition();
    assert!(journal.arm(version(1, 1), 9, "power on").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_stored_with_the_next_write() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut journal = writer(&process).await;
    drop(journal.arm(version(1, 1), 9, "power on").await.unwrap());
    journal.ended(Outcome::Done);
    assert_eq!(journal_of(&etcd).entry.unwrap().outcome, None);
    journal.write().await.unwrap();
    assert_eq!(journal_of(&etcd).entry.unwrap().outcome, Some(Outcome::Done));
}

#[tokio::test(start_paused = true)]
async fn an_older_instruction_is_refused_and_an_equal_one_is_a_repetition() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut journal = writer(&process).await;
    journal.obey(version(5, 3)).unwrap();
    journal.obey(version(5, 3)).unwrap();
    assert!(matches!(journal.obey(version(5, 2)), Err(Error::Outdated { .. })));
    assert!(matches!(journal.obey(version(4, 9)), Err(Error::Outdated { .. })));
    assert!(journal.obey(version(6, 3)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_inherits_the_highest_instruction_and_the_open_sessions() {
    let etcd = MemoryEtcd::new();
    let (first, second) = pair(&etcd).await;
    let node = node_of(&second);
    let mut journal = JournalWriter::read(&second.mesh, second.claims(node).await).await.unwrap();
    journal.obey(version(5, 3)).unwrap();
    journal.opened(9, "/Sessions/9");
    drop(journal.arm(version(5, 3), 9, "power on").await.unwrap());
    second.host.stop();
    let mut inherited = JournalWriter::read(&first.mesh, first.claims(node).await).await.unwrap();
    assert_eq!((inherited.to_close(), inherited.path(9)), (vec![9], "/Sessions/9"));
    assert!(matches!(inherited.obey(version(5, 2)), Err(Error::Outdated { .. })));
    inherited.closed(9);
    inherited.write().await.unwrap();
    assert!(inherited.to_close().is_empty());
}

#[tokio::test(start_paused = true)]
async fn sessions_of_earlier_owners_stay_open_only_if_that_is_asked_for() {
    let etcd = MemoryEtcd::new();
    let rules = mesh::SafetyParams::dangerous_leave_sessions_open;
    let process = Process::start_with(&etcd, &Place::new(1), rules);
    process.owns_everything().await;
    let mut journal = writer(&process).await;
    journal.opened(9, "");
    assert!(journal.to_close().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_this_claim_has_written_is_not_read_again() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut journal = writer(&process).await;
    journal.obey(version(5, 3)).unwrap();
    journal.write().await.unwrap();
    let reads = Arc::new(Mutex::new(0));
    let count = Arc::clone(&reads);
    process.client.set_plan(move |call| {
        *count.lock() += usize::from(call.kind == CallKind::Read);
        Delivery::PROMPT
    });
    assert_eq!(writer(&process).await.record().highest, version(5, 3));
    assert_eq!(*reads.lock(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_journal_is_read_from_the_store_after_a_write_that_was_not_answered() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut journal = writer(&process).await;
    journal.obey(version(5, 3)).unwrap();
    process.client.set_plan(|call| if call.kind == CallKind::Write { Delivery::UNANSWERED } else { Delivery::PROMPT });
    assert!(journal.write().await.is_err());
    process.client.heal();
    assert_eq!(writer(&process).await.record().highest, version(5, 3), "it was written all the same");
}

#[tokio::test(start_paused = true)]
async fn two_writers_of_one_journal_cannot_overwrite_each_other() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let (mut one, mut other) = (writer(&process).await, writer(&process).await);
    one.write().await.unwrap();
    assert!(matches!(other.write().await, Err(Error::Store(keyspace::Error::Conflict))));
}

/// Journals of twenty nodes, each ready to be written.
async fn many(process: &Process) -> Vec<JournalWriter> {
    let mut journals = Vec::new();
    for node in nodes().take(20) {
        journals.push(JournalWriter::read(&process.mesh, process.claims(node).await).await.unwrap());
    }
    journals
}

#[tokio::test(start_paused = true)]
async fn journals_that_are_written_at_the_same_time_take_one_transaction() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut journals = many(&process).await;
    let before = etcd.revision();
    let written = join_all(journals.iter_mut().map(JournalWriter::write)).await;
    assert!(written.iter().all(Result::is_ok));
    assert_eq!(etcd.revision(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_conflicts_does_not_fail_those_that_were_to_be_committed_with_it() {
    let etcd = MemoryEtcd::new();
    let process = Process::alone(&etcd).await;
    let mut journals = many(&process).await;
    let foreign = key::journal(SCOPE, SERVICE, nodes().next().unwrap());
    etcd.put(foreign.path(), &serde_json::to_vec(&Journal::default()).unwrap()).unwrap();
    let written = join_all(journals.iter_mut().map(JournalWriter::write)).await;
    assert_eq!(written.iter().filter(|outcome| outcome.is_err()).count(), 1);
    assert!(written.first().unwrap().is_err());
}
