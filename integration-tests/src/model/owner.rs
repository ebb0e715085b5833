//! Claims, the journal and permits, as `mesh::claim`, `mesh::journal` and `mesh::permit` have them.

use std::{rc::Rc, time::Duration};

use domain::{
    generation::{InstructionVersion, Token},
    id::{InstanceId, NodeId},
    ring::handover::may_claim,
};
use keyspace::value::{Claim, Journal, JournalEntry, Outcome, Session};

use super::{
    bmc::{Command, stamp},
    etcd::{Expect, Key, Value, Write},
    fault::Point,
    process::{Failed, Process, Standing, WorkGuard},
    rules::Mutant,
};

/// A claim that was held when it was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) node: NodeId,
    pub(crate) instance: InstanceId,
    member_created: i64,
    revision: i64,
}

impl Held {
    pub(crate) fn token(self) -> Token {
        Token::from_number(self.revision.unsigned_abs())
    }
}

const fn held_by(standing: Standing, node: NodeId, revision: i64) -> Held {
    Held { node, instance: standing.instance, member_created: standing.created, revision }
}

impl Process {
    /// Claims a node, or keeps the claim that this instance has.
    pub(crate) async fn claim(&self, guard: &WorkGuard) -> Result<Held, Failed> {
        let node = guard.node;
        if self.is_fenced() {
            return Err(Failed::HandingOver);
        }
        let (standing, (ring, epoch)) = self.standing.get().zip(self.ring()).ok_or(Failed::HandingOver)?;
        let read = self.view.borrow().claim(node).map(|(claim, revision)| (claim.clone(), revision));
        if let Some((claim, revision)) = &read
            && claim.instance == standing.instance
            && claim.broken.is_none()
        {
            return Ok(held_by(standing, node, *revision));
        }
        let gone = self.gone().await;
        let rules = self.world.rules;
        let mut holder = read.as_ref().map(|(claim, _)| claim.instance);
        if rules.is(Mutant::LastOwnerAsked) {
            holder = self.former.borrow().as_ref().and_then(|former| former.owner(node));
        }
        // Under a ring only its owner claims. Where that is not asked, the claim's own condition is all that is left.
        let anybody = rules.is(Mutant::BlindClaim);
        let is_owner = anybody || ring.owner(node) == Some(standing.instance);
        let moves_on =
            !anybody && self.next_ring(&gone).is_some_and(|(next, _)| next.owner(node) != Some(standing.instance));
        let acknowledged = |instance| self.view.borrow().acknowledged(instance);
        if !is_owner || moves_on || !may_claim(standing.instance, holder, &ring, epoch, acknowledged, &gone) {
            self.world.tally.borrow_mut().refused += 1;
            return Err(Failed::HandingOver);
        }
        self.point(Point::BeforeClaim).await;
        let key = Key::Claim(node);
        let mut expects =
            vec![Expect::Created(Key::Member(standing.instance), standing.created), Expect::Revision(Key::Ring, epoch)];
        if !rules.is(Mutant::BlindClaim) {
            expects.push(Expect::Revision(key, read.as_ref().map_or(0, |(_, revision)| *revision)));
        }
        let after = read.as_ref().map(|(_, revision)| *revision);
        let claim = Claim { instance: standing.instance, since: stamp(self.world.sim.now()), after, broken: None };
        let revision = self.commit(expects, vec![Write::Put(key, Value::Claim(claim))]).await.inspect_err(|_| {
            self.world.tally.borrow_mut().refused += 1;
        })?;
        let stolen = if ring.owner(node) == Some(standing.instance) { "" } else { ", which is not its own" };
        self.tell(|| format!("claims {}{stolen}: token {revision}", self.world.node_name(node)));
        if !stolen.is_empty() {
            eprintln!("STOLEN from {holder:?}");
        }
        if read.is_some_and(|(claim, _)| claim.instance != standing.instance) {
            self.world.tally.borrow_mut().takeovers += 1;
        }
        self.point(Point::AfterClaim).await;
        self.reaches(revision).await;
        Ok(held_by(standing, node, revision))
    }

    /// What every write about a node by its owner expects.
    pub(crate) fn fenced(&self, held: Held) -> Vec<Expect> {
        let member = Expect::Created(Key::Member(held.instance), held.member_created);
        if self.world.rules.is(Mutant::FencedByEpoch) {
            return vec![member, Expect::Revision(Key::Ring, self.view.borrow().revision_of(Key::Ring))];
        }
        vec![member, Expect::Revision(Key::Claim(held.node), held.revision)]
    }

