//! The journal of a node: an entry before each command, its outcome after it, and which BMC sessions may still be open.

use std::sync::Arc;

use domain::generation::InstructionVersion;
use keyspace::{
    Expect, key,
    value::{Journal, JournalEntry, Outcome, Session},
};

use crate::{
    claim::Claim,
    dangerous::{DangerousRule, Step},
    error::Error,
    mesh::Mesh,
    permit::Permit,
    safety_params::SessionTakeover,
};

/// Writes the journal of one node under the claim of its owner.
#[derive(Debug)]
pub struct JournalWriter {
    mesh: Mesh,
    claim: Claim,
    journal: Journal,
    expect: Expect,
}

impl JournalWriter {
    /// Reads the journal from the store itself, because the view may lack what an earlier owner wrote. What this process
    /// wrote under this very claim is not read again.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn read(mesh: &Mesh, claim: Claim) -> Result<Self, Error> {
        let config = &mesh.inner.config;
        if let Some((journal, revision)) = mesh.inner.journals.take(claim) {
            return Ok(Self { mesh: mesh.clone(), claim, journal, expect: Expect::Revision(revision) });
        }
        let read = mesh.store().get(&key::journal(config.scope, config.service, claim.node)).await?;
        let expect = Expect::same(read.as_ref());
        let journal = read.map(|read| read.value).unwrap_or_default();
        Ok(Self { mesh: mesh.clone(), claim, journal, expect })
    }

    /// The journal as it will be written next.
    #[must_use]
    pub const fn record(&self) -> &Journal {
        &self.journal
    }

    /// The BMC sessions that may still be open and must be closed before the owner changes anything.
    #[must_use]
    pub fn to_close(&self) -> Vec<u32> {
        match self.mesh.inner.config.safety.session_takeover() {
            SessionTakeover::Close => self.journal.sessions.iter().map(|session| session.id).collect(),
            SessionTakeover::LeaveOpen => Vec::new(),
        }
    }

    /// The claim that it is written under.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        self.claim
    }

    /// Accepts an instruction, so that older ones are refused from the next write on.
    ///
    /// An instruction from before the store was adopted is refused whatever its number is: the restored backup may not know
    /// the highest one that was obeyed.
    ///
    /// # Errors
    /// [`Error::Outdated`] if a newer instruction was accepted before.
    pub fn obey(&mut self, version: InstructionVersion) -> Result<(), Error> {
        let is_from_before_adoption = version.token.incarnation() < self.claim.token().incarnation();
        if is_from_before_adoption || !version.may_follow(self.journal.highest) {
            metrics::counter!("mesh_tokens_refused_total").increment(1);
            let highest = self.journal.highest;
            tracing::warn!(node = %self.claim.node, ?version, ?highest, "refused an outdated instruction");
            return Err(Error::Outdated { node: self.claim.node });
        }
        self.journal.highest = version;
        Ok(())
    }

    /// The path that closes a session, if the BMC names its sessions by paths; empty otherwise.
    #[must_use]
    pub fn path(&self, session: u32) -> &str {
        let named = self.journal.sessions.iter().find(|open| open.id == session);
        named.map_or("", |open| open.path.as_str())
    }

    /// Notes that a session was opened. `path` closes it, if the BMC names its sessions by paths.
    ///
    /// The next write stores it, at the latest that of the first command: the journal must name every session that may have
    /// changed something, and reads are harmless.
    pub fn opened(&mut self, session: u32, path: &str) {
        let session = Session { id: session, path: path.to_owned(), token: self.claim.token() };
        self.journal.sessions.push(session);
    }

    /// Forgets a session whose close was confirmed, or that was waited for. The next write stores it.
    pub fn closed(&mut self, session: u32) {
        self.journal.sessions.retain(|open| open.id != session);
    }

    /// Journals one command, and returns the permit to send it through this session until A has passed.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Island`]; the command must not be sent.
    pub async fn arm(&mut self, version: InstructionVersion, session: u32, command: &str) -> Result<Permit, Error> {
        let mesh = self.mesh.clone();
        let (inner, safety) = (&mesh.inner, &mesh.inner.config.safety);
        // A counts from before the request: the store cannot know of the entry earlier.
        let mut armed = mesh.now();
        self.journal.entry = Some(JournalEntry {
            version,
            token: self.claim.token(),
            session,
            command: command.to_owned(),
            at: inner.wall_now(),
            outcome: None,
        });
        if !safety.broken.is(DangerousRule::JournalAfterSend) {
            safety.reached(Step::BeforeJournal).await;
            self.write().await?;
        }
        safety.reached(Step::AfterJournal).await;
        if safety.broken.is(DangerousRule::ArmFromAnswer) {
            armed = mesh.now();
        }
        Ok(Permit::new(armed, session, Arc::clone(&inner.fence)))
    }

    /// Notes the outcome of the armed command. The next write stores it.
    pub fn ended(&mut self, outcome: Outcome) {
        if let Some(entry) = &mut self.journal.entry {
            entry.outcome = Some(outcome);
        }
    }

    /// Writes the journal, together with what `add` adds to the change.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Island`]
    pub async fn write_with(
        &mut self,
        add: impl FnOnce(keyspace::Change) -> Result<keyspace::Change, keyspace::Error>,
    ) -> Result<(), Error> {
        let config = &self.mesh.inner.config;
        let key = key::journal(config.scope, config.service, self.claim.node);
        let change = self.mesh.fenced(&self.claim).put(&key, &self.journal, self.expect)?;
        let revision = self.mesh.commit_in_group(add(change)?).await?;
        self.expect = Expect::Revision(revision);
        self.mesh.inner.journals.put(self.claim, &self.journal, revision);
        Ok(())
    }

    /// Writes the journal.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Island`]
    pub async fn write(&mut self) -> Result<(), Error> {
        self.write_with(Ok).await
    }
}
