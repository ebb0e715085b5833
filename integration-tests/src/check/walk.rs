//! One node's history, walked from its beginning to its end.

use std::collections::BTreeMap;

use domain::{generation::Token, id::NodeId, time::Timestamp};
use keyspace::value::{Journal, JournalEntry};

use super::{Deed, Entry, History, Revision, Violation, What, is_once};

/// Everything that is wrong with one node's run.
pub(super) fn judge(history: &History) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let claims: Vec<i64> = history.claims.iter().map(|claim| claim.revision).collect();
    let written: Vec<i64> = history.journal.iter().map(|journal| journal.revision).collect();
    for pair in claims.windows(2).chain(written.windows(2)) {
        if let [before, revision] = *pair
            && before >= revision
        {
            wrong.push(Violation::Disordered { node: history.node, before, revision });
        }
    }
    judge_claims(history, &mut wrong);
    let book = Book::read(history, &mut wrong);
    let mut walk = Walk { node: history.node, book: &book, last: None, read: None, done: BTreeMap::new() };
    for deed in &history.bmc {
        walk.step(deed, &mut wrong);
    }
    judge_end(history, &mut wrong);
    wrong
}

/// Checks that each claim replaces the claim that its writer has read. A broken claim has the same holder and a mark.
fn judge_claims(history: &History, wrong: &mut Vec<Violation>) {
    let mut was = None;
    for claim in &history.claims {
        if let Some(value) = claim.value.as_ref().filter(|value| value.broken.is_none())
            && value.after != was
        {
            let (node, revision, read) = (history.node, claim.revision, value.after);
            wrong.push(Violation::ClaimUnread { node, revision, read, was });
        }
        was = claim.value.as_ref().map(|_| claim.revision);
    }
}

/// A session, as the journal names it.
struct Named {
    token: Token,
    /// The first revision that names it: later sessions have greater ones.
    opened: i64,
    /// The first later revision that does not, and by when it was written.
    forgotten: Option<(i64, Option<Timestamp>)>,
}

/// State from the whole history of the journal.
struct Book {
    entries: Vec<Entry>,
    sessions: BTreeMap<u32, Named>,
}

impl Book {
    fn read(history: &History, wrong: &mut Vec<Violation>) -> Self {
        let mut book = Self { entries: Vec::new(), sessions: BTreeMap::new() };
        let nothing = Journal::default();
        let mut before = &nothing;
        for revision in &history.journal {
            let journal = revision.value.as_ref().unwrap_or(&nothing);
            book.note_sessions(history, revision, journal, wrong);
            if let Some(entry) = &journal.entry
                && before.entry.as_ref().is_none_or(|before| is_another(before, entry))
            {
                book.note_entry(history, revision, entry, wrong);
            }
            before = journal;
        }
        book
    }

    fn note_sessions(
        &mut self,
        history: &History,
        revision: &Revision<Journal>,
        journal: &Journal,
        wrong: &mut Vec<Violation>,
    ) {
        for (id, named) in &mut self.sessions {
            let is_named = journal.sessions.iter().any(|session| session.id == *id);
            if !is_named && named.forgotten.is_none() {
                named.forgotten = Some((revision.revision, revision.not_after));
            }
        }
        for session in &journal.sessions {
            let (node, at) = (history.node, revision.revision);
            match self.sessions.get(&session.id) {
                Some(known) if known.token != session.token => wrong.push(Violation::SessionOfTwo {
                    node,
                    session: session.id,
                    first: known.token,
                    second: session.token,
                    revision: at,
                }),
                Some(_) => {}
                None => {
                    judge_writer(history, at, session.token, wrong);
                    self.sessions.insert(session.id, Named { token: session.token, opened: at, forgotten: None });
                }
            }
        }
    }

    fn note_entry(
        &mut self,
        history: &History,
        revision: &Revision<Journal>,
        entry: &JournalEntry,
        wrong: &mut Vec<Violation>,
    ) {
        let node = history.node;
        judge_writer(history, revision.revision, entry.token, wrong);
        if let Some(named) = self.sessions.get(&entry.session)
            && named.token != entry.token
        {
            let (first, second) = (named.token, entry.token);
            let session = entry.session;
            wrong.push(Violation::SessionOfTwo { node, session, first, second, revision: revision.revision });
        }
        let same =
            |known: &&Entry| known.version.generation == entry.version.generation && known.command == entry.command;
        if is_once(&entry.command)
            && let Some(first) = self.entries.iter().find(same)
        {
            let (command, second) = (entry.command.clone(), revision.revision);
            wrong.push(Violation::ArmedTwice { node, command, version: entry.version, first: first.revision, second });
        }
        self.entries.push(Entry {
            revision: revision.revision,
            not_before: revision.not_before,
            version: entry.version,
            token: entry.token,
            session: entry.session,
            command: entry.command.clone(),
        });
    }
}

/// Whether an entry is a new one, and not the one before with its outcome.
fn is_another(before: &JournalEntry, entry: &JournalEntry) -> bool {
    let act = |entry: &JournalEntry| (entry.version, entry.token, entry.session, entry.at);
    act(before) != act(entry)
        || before.command != entry.command
        || (before.outcome.is_some() && entry.outcome.is_none())
}

