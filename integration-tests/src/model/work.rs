//! An owner's work at a BMC, in the order that `domain::ring::bmc_takeover` demands, as power-service does it: claim,
//! close earlier sessions, wait, read, then one journaled command at a time.

use std::{sync::Arc, time::Duration};

use domain::{
    failure::{Cause, Failure},
    generation::InstructionVersion,
    id::NodeId,
    power::Power,
    ring::bmc_takeover::{NextAction, Takeover},
};
use keyspace::{
    Expect, key,
    value::{Outcome, PowerSeen, Settled},
};
use mesh::{Claim, JournalWriter, Permit, WorkGuard};

use super::{
    bmc::{Command, timestamp},
    fault::Point,
    process::{Outstanding, Process, RACK},
    rules::Mutant,
    session::{BmcError, BmcSession},
};

/// Interval between reads of the power state after a command.
const POWER_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Delay before a failure that may pass is retried.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Maximum time for which an instruction is retried.
const INSTRUCTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Error of a reset with an unknown outcome.
const UNKNOWN_RESET: &str = "it is not known whether the reset was carried out";

/// Intended state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    On,
    Off,
    /// Off, seen off, on.
    Booted,
    /// Reset once.
    Reset,
}

/// Why an attempt ended without a result.
enum AttemptError {
    /// This process must not continue; the next owner will.
    Relinquished(mesh::Error),
    /// A retry may succeed.
    Transient(BmcError),
    /// The instruction failed permanently.
    Failed(&'static str),
}

impl From<mesh::Error> for AttemptError {
    fn from(error: mesh::Error) -> Self {
        Self::Relinquished(error)
    }
}

impl From<BmcError> for AttemptError {
    fn from(error: BmcError) -> Self {
        Self::Transient(error)
    }
}

/// Starts an instruction, unless it is running or completed or the process does not own the node.
pub(crate) fn ensure(process: &Arc<Process>, node: NodeId, version: InstructionVersion, target: Target) {
    let Ok(guard) = process.mesh.begin_work(node) else { return };
    if process.is_settled(node, version) || process.is_running(node) {
        return;
    }
    process.running.lock().insert(node, version);
    let worker = Arc::clone(process);
    process.control.shared.sim.spawn(Some(Arc::clone(&process.control.gate)), async move {
        worker.execute(guard, version, target).await;
        worker.running.lock().remove(&node);
    });
}

/// Reads the power of idle nodes from time to time, and stores changes.
pub(crate) async fn poll(process: Arc<Process>) {
    let shared = Arc::clone(&process.control.shared);
    loop {
        process.control.sleep(shared.sim.chance.millis(500, 5000)).await;
        for node in &shared.nodes {
            if !process.is_running(*node)
                && let Ok(guard) = process.mesh.begin_work(*node)
            {
                tokio::select! {
                    biased;
                    () = process.observe(&guard) => {}
                    () = guard.lost() => {}
                }
            }
        }
    }
}

impl Process {
    fn is_settled(&self, node: NodeId, version: InstructionVersion) -> bool {
        let read = self.mesh.view().get(&key::power(RACK, node));
        read.and_then(|read| read.value.settled).is_some_and(|settled| settled.generation >= version.generation)
    }

    async fn execute(&self, guard: WorkGuard, version: InstructionVersion, target: Target) {
        let (node, begun) = (guard.node(), self.control.clock());
        loop {
            let outcome = tokio::select! {
                biased;
                outcome = self.attempt(&guard, version, target) => outcome,
                () = guard.lost() => Err(AttemptError::Relinquished(mesh::Error::HandingOver { node })),
            };
            let failure = match outcome {
                Ok(()) => return,
                Err(AttemptError::Relinquished(error)) => {
                    self.control.trace(|| format!("leaves {node}: {error:?}"));
                    return;
                }
                Err(AttemptError::Transient(error)) if self.control.clock() < begun + INSTRUCTION_TIMEOUT => {
                    self.control.trace(|| format!("will retry {node}: {error:?}"));
                    self.control.sleep(RETRY_DELAY).await;
                    continue;
                }
                Err(AttemptError::Transient(_)) => "its BMC is silent",
                Err(AttemptError::Failed(failure)) => failure,
            };
            // If this fails, the instruction is requested again.
            drop(self.settle_failed(&guard, version, failure).await);
            return;
        }
    }

