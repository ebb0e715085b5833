//! Executes instructions at BMCs: takes over as `domain::ring::bmc_takeover` demands, then sends one journalled command at a
//! time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    failure::{Cause, Failure},
    generation::InstructionVersion,
    id::{NodeId, RackId},
    power::{BootDevice, Power, PowerTarget},
    ring::bmc_takeover::{NextAction, Takeover},
    timeline::Mark,
};
use keyspace::{
    Expect, key,
    value::{Intent, Outcome, PowerSeen, Settled},
};
use mesh::{Claim, Joined, JournalWriter, Mesh, WorkGuard};
use parking_lot::Mutex;
use service_kit::{Host, clock, timeline::Timeline};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Error,
    bmc::{Bmc, BmcError, Command, Reply},
    config,
    control::{PowerSequence, Step},
    metrics,
    session::{BmcDrivers, BmcSession, BmcTarget},
};

mod observe;

/// How often power is read while it does not yet follow a command.
const POWER_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Delay before a transient failure is retried.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// How long to wait until our own view shows what we wrote. If it takes longer, the rack is about to become an island.
const VIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an instruction that a user waits for is retried.
const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The running instructions. Clones share the same state.
#[derive(Clone)]
pub(crate) struct Work {
    joined: Joined,
    rack: RackId,
    drivers: BmcDrivers,
    limits: Arc<config::Power>,
    timeline: Timeline,
    host: Host,
    running: Arc<Mutex<HashMap<NodeId, InstructionVersion>>>,
}

/// Why an attempt to execute an instruction ended.
enum AttemptError {
    /// The instruction failed permanently.
    Failed(Failure),
    /// This process must not continue; the next owner will.
    Relinquished(mesh::Error),
    /// A transient failure: a retry may succeed.
    Transient(BmcError),
}

impl From<mesh::Error> for AttemptError {
    fn from(error: mesh::Error) -> Self {
        Self::Relinquished(error)
    }
}

impl Work {
    pub(crate) fn new(
        joined: Joined,
        drivers: BmcDrivers,
        limits: config::Power,
        timeline: Timeline,
        host: Host,
    ) -> Result<Self, Error> {
        let rack = joined.rack()?;
        Ok(Self { joined, rack, drivers, limits: Arc::new(limits), timeline, host, running: Arc::default() })
    }

    fn mesh(&self) -> &Mesh {
        &self.joined.mesh
    }

    fn intent(&self, node: NodeId) -> Result<Intent, Error> {
        let read = self.mesh().view().get(&key::intent(self.rack, node));
        read.map(|read| read.value).ok_or(Error::UnknownNode(node))
    }

    fn bmc_target(&self, node: NodeId) -> Result<BmcTarget, Error> {
        let recorded = self.mesh().view().get(&key::power(self.rack, node)).map(|recorded| recorded.value.power);
        BmcTarget::resolve(node, self.intent(node)?, recorded, &self.joined.sealer)
    }

    /// Starts an instruction. Does nothing if it is running or completed.
    pub(crate) fn ensure(&self, node: NodeId, version: InstructionVersion, target: PowerTarget) -> Result<(), Error> {
        let guard = self.mesh().begin_work(node)?;
        self.intent(node)?;
        if self.is_settled(node, version) {
            return Ok(());
        }
        {
            let mut running = self.running.lock();
            match running.get(&node) {
                Some(at) if version.is_older_than(*at) => return Err(Error::Outdated(node)),
                // One instruction at a time: a newer one is requested again and starts when this one has ended.
                Some(_) => return Ok(()),
                None => running.insert(node, version),
            };
        }
        let work = self.clone();
        self.host.spawn(async move {
            work.execute(guard, version, target).await;
            work.running.lock().remove(&node);
        });
        Ok(())
    }

    fn is_settled(&self, node: NodeId, version: InstructionVersion) -> bool {
        let read = self.mesh().view().get(&key::power(self.rack, node));
        read.and_then(|read| read.value.settled).is_some_and(|settled| settled.generation >= version.generation)
    }

    async fn execute(&self, guard: WorkGuard, version: InstructionVersion, target: PowerTarget) {
        let node = guard.node();
        let (begun, retry_timeout) = (Instant::now(), self.retry_timeout(target));
        loop {
            let outcome = tokio::select! {
                outcome = self.attempt(&guard, version, target) => outcome,
                () = guard.lost() => Err(AttemptError::Relinquished(mesh::Error::HandingOver { node })),
            };
            let failure_to_store = match outcome {
                Ok(()) => {
                    // A machine that boots from the network once is about to be inspected or deployed.
                    if matches!(target, PowerTarget::Booted { boot: Some(boot) } if boot.device == BootDevice::Pxe) {
                        drop(self.read_firmware_in_background(node));
                    }
                    self.wait_until_visible(&guard, version).await;
                    return metrics::instruction("reached");
                }
                Err(AttemptError::Failed(failure)) => Some(failure),
                Err(AttemptError::Relinquished(error)) => {
                    tracing::info!(node = %node, error = %chain(&error), "instruction left to the next owner");
                    return metrics::instruction("left");
                }
                Err(AttemptError::Transient(error)) if begun.elapsed() < retry_timeout => {
                    tracing::info!(node = %node, %error, "transient BMC failure, will retry");
                    sleep(RETRY_DELAY).await;
                    None
                }
                Err(AttemptError::Transient(error)) => Some(failure(error.cause(), error.to_string())),
            };
            if let Some(failure) = failure_to_store {
                metrics::instruction("failed");
                if let Err(error) = self.settle_failed(&guard, version, failure).await {
                    tracing::warn!(node = %node, error = %chain(&error), "cannot store a failed instruction");
                    return;
                }
                self.wait_until_visible(&guard, version).await;
                return;
            }
        }
    }