/// Only the holder of the claim with its token writes the journal, and only until the next claim.
fn judge_writer(history: &History, revision: i64, token: Token, wrong: &mut Vec<Violation>) {
    let node = history.node;
    let of = |claim: i64| Token::from_number(u64::try_from(claim).unwrap_or(0));
    if !history.claims.iter().any(|claim| claim.value.is_some() && of(claim.revision) == token) {
        wrong.push(Violation::NoSuchClaim { node, revision, token });
        return;
    }
    let newer = history.claims.iter().map(|claim| claim.revision).filter(|claim| *claim < revision).max();
    if let Some(newer) = newer
        && of(newer) > token
    {
        wrong.push(Violation::ClaimHadPassed { node, revision, token, newer });
    }
}

/// The deciding read that was seen last.
#[derive(Clone, Copy)]
struct Decided {
    token: Token,
    opened: i64,
    session: u32,
    at: Timestamp,
}

struct Walk<'a> {
    node: NodeId,
    book: &'a Book,
    /// The latest entry that a command was mapped to.
    last: Option<usize>,
    read: Option<Decided>,
    /// Checks how often the command of each entry was executed.
    done: BTreeMap<usize, usize>,
}

impl Walk<'_> {
    fn step(&mut self, deed: &Deed, wrong: &mut Vec<Violation>) {
        match &deed.what {
            What::Login | What::Close | What::Command { executed: false, .. } => {}
            What::Read => self.read(deed),
            What::Command { words, executed: true } => self.command(deed, words, wrong),
        }
    }

    fn read(&mut self, deed: &Deed) {
        // A session that the journal does not name only looks.
        let Some(named) = self.book.sessions.get(&deed.session) else { return };
        if self.read.is_none_or(|read| (read.token, read.opened) < (named.token, named.opened)) {
            let (token, opened) = (named.token, named.opened);
            self.read = Some(Decided { token, opened, session: deed.session, at: deed.at });
        }
    }

    fn command(&mut self, deed: &Deed, words: &str, wrong: &mut Vec<Violation>) {
        let (node, session, at, command) = (self.node, deed.session, deed.at, words.to_owned());
        let Some(number) = self.entry_of(deed, words) else {
            wrong.push(Violation::Unjournalled { node, session, command, at });
            return;
        };
        let Some(entry) = self.book.entries.get(number) else { return };
        let (revision, token) = (entry.revision, entry.token);
        if let Some(written) = entry.not_before
            && at < written
        {
            let command = command.clone();
            wrong.push(Violation::BeforeItsEntry { node, session, command, at, revision, written });
        }
        self.judge_order(deed, number, entry, wrong);
        let count = self.done.entry(number).or_default();
        *count += 1;
        if *count > 1 && is_once(&entry.command) {
            wrong.push(Violation::Twice { node, session, command: command.clone(), at, revision });
        }
        self.judge_read(deed, entry, wrong);
        if let Some(named) = self.book.sessions.get(&session)
            && let Some((revision, Some(forgotten))) = named.forgotten
            && at > forgotten
        {
            wrong.push(Violation::SessionForgotten { node, session, revision, command, at });
        }
        debug_assert!(token.revision() > 0, "a claim has a revision");
    }

    /// Returns the earliest entry for this command that is not older than the last mapped one, otherwise the latest.
    fn entry_of(&self, deed: &Deed, words: &str) -> Option<usize> {
        let fits = |entry: &Entry| entry.session == deed.session && names(&entry.command, words);
        let fitting =
            || self.book.entries.iter().enumerate().filter(|(_, entry)| fits(entry)).map(|(number, _)| number);
        fitting().find(|number| Some(*number) >= self.last).or_else(|| fitting().next_back())
    }

    fn judge_order(&mut self, deed: &Deed, number: usize, entry: &Entry, wrong: &mut Vec<Violation>) {
        let later = self.last.filter(|last| *last > number).and_then(|last| self.book.entries.get(last));
        let Some(later) = later else {
            self.last = Some(number);
            return;
        };
        let (node, session, at, command) = (self.node, deed.session, deed.at, entry.command.clone());
        let (revision, newer) = (entry.revision, later.revision);
        wrong.push(if later.token > entry.token {
            let (token, newer_token) = (entry.token, later.token);
            Violation::OlderToken { node, session, command, at, revision, token, newer, newer_token }
        } else {
            Violation::LateRepeat { node, session, command, at, revision, newer }
        });
    }

    fn judge_read(&self, deed: &Deed, entry: &Entry, wrong: &mut Vec<Violation>) {
        let Some(read) = self.read else { return };
        let opened = self.book.sessions.get(&deed.session).map_or(entry.revision, |named| named.opened);
        if (entry.token, opened) < (read.token, read.opened) {
            wrong.push(Violation::AfterDecidingRead {
                node: self.node,
                session: deed.session,
                command: entry.command.clone(),
                at: deed.at,
                revision: entry.revision,
                token: entry.token,
                reader: read.session,
                newer_token: read.token,
                read_at: read.at,
            });
        }
    }
}

/// Returns whether a command in the journal is the command in a BMC's log. The entry of a boot order also has its step.
fn names(journalled: &str, logged: &str) -> bool {
    journalled.strip_prefix(logged).is_some_and(|rest| rest.is_empty() || rest.starts_with(", step "))
}

fn judge_end(history: &History, wrong: &mut Vec<Violation>) {
    let (node, Some(end)) = (history.node, &history.end) else { return };
    let (asked, ended, wanted, is) = (end.asked, end.ended, end.wanted, end.is);
    if ended < asked {
        wrong.push(Violation::NotEnded { node, asked, ended });
    } else if end.failure.is_none() && is != wanted {
        wrong.push(Violation::NotAsWanted { node, asked, wanted, is });
    }
}
