//! An owner's work at a BMC: the takeover of `domain::ring::bmc_takeover`, then one journalled command at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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
use service_kit::{Host, clock, timeline::Timeline};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Error,
    bmc::{Bmc, BmcError, Command, Reply},
    config,
    control::{Course, Next},
    metrics,
    session::{Hands, Reach, Session},
};

mod look;

/// Between two looks at power that does not follow yet.
const LOOK: Duration = Duration::from_millis(500);
/// Between two tries of something that may pass.
const AGAIN: Duration = Duration::from_secs(1);

/// How long our own view may need to show what we wrote; one that is cut off for longer is an island soon.
const SEEN: Duration = Duration::from_secs(5);
/// How long a BMC may be of no use to an instruction that somebody waits for.
const WAITED_FOR: Duration = Duration::from_secs(20);

/// The instructions under way. Clones are the same.
#[derive(Clone)]
pub(crate) struct Work {
    joined: Joined,
    rack: RackId,
    hands: Hands,
    limits: Arc<config::Power>,
    timeline: Timeline,
    host: Host,
    running: Arc<Mutex<HashMap<NodeId, InstructionVersion>>>,
}

/// Why an instruction did not come to its end here.
enum Stopped {
    /// It failed for good.
    Failed(Failure),
    /// This process may not go on; whoever may will.
    Elsewhere(mesh::Error),
    /// It may work in a moment.
    Again(BmcError),
}

impl From<mesh::Error> for Stopped {
    fn from(error: mesh::Error) -> Self {
        Self::Elsewhere(error)
    }
}

impl Work {
    pub(crate) fn new(
        joined: Joined,
        hands: Hands,
        limits: config::Power,
        timeline: Timeline,
        host: Host,
    ) -> Result<Self, Error> {
        let rack = joined.rack()?;
        Ok(Self { joined, rack, hands, limits: Arc::new(limits), timeline, host, running: Arc::default() })
    }

    fn mesh(&self) -> &Mesh {
        &self.joined.mesh
    }

    fn intent(&self, node: NodeId) -> Result<Intent, Error> {
        let read = self.mesh().view().get(&key::intent(self.rack, node));
        read.map(|read| read.value).ok_or(Error::UnknownNode(node))
    }

    fn reach(&self, node: NodeId) -> Result<Reach, Error> {
        let heard = self.mesh().view().get(&key::power(self.rack, node)).map(|heard| heard.value.power);
        Reach::of(node, self.intent(node)?, heard, &self.joined.sealer)
    }

