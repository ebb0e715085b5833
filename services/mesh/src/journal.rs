//! The journal: an entry before each act, its outcome after, and which BMC sessions may still be open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    generation::{InstructionVersion, Token},
    id::{InstanceId, NodeId},
};
use keyspace::{
    Expect,
    key::{self},
    value::{Journal, JournalEntry, Outcome, Session},
};
use service_kit::clock;

use crate::{Claim, Error, Mesh, Permit, SessionTakeover};

/// What this process wrote last to the journals of its nodes. As long as a claim is the same one, nobody else can have
/// written: every write of a journal is conditional on its writer's claim, and a claim that was lost comes back as another.
#[derive(Debug, Default)]
pub(crate) struct Written {
    by_node: Mutex<HashMap<NodeId, Last>>,
}

#[derive(Debug)]
struct Last {
    by: (InstanceId, Token),
    journal: Journal,
    revision: i64,
}

impl Written {
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Last>> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was written last under this very claim. Whoever has it is alone with it until he has written.
    fn take(&self, claim: Claim) -> Option<(Journal, i64)> {
        let last = self.lock().remove(&claim.node)?;
        (last.by == (claim.instance(), claim.token())).then_some((last.journal, last.revision))
    }

    fn put(&self, claim: Claim, journal: &Journal, revision: i64) {
        let last = Last { by: (claim.instance(), claim.token()), journal: journal.clone(), revision };
        self.lock().insert(claim.node, last);
    }

    /// Forgets all: nodes go to others, and what is kept of them would stay for ever.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}

/// One node's journal in its owner's hand.
#[derive(Debug)]
pub struct JournalWriter {
    mesh: Mesh,
    claim: Claim,
    journal: Journal,
    expect: Expect,
}

impl JournalWriter {
    /// Reads the journal from the store itself, but for what this very claim has written last: what a predecessor wrote
    /// must not be missed.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn read(mesh: &Mesh, claim: Claim) -> Result<Self, Error> {
        let config = &mesh.inner.config;
        if let Some((journal, revision)) = mesh.inner.written.take(claim) {
            return Ok(Self { mesh: mesh.clone(), claim, journal, expect: Expect::Revision(revision) });
        }
        let read = mesh.store().get(&key::journal(config.scope, config.service, claim.node)).await?;
        let expect = Expect::same(read.as_ref());
        let journal = read.map(|read| read.value).unwrap_or_default();
        Ok(Self { mesh: mesh.clone(), claim, journal, expect })
    }

    /// What it says.
    #[must_use]
    pub const fn record(&self) -> &Journal {
        &self.journal
    }

    /// The BMC sessions that may still be open, which are to be closed before anything is changed.
    #[must_use]
    pub fn to_close(&self) -> Vec<u32> {
        match self.mesh.inner.config.safety.session_takeover {
            SessionTakeover::Close => self.journal.sessions.iter().map(|session| session.id).collect(),
            SessionTakeover::DangerousLeaveOpen => Vec::new(),
        }
    }

    /// The claim that it is written under.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        self.claim
    }

    /// Takes an instruction: refuses one that is older than the highest obeyed, and one of before the store was adopted,
    /// whose higher ones a restored backup may have forgotten.
    ///
    /// # Errors
    /// [`Error::Outdated`]
    pub fn obey(&mut self, version: InstructionVersion) -> Result<(), Error> {
        let is_of_before = version.token.incarnation() < self.claim.token().incarnation();
        if is_of_before || !version.may_follow(self.journal.highest) {
            metrics::counter!("mesh_tokens_refused_total").increment(1);
            tracing::warn!(node = %self.claim.node, ?version, highest = ?self.journal.highest, "refused an old instruction");
            return Err(Error::Outdated { node: self.claim.node });
        }
        self.journal.highest = version;
        Ok(())
    }

    /// What a session that may still be open is closed by, where that is not its id.
    #[must_use]
    pub fn path(&self, session: u32) -> &str {
        let named = self.journal.sessions.iter().find(|open| open.id == session);
        named.map_or("", |open| open.path.as_str())
    }

    /// Notes that a session was opened. Written with the next write, which is that of the first command at the latest: in
    /// the journal is whoever may have changed something, and who only reads harms nobody. `path`: what it is closed by,
    /// where that is not its number.
    pub fn opened(&mut self, session: u32, path: &str) {
        let session = Session { id: session, path: path.to_owned(), token: self.claim.token() };
        self.journal.sessions.push(session);
    }

    /// Forgets sessions that are confirmed to be closed, or were waited for. Written with the next write.
    pub fn closed(&mut self, session: u32) {
        self.journal.sessions.retain(|open| open.id != session);
    }

    /// Journals one command; what it returns is the right to send it through this session for A.
    ///
    /// # Errors
    /// [`Error::Store`]: nothing may be sent.
    pub async fn arm(&mut self, version: InstructionVersion, session: u32, command: &str) -> Result<Permit, Error> {
        let armed = self.mesh.now();
        self.journal.entry = Some(JournalEntry {
            version,
            token: self.claim.token(),
            session,
            command: command.to_owned(),
            at: clock::now(),
            outcome: None,
        });
        self.write().await?;
        Ok(Permit::new(armed, session, Arc::clone(&self.mesh.inner.fence)))
    }

    /// Notes how the armed command ended. Written with the next write.
    pub fn ended(&mut self, outcome: Outcome) {
        if let Some(entry) = &mut self.journal.entry {
            entry.outcome = Some(outcome);
        }
    }

    /// Writes what was noted, group with a change of the caller's.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn write_with(
        &mut self,
        add: impl FnOnce(keyspace::Change) -> Result<keyspace::Change, keyspace::Error>,
    ) -> Result<(), Error> {
        let config = &self.mesh.inner.config;
        let key = key::journal(config.scope, config.service, self.claim.node);
        let change = self.mesh.fenced(&self.claim).put(&key, &self.journal, self.expect)?;
        let revision = self.mesh.commit_together(add(change)?).await?;
        self.expect = Expect::Revision(revision);
        self.mesh.inner.written.put(self.claim, &self.journal, revision);
        Ok(())
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn write(&mut self) -> Result<(), Error> {
        self.write_with(Ok).await
    }
}