    /// Waits until our own view shows the result of an instruction. Until then it counts as running, or a repeated
    /// request would start it again.
    async fn wait_until_visible(&self, guard: &WorkGuard, version: InstructionVersion) {
        let node = guard.node();
        let mut news = self.mesh().view().subscribe();
        let seeing = async { while !self.is_settled(node, version) && news.next().await.is_some() {} };
        tokio::select! {
            seen = timeout(VIEW_TIMEOUT, seeing) => if seen.is_err() {
                tracing::warn!(node = %node, "own view does not show a completed instruction");
            },
            () = guard.lost() => {}
        }
    }

    /// How long transient failures of an instruction are retried. It is short for boot orders and interrupts, which a
    /// user waits for.
    fn retry_timeout(&self, target: PowerTarget) -> Duration {
        match target {
            PowerTarget::BootOrder { .. } | PowerTarget::Interrupted => {
                self.limits.instruction.min(INTERACTIVE_TIMEOUT)
            }
            PowerTarget::On
            | PowerTarget::Off
            | PowerTarget::SoftOff { .. }
            | PowerTarget::Booted { .. }
            | PowerTarget::SoftBooted { .. } => {
                let own = target.by().map_or(Duration::ZERO, |by| by.since(clock::now()));
                self.limits.instruction.max(own)
            }
        }
    }

    async fn settle_failed(
        &self,
        guard: &WorkGuard,
        version: InstructionVersion,
        failure: Failure,
    ) -> Result<(), mesh::Error> {
        tracing::warn!(node = %guard.node(), cause = failure.cause.word(), text = failure.text, "instruction failed");
        let claim = self.mesh().claim(guard).await?;
        let key = key::power(self.rack, guard.node());
        let read = self.mesh().view().get(&key);
        let power = read.as_ref().map_or(Power::Off, |read| read.value.power);
        let settled = Settled { generation: version.generation, at: clock::now(), failure: Some(failure) };
        let seen = power_record(power, claim, Some(settled));
        let change = self.mesh().fenced(&claim).put(&key, &seen, Expect::same(read.as_ref()))?;
        self.mesh().commit(change).await.map(drop)
    }

    /// Makes one attempt: claims the node, closes previous sessions, waits, reads, then acts.
    async fn attempt(
        &self,
        guard: &WorkGuard,
        version: InstructionVersion,
        target: PowerTarget,
    ) -> Result<(), AttemptError> {
        let node = guard.node();
        let reach =
            self.bmc_target(node).map_err(|error| AttemptError::Failed(failure(Cause::BmcPassword, chain(&error))))?;
        let mut takeover = Takeover::new(self.mesh().times().settle);
        let claim = self.mesh().claim(guard).await?;
        // Our view may have been behind when the instruction was requested. It no longer is, and the previous owner may
        // have executed it.
        if self.is_settled(node, version) {
            return Ok(());
        }
        takeover.claimed(claim.token(), self.mesh().now());
        let mut journal = JournalWriter::read(self.mesh(), claim).await?;
        journal.obey(version)?;
        takeover.sessions(journal.to_close());
        let bmc = reach.open(&self.drivers, &self.limits).await;
        let mut bmc = bmc.map_err(attempt_error)?;
        journal.opened(bmc.session(), bmc.path());
        takeover.logged_in(bmc.session());
        let outcome = self.in_session(&mut bmc, &mut takeover, &mut journal, version, target).await;
        let own = bmc.session();
        if bmc.close().await {
            journal.closed(own);
        }
        let power = match outcome {
            Ok(power) => power,
            Err(stopped) => {
                // Store what is known of sessions, so that the next attempt does not have to close them again.
                journal.write().await?;
                return Err(stopped);
            }
        };
        self.settle(&mut journal, version, power).await?;
        Ok(())
    }