    async fn settle_failed(
        &self,
        guard: &WorkGuard,
        version: InstructionVersion,
        failure: &str,
    ) -> Result<(), mesh::Error> {
        let claim = self.claim(guard).await?;
        let key = key::power(RACK, guard.node());
        let read = self.mesh.view().get(&key);
        let at = timestamp(self.control.clock());
        let failure = Failure { cause: Cause::BmcSilent, text: failure.to_owned(), at };
        let power = read.as_ref().map_or(Power::Off, |read| read.value.power);
        let settled = Settled { generation: version.generation, at, failure: Some(failure) };
        let seen = self.power_record(power, claim, Some(settled));
        let change = self.mesh.fenced(&claim).put(&key, &seen, Expect::same(read.as_ref()))?;
        self.mesh.commit(change).await.map(drop)
    }

    fn power_record(&self, power: Power, claim: Claim, settled: Option<Settled>) -> PowerSeen {
        let seen_at = timestamp(self.control.clock());
        PowerSeen { power, seen_at, seen_by: claim.instance(), settled, trouble: None }
    }

    async fn claim(&self, guard: &WorkGuard) -> Result<Claim, mesh::Error> {
        let claimed = self.mesh.claim(guard).await;
        if claimed.is_err() {
            self.control.shared.tally.lock().refused += 1;
        }
        claimed
    }

    async fn attempt(
        &self,
        guard: &WorkGuard,
        version: InstructionVersion,
        target: Target,
    ) -> Result<(), AttemptError> {
        let (mesh, node) = (&self.mesh, guard.node());
        let mut takeover = Takeover::new(mesh.times().settle);
        self.control.point(Point::BeforeWork).await;
        let claim = self.claim(guard).await?;
        // The view may have been behind when the instruction was requested.
        if self.is_settled(node, version) {
            return Ok(());
        }
        takeover.claimed(claim.token(), mesh.now());
        let mut journal = JournalWriter::read(mesh, claim).await?;
        journal.obey(version)?;
        takeover.sessions(journal.to_close());
        let session = BmcSession::open(&self.control, node).await?;
        journal.opened(session.id(), "");
        takeover.logged_in(session.id());
        let outcome = self.in_session(&session, &mut takeover, &mut journal, version, target).await;
        if session.close(session.id()).await.unwrap_or(false) {
            journal.closed(session.id());
        }
        match outcome {
            Ok(power) => Ok(self.settle(&mut journal, version, power).await?),
            Err(stopped) => {
                journal.write().await?;
                Err(stopped)
            }
        }
    }

    async fn settle(
        &self,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        power: Power,
    ) -> Result<(), mesh::Error> {
        self.control.point(Point::BeforeSettle).await;
        let claim = journal.claim();
        let key = key::power(RACK, claim.node());
        let read = self.mesh.view().get(&key);
        let settled = Settled { generation: version.generation, at: timestamp(self.control.clock()), failure: None };
        let seen = self.power_record(power, claim, Some(settled));
        match journal.write_with(|change| change.put(&key, &seen, Expect::same(read.as_ref()))).await {
            // A poll stored the power meanwhile, or the view is behind.
            Err(mesh::Error::Store(keyspace::Error::Conflict)) => {
                let read = self.mesh.store().get(&key).await?;
                journal.write_with(|change| change.put(&key, &seen, Expect::same(read.as_ref()))).await
            }
            written => written,
        }
    }

    async fn in_session(
        &self,
        session: &BmcSession,
        takeover: &mut Takeover<u32, Duration>,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        target: Target,
    ) -> Result<Power, AttemptError> {
        let mut unconfirmed = Vec::new();
        let power = loop {
            match takeover.next_action(self.mesh.now()) {
                NextAction::Close(other) => {
                    self.control.point(Point::BeforeClose).await;
                    let is_confirmed = session.close(other).await?;
                    takeover.closed(other, is_confirmed);
                    if is_confirmed {
                        journal.closed(other);
                    } else {
                        unconfirmed.push(other);
                    }
                }
                NextAction::Settle(until) => self.control.sleep(until.saturating_sub(self.mesh.now())).await,
                NextAction::Read | NextAction::Act => {
                    // Their datagrams have arrived, so the sessions need not be remembered any more.
                    unconfirmed.drain(..).for_each(|other| journal.closed(other));
                    self.control.point(Point::BeforeRead).await;
                    break session.power().await?;
                }
                NextAction::Claim | NextAction::Sessions | NextAction::Login => {
                    return Err(AttemptError::Transient(BmcError::NotPermitted));
                }
            }
        };
        takeover.read();
        self.control.trace(|| format!("decides by {power} in {:08x}", session.id()));
        match target {
            Target::Reset => self.reset(session, journal, version).await.map(|()| power),
            Target::On | Target::Off | Target::Booted => {
                self.power_sequence(session, journal, version, target, power).await
            }
        }
    }