    /// Commits a fenced write, and waits until its own view has it.
    pub(crate) async fn commit_seen(&self, expects: Vec<Expect>, writes: Vec<Write>) -> Result<i64, Failed> {
        if self.is_fenced() {
            return Err(Failed::HandingOver);
        }
        let revision = self.commit(expects, writes).await?;
        self.reaches(revision).await;
        Ok(revision)
    }
}

/// The right to send one journalled command through one session.
#[derive(Debug)]
pub(crate) struct Permit {
    armed: Duration,
    session: u32,
}

impl Permit {
    pub(crate) fn allows(&self, process: &Process, session: u32) -> bool {
        session == self.session && process.may_send(self.armed)
    }
}

/// One node's journal in its owner's hand.
pub(crate) struct JournalWriter {
    process: Rc<Process>,
    pub(crate) held: Held,
    pub(crate) journal: Journal,
    revision: i64,
    outstanding: Option<Outstanding>,
}

/// A command is journalled, or sent, and its outcome is not known.
struct Outstanding(Rc<Process>);

impl Outstanding {
    fn of(process: &Rc<Process>) -> Self {
        process.outstanding.set(process.outstanding.get() + 1);
        Self(Rc::clone(process))
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.set(self.0.outstanding.get() - 1);
    }
}

impl JournalWriter {
    /// Reads the journal from the store itself.
    pub(crate) async fn read(process: &Rc<Process>, held: Held) -> Result<Self, Failed> {
        let pair = process.get(Key::Journal(held.node)).await?;
        let revision = pair.as_ref().map_or(0, |pair| pair.revision);
        let journal = match pair.as_ref().map(|pair| &pair.value) {
            Some(Value::Journal(journal)) => journal.clone(),
            _ => Journal::default(),
        };
        Ok(Self { process: Rc::clone(process), held, journal, revision, outstanding: None })
    }

    pub(crate) fn obey(&mut self, version: InstructionVersion) -> Result<(), Failed> {
        if !version.may_follow(self.journal.highest) {
            return Err(Failed::Outdated);
        }
        self.journal.highest = version;
        Ok(())
    }

    pub(crate) async fn opened(&mut self, session: u32) -> Result<(), Failed> {
        self.journal.sessions.push(Session { id: session, path: String::new(), token: self.held.token() });
        self.write().await
    }

    pub(crate) fn closed(&mut self, session: u32) {
        self.journal.sessions.retain(|open| open.id != session);
    }

    pub(crate) async fn arm(
        &mut self,
        version: InstructionVersion,
        session: u32,
        command: Command,
    ) -> Result<Permit, Failed> {
        let rules = self.process.world.rules;
        let mut armed = self.process.clock();
        self.outstanding = Some(Outstanding::of(&self.process));
        self.journal.entry = Some(JournalEntry {
            version,
            token: self.held.token(),
            session,
            command: command.words().to_owned(),
            at: stamp(self.process.world.sim.now()),
            outcome: None,
        });
        if !rules.is(Mutant::JournalAfterSend) {
            self.process.point(Point::BeforeJournal).await;
            self.write().await?;
            self.process.tell(|| format!("journals {:?} at {}", command, self.process.world.node_name(self.held.node)));
        }
        self.process.point(Point::AfterJournal).await;
        if rules.is(Mutant::ArmFromAnswer) {
            armed = self.process.clock();
        }
        Ok(Permit { armed, session })
    }

    pub(crate) fn ended(&mut self, outcome: Outcome) {
        self.outstanding = None;
        if let Some(entry) = &mut self.journal.entry {
            entry.outcome = Some(outcome);
        }
    }

    pub(crate) async fn write_with(&mut self, mut expects: Vec<Expect>, mut writes: Vec<Write>) -> Result<(), Failed> {
        let key = Key::Journal(self.held.node);
        expects.extend(self.process.fenced(self.held));
        expects.push(Expect::Revision(key, self.revision));
        writes.push(Write::Put(key, Value::Journal(self.journal.clone())));
        self.revision = self.process.commit_seen(expects, writes).await?;
        Ok(())
    }

    pub(crate) async fn write(&mut self) -> Result<(), Failed> {
        self.write_with(Vec::new(), Vec::new()).await
    }
}