    /// Begins an instruction, or finds it under way or done.
    pub(crate) fn ensure(&self, node: NodeId, version: InstructionVersion, target: PowerTarget) -> Result<(), Error> {
        let guard = self.mesh().begin_work(node)?;
        self.intent(node)?;
        if self.is_settled(node, version) {
            return Ok(());
        }
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            match running.get(&node) {
                Some(at) if version.is_older_than(*at) => return Err(Error::Outdated(node)),
                // One instruction at a time: a newer one is asked for again, and begins when this one has ended.
                Some(_) => return Ok(()),
                None => running.insert(node, version),
            };
        }
        let work = self.clone();
        self.host.spawn(async move {
            work.carry_out(guard, version, target).await;
            work.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        });
        Ok(())
    }

    fn is_settled(&self, node: NodeId, version: InstructionVersion) -> bool {
        let read = self.mesh().view().get(&key::power(self.rack, node));
        read.and_then(|read| read.value.settled).is_some_and(|settled| settled.generation >= version.generation)
    }

    async fn carry_out(&self, guard: WorkGuard, version: InstructionVersion, target: PowerTarget) {
        let node = guard.node();
        let (begun, patience) = (Instant::now(), self.patience(target));
        loop {
            let outcome = tokio::select! {
                outcome = self.attempt(&guard, version, target) => outcome,
                () = guard.lost() => Err(Stopped::Elsewhere(mesh::Error::HandingOver { node })),
            };
            let again = match outcome {
                Ok(()) => {
                    // A machine that boots from the network once is about to be looked at or worked on.
                    if matches!(target, PowerTarget::Booted { boot: Some(boot) } if boot.device == BootDevice::Pxe) {
                        drop(self.learn_firmware(node));
                    }
                    self.seen_settled(&guard, version).await;
                    return metrics::instruction("reached");
                }
                Err(Stopped::Failed(failure)) => Some(failure),
                Err(Stopped::Elsewhere(error)) => {
                    tracing::info!(node = %node, error = %service_kit::status::chain(&error), "leaving an instruction");
                    return metrics::instruction("left");
                }
                Err(Stopped::Again(error)) if begun.elapsed() < patience => {
                    tracing::info!(node = %node, %error, "trying again");
                    sleep(AGAIN).await;
                    None
                }
                Err(Stopped::Again(error)) => Some(failure(error.cause(), error.to_string())),
            };
            if let Some(failure) = again {
                metrics::instruction("failed");
                if let Err(error) = self.settle_failed(&guard, version, failure).await {
                    tracing::warn!(node = %node, error = %service_kit::status::chain(&error), "cannot note a failure");
                    return;
                }
                self.seen_settled(&guard, version).await;
                return;
            }
        }
    }

    /// Waits until our own view shows that an instruction has ended. Until then it counts as under way: whoever asks for it
    /// again would have it begun anew.
    async fn seen_settled(&self, guard: &WorkGuard, version: InstructionVersion) {
        let node = guard.node();
        let mut news = self.mesh().view().subscribe();
        let seeing = async { while !self.is_settled(node, version) && news.next().await.is_some() {} };
        tokio::select! {
            seen = timeout(SEEN, seeing) => if seen.is_err() {
                tracing::warn!(node = %node, "our own view does not show that an instruction has ended");
            },
            () = guard.lost() => {}
        }
    }

    /// How long an instruction is tried for where something is in its way that may pass. A person waits for a boot order, or an
    /// interrupt.
    fn patience(&self, target: PowerTarget) -> Duration {
        match target {
            PowerTarget::BootOrder { .. } | PowerTarget::Interrupted => self.limits.instruction.min(WAITED_FOR),
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
        tracing::warn!(node = %guard.node(), cause = failure.cause.word(), text = failure.text, "an instruction failed");
        let claim = self.mesh().claim(guard).await?;
        let key = key::power(self.rack, guard.node());
        let read = self.mesh().view().get(&key);
        let power = read.as_ref().map_or(Power::Off, |read| read.value.power);
        let settled = Settled { generation: version.generation, at: clock::now(), failure: Some(failure) };
        let seen = seen(power, claim, Some(settled));
        let change = self.mesh().fenced(&claim).put(&key, &seen, Expect::same(read.as_ref()))?;
        self.mesh().commit(change).await.map(drop)
    }

    /// One owner's takeover: claim, close, wait, read, then act.
    async fn attempt(
        &self,
        guard: &WorkGuard,
        version: InstructionVersion,
        target: PowerTarget,
    ) -> Result<(), Stopped> {
        let node = guard.node();
        let reach = self.reach(node).map_err(|error| Stopped::Failed(failure(Cause::BmcPassword, chain(&error))))?;
        let mut takeover = Takeover::new(self.mesh().times().settle);
        let claim = self.mesh().claim(guard).await?;
        // Our view may have been behind when this was asked for; it is not by now, and whoever had the claim before may have
        // carried it out.
        if self.is_settled(node, version) {
            return Ok(());
        }
        takeover.claimed(claim.token(), self.mesh().now());
        let mut journal = JournalWriter::read(self.mesh(), claim).await?;
        journal.obey(version)?;
        takeover.sessions(journal.to_close());
        let bmc = reach.open(&self.hands, &self.limits).await;
        let mut bmc = bmc.map_err(judge)?;
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
                // What is known of sessions is written, so that the next takeover need not close them again.
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
        let seen = seen(power, claim, Some(settled));
        let written = journal.write_with(|change| change.put(&key, &seen, Expect::same(read.as_ref()))).await;
        match written {
            // A look at its power was noted meanwhile, or our view is behind; who has the claim now finds no other way here.
            Err(mesh::Error::Store(keyspace::Error::Conflict)) => {
                let read = self.mesh().store().get(&key).await.map_err(mesh::Error::Store)?;
                journal.write_with(|change| change.put(&key, &seen, Expect::same(read.as_ref()))).await
            }
            written => written,
        }
    }

    async fn in_session(
        &self,
        bmc: &mut Session,
        takeover: &mut Takeover<u32, Duration>,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        target: PowerTarget,
    ) -> Result<Power, Stopped> {
        let mut unconfirmed = Vec::new();
        let mut power = loop {
            match takeover.next_action(self.mesh().now()) {
                NextAction::Close(session) => {
                    let confirmed = bmc.close_other(session, journal.path(session)).await.map_err(judge)?;
                    takeover.closed(session, confirmed);
                    if confirmed {
                        journal.closed(session);
                    } else {
                        unconfirmed.push(session);
                    }
                }
                NextAction::Settle(until) => sleep(until.saturating_sub(self.mesh().now())).await,
                NextAction::Read | NextAction::Act => {
                    // Nobody needs to know them any more: what came through them has arrived.
                    unconfirmed.drain(..).for_each(|session| journal.closed(session));
                    break bmc.power().await.map_err(judge)?;
                }
                NextAction::Claim | NextAction::Sessions | NextAction::Login => {
                    return Err(Stopped::Again(BmcError::NotPermitted));
                }
            }
        };
        takeover.read();
        let steps = target.boot().map_or(0, |boot| bmc.boot_steps(boot));
        let mut course = Course::new(target, steps);
        loop {
            match course.next(power, clock::now(), &self.limits) {
                Next::Reached => return Ok(power),
                Next::Stuck(cause, text) => return Err(Stopped::Failed(failure(cause, text))),
                Next::Look => {
                    sleep(LOOK).await;
                    course.waited(LOOK);
                    power = self.look(bmc, journal.claim(), version, power).await?;
                }
                Next::Send(Command::Interrupt) if has_interrupted(journal, version) => {
                    let text = "the interrupt was sent once, and nobody knows what came of it: look at the console, and \
                                ask again where nothing did";
                    return Err(Stopped::Failed(failure(Cause::BmcSilent, text.to_owned())));
                }
                Next::Send(command) => {
                    bmc.prepare().await.map_err(judge)?;
                    let permit = journal.arm(version, bmc.session(), &command.words()).await?;
                    match bmc.command(command, &permit).await {
                        Ok(Reply::Done) => journal.ended(Outcome::Done),
                        Ok(Reply::Refused(why)) => {
                            journal.ended(Outcome::Refused(why.clone()));
                            return Err(Stopped::Failed(failure(Cause::BmcRefused, format!("the BMC refused: {why}"))));
                        }
                        Err(error) => {
                            journal.ended(Outcome::Unknown);
                            return Err(judge(error));
                        }
                    }
                    course.sent(command);
                    power = self.look(bmc, journal.claim(), version, power).await?;
                }
            }
        }
    }

    async fn look(
        &self,
        bmc: &mut Session,
        claim: Claim,
        version: InstructionVersion,
        before: Power,
    ) -> Result<Power, Stopped> {
        let power = bmc.power().await.map_err(judge)?;
        if power != before {
            let mark = if power == Power::On { Mark::PowerOn } else { Mark::PowerOff };
            self.timeline.note(claim.node(), version.generation, mark, "");
        }
        Ok(power)
    }
}

/// Whether this instruction's interrupt may be at the BMC already, from a try before.
fn has_interrupted(journal: &JournalWriter, version: InstructionVersion) -> bool {
    let entry = journal.record().entry.as_ref();
    entry.is_some_and(|entry| {
        entry.version.generation == version.generation && entry.command == Command::Interrupt.words()
    })
}

fn seen(power: Power, claim: Claim, settled: Option<Settled>) -> PowerSeen {
    PowerSeen { power, seen_at: clock::now(), seen_by: claim.instance(), settled, trouble: None }
}

fn failure(cause: Cause, text: String) -> Failure {
    Failure { cause, text, at: clock::now() }
}

fn judge(error: BmcError) -> Stopped {
    if error.may_pass() { Stopped::Again(error) } else { Stopped::Failed(failure(error.cause(), error.to_string())) }
}

fn chain(error: &dyn std::error::Error) -> String {
    service_kit::status::chain(error)
}