    /// Brings the power to the target: one command at a time, each after a read.
    async fn power_sequence(
        &self,
        session: &BmcSession,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        target: Target,
        mut power: Power,
    ) -> Result<Power, AttemptError> {
        let (mut was_off, mut has_sent_on, mut sent) = (false, false, None);
        loop {
            was_off |= power == Power::Off;
            let wants_on = target == Target::On || (target == Target::Booted && was_off);
            let wanted = if wants_on { Power::On } else { Power::Off };
            let must_boot = target == Target::Booted && !has_sent_on;
            if power == wanted && !(wants_on && must_boot) {
                return Ok(power);
            }
            let command = if wants_on { Command::On } else { Command::Off };
            if sent == Some(command) {
                self.control.sleep(POWER_CHECK_INTERVAL).await;
                // Something else changed the power: begin again.
                sent = None;
            } else {
                self.send(session, journal, version, command).await?;
                has_sent_on |= command == Command::On;
                sent = Some(command);
            }
            power = session.power().await?;
        }
    }

    /// Journals a command and sends it.
    async fn send(
        &self,
        session: &BmcSession,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        command: Command,
    ) -> Result<(), AttemptError> {
        self.control.shared.tally.lock().acts += 1;
        let _outstanding = Outstanding::new(&self.control);
        let permit: Permit = journal.arm(version, session.id(), command.description()).await?;
        let outcome = session.command(command, &permit).await;
        if self.control.shared.rules.breaks(Mutant::JournalAfterSend) {
            self.control.point(Point::Mesh(mesh::Step::BeforeJournal)).await;
            journal.write().await?;
        }
        journal.ended(if outcome.is_ok() { Outcome::Done } else { Outcome::Unknown });
        Ok(outcome?)
    }

    /// Sends a reset. It gets one entry, ever, and one datagram; an entry that is found is not repeated.
    async fn reset(
        &self,
        session: &BmcSession,
        journal: &mut JournalWriter,
        version: InstructionVersion,
    ) -> Result<(), AttemptError> {
        let description = Command::Reset.description();
        let found = journal
            .record()
            .entry
            .as_ref()
            .filter(|entry| entry.version.generation == version.generation && entry.command == description);
        match found.map(|entry| entry.outcome.clone()) {
            Some(Some(Outcome::Done)) => Ok(()),
            Some(Some(Outcome::Refused(_) | Outcome::Unknown) | None) => Err(AttemptError::Failed(UNKNOWN_RESET)),
            None => match self.send(session, journal, version, Command::Reset).await {
                Err(AttemptError::Transient(_)) => Err(AttemptError::Failed(UNKNOWN_RESET)),
                outcome => outcome,
            },
        }
    }

    /// Reads the power of an idle node, and stores a change.
    async fn observe(&self, guard: &WorkGuard) {
        let node = guard.node();
        let Ok(session) = BmcSession::open(&self.control, node).await else { return };
        let power = session.power().await;
        // A session that stays open ends when it has been idle long enough.
        let _is_confirmed = session.close(session.id()).await;
        let (Ok(power), false) = (power, self.is_running(node)) else { return };
        let key = key::power(RACK, node);
        let read = self.mesh.view().get(&key);
        if read.as_ref().is_some_and(|read| read.value.power == power) {
            return;
        }
        self.control.point(Point::BeforeWork).await;
        let Ok(claim) = self.claim(guard).await else { return };
        let settled = read.as_ref().and_then(|read| read.value.settled.clone());
        let seen = self.power_record(power, claim, settled);
        if let Ok(change) = self.mesh.fenced(&claim).put(&key, &seen, Expect::same(read.as_ref())) {
            // The next read stores it otherwise.
            drop(self.mesh.commit(change).await);
        }
    }
}