    async fn settle(
        &self,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        power: Power,
    ) -> Result<(), mesh::Error> {
        let claim = journal.claim();
        let key = key::power(self.rack, claim.node());
        let read = self.mesh().view().get(&key);
        let settled = Settled { generation: version.generation, at: clock::now(), failure: None };
        let seen = power_record(power, claim, Some(settled));
        let written = journal.write_with(|change| change.put(&key, &seen, Expect::same(read.as_ref()))).await;
        match written {
            // A poll stored the power meanwhile, or our view is behind. No other instance holds the claim, so
            // overwriting is safe.
            Err(mesh::Error::Store(keyspace::Error::Conflict)) => {
                let read = self.mesh().store().get(&key).await.map_err(mesh::Error::Store)?;
                journal.write_with(|change| change.put(&key, &seen, Expect::same(read.as_ref()))).await
            }
            written => written,
        }
    }

    async fn in_session(
        &self,
        bmc: &mut BmcSession,
        takeover: &mut Takeover<u32, Duration>,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        target: PowerTarget,
    ) -> Result<Power, AttemptError> {
        let mut unconfirmed = Vec::new();
        let mut power = loop {
            match takeover.next_action(self.mesh().now()) {
                NextAction::Close(session) => {
                    let confirmed = bmc.close_other(session, journal.path(session)).await.map_err(attempt_error)?;
                    takeover.closed(session, confirmed);
                    if confirmed {
                        journal.closed(session);
                    } else {
                        unconfirmed.push(session);
                    }
                }
                NextAction::Settle(until) => sleep(until.saturating_sub(self.mesh().now())).await,
                NextAction::Read | NextAction::Act => {
                    // The sessions need not be remembered any more: all commands sent through them have arrived.
                    unconfirmed.drain(..).for_each(|session| journal.closed(session));
                    break bmc.power().await.map_err(attempt_error)?;
                }
                NextAction::Claim | NextAction::Sessions | NextAction::Login => {
                    return Err(AttemptError::Transient(BmcError::NotPermitted));
                }
            }
        };
        takeover.read();
        let steps = target.boot().map_or(0, |boot| bmc.boot_steps(boot));
        let mut sequence = PowerSequence::new(target, steps);
        loop {
            match sequence.next(power, clock::now(), &self.limits) {
                Step::Reached => return Ok(power),
                Step::Stuck(cause, text) => return Err(AttemptError::Failed(failure(cause, text))),
                Step::Wait => {
                    sleep(POWER_CHECK_INTERVAL).await;
                    sequence.waited(POWER_CHECK_INTERVAL);
                    power = self.read_power(bmc, journal.claim(), version, power).await?;
                }
                Step::Send(Command::Interrupt) if has_interrupted(journal, version) => {
                    let text = "the interrupt was sent, but the BMC did not confirm it; check the console and repeat the \
                                request if the system was not interrupted";
                    return Err(AttemptError::Failed(failure(Cause::BmcSilent, text.to_owned())));
                }
                Step::Send(command) => {
                    bmc.prepare().await.map_err(attempt_error)?;
                    let permit = journal.arm(version, bmc.session(), &command.description()).await?;
                    match bmc.command(command, &permit).await {
                        Ok(Reply::Done) => journal.ended(Outcome::Done),
                        Ok(Reply::Refused(why)) => {
                            journal.ended(Outcome::Refused(why.clone()));
                            return Err(AttemptError::Failed(failure(
                                Cause::BmcRefused,
                                format!("the BMC refused the command: {why}"),
                            )));
                        }
                        Err(error) => {
                            journal.ended(Outcome::Unknown);
                            return Err(attempt_error(error));
                        }
                    }
                    sequence.sent(command);
                    power = self.read_power(bmc, journal.claim(), version, power).await?;
                }
            }
        }
    }

    async fn read_power(
        &self,
        bmc: &mut BmcSession,
        claim: Claim,
        version: InstructionVersion,
        before: Power,
    ) -> Result<Power, AttemptError> {
        let power = bmc.power().await.map_err(attempt_error)?;
        if power != before {
            let mark = if power == Power::On { Mark::PowerOn } else { Mark::PowerOff };
            self.timeline.note(claim.node(), version.generation, mark, "");
        }
        Ok(power)
    }
}

/// Returns whether the interrupt of this instruction may have reached the BMC in a previous attempt.
fn has_interrupted(journal: &JournalWriter, version: InstructionVersion) -> bool {
    let entry = journal.record().entry.as_ref();
    entry.is_some_and(|entry| {
        entry.version.generation == version.generation && entry.command == Command::Interrupt.description()
    })
}

fn power_record(power: Power, claim: Claim, settled: Option<Settled>) -> PowerSeen {
    PowerSeen { power, seen_at: clock::now(), seen_by: claim.instance(), settled, trouble: None }
}

fn failure(cause: Cause, text: String) -> Failure {
    Failure { cause, text, at: clock::now() }
}

fn attempt_error(error: BmcError) -> AttemptError {
    if error.may_pass() {
        AttemptError::Transient(error)
    } else {
        AttemptError::Failed(failure(error.cause(), error.to_string()))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    service_kit::status::chain(error)
}
