//! An owner's work at a BMC, as `power_service::work` has it: the real takeover, then one journalled command at a time.

use std::{cell::Cell, rc::Rc, time::Duration};

use domain::{
    failure::{Cause, Failure},
    generation::InstructionVersion,
    id::NodeId,
    power::Power,
    ring::bmc_takeover::{NextAction, Takeover},
};
use keyspace::value::{Outcome, PowerSeen, Settled};

use super::{
    bmc::{Ask, Command, Told, stamp},
    etcd::{Expect, Key, Value, Write},
    fault::Point,
    owner::{Held, JournalWriter, Permit},
    process::{Failed, Process, WorkGuard},
    rules::Mutant,
    sim::{Mailbox, either},
};

/// How often something is sent to a BMC before it counts as silent.
const TRIES: usize = 4;
/// Between two looks at power that does not follow yet.
const LOOK: Duration = Duration::from_millis(500);
/// Between two tries of something that may pass.
const AGAIN: Duration = Duration::from_secs(1);
/// How long one instruction may take.
const INSTRUCTION: Duration = Duration::from_secs(120);

/// What is asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    On,
    Off,
    /// Off, seen off, on.
    Booted,
    /// Reset, once.
    Reset,
}

/// Why an instruction did not come to its end here.
enum Stopped {
    /// This process may not continue; the next owner does.
    Elsewhere(Failed),
    /// It may work in a moment.
    Again,
    /// It failed for good.
    Failed(&'static str),
}

impl From<Failed> for Stopped {
    fn from(error: Failed) -> Self {
        Self::Elsewhere(error)
    }
}

/// Why a BMC is of no use now.
enum BmcError {
    Silent,
    NoSlot,
    NotPermitted,
    /// Sent and not answered.
    Unknown,
}

/// A session with a BMC.
struct Line {
    process: Rc<Process>,
    node: NodeId,
    session: u32,
    number: Cell<u32>,
}

impl Line {
    async fn open(process: &Rc<Process>, node: NodeId) -> Result<Self, BmcError> {
        process.point(Point::BeforeLogin).await;
        let mut line = Self { process: Rc::clone(process), node, session: 0, number: Cell::new(0) };
        let console = process.world.sim.chance.draw();
        match line.ask(Ask::Login(console), None, TRIES).await? {
            Told::Session(session) => line.session = session,
            Told::NoSlot | Told::Closed | Told::CannotClose | Told::Power(_) | Told::Done => {
                return Err(BmcError::NoSlot);
            }
        }
        Ok(line)
    }

    async fn power(&self) -> Result<Power, BmcError> {
        match self.ask(Ask::Read, None, TRIES).await? {
            Told::Power(power) => Ok(power),
            Told::Session(_) | Told::NoSlot | Told::Closed | Told::CannotClose | Told::Done => Err(BmcError::Silent),
        }
    }

    async fn close(&self, session: u32) -> Result<bool, BmcError> {
        Ok(self.ask(Ask::Close(session), None, TRIES).await? == Told::Closed)
    }

    async fn command(&self, command: Command, permit: &Permit) -> Result<(), BmcError> {
        let tries = if command == Command::Reset { 1 } else { TRIES };
        self.ask(Ask::Command(command), Some(permit), tries).await.map(drop)
    }

    /// Sends, and again where no answer comes. What changes something asks its permit before each datagram.
    async fn ask(&self, ask: Ask, permit: Option<&Permit>, tries: usize) -> Result<Told, BmcError> {
        let (process, world) = (&self.process, &self.process.world);
        let mailbox = Rc::new(Mailbox::default());
        for sent in 0..tries {
            if let Some(permit) = permit {
                if world.sim.chance.percent(world.sluggish) {
                    process.sleep(world.sim.chance.millis(1, 950)).await;
                }
                process.point(if sent == 0 { Point::BeforeSend } else { Point::BeforeRepeat }).await;
                let is_free = sent > 0 && world.rules.is(Mutant::FreeRepeats);
                if !is_free && !permit.allows(process, self.session) {
                    return Err(if sent > 0 { BmcError::Unknown } else { BmcError::NotPermitted });
                }
                // What is left over, and stated: where sessions are closed it is harmless.
                if world.all_close {
                    process.point(Point::Permitted).await;
                }
                process.tell(|| format!("sends {ask:?} to {} in {:08x}", world.node_name(self.node), self.session));
            }
            self.number.set(self.number.get() + 1);
            world.datagram(self.node, self.session, self.number.get(), ask, Rc::clone(&mailbox));
            if permit.is_some() {
                process.point(Point::AfterSend).await;
            }
            if let Ok(told) = either(mailbox.take(), process.sleep(world.answer)).await {
                if permit.is_some() {
                    process.point(Point::BeforeOutcome).await;
                }
                return Ok(told);
            }
        }
        Err(if permit.is_some() { BmcError::Unknown } else { BmcError::Silent })
    }
}

impl Process {
    /// Begins an instruction, or finds it under way or done.
    pub(crate) fn ensure(self: &Rc<Self>, node: NodeId, version: InstructionVersion, target: Target) {
        let Ok(guard) = self.begin_work(node) else { return };
        if self.is_settled(node, version) || self.running.borrow().contains_key(&node) {
            return;
        }
        self.running.borrow_mut().insert(node, version);
        let process = Rc::clone(self);
        self.world.sim.spawn(Some(Rc::clone(&self.halt)), async move {
            process.carry_out(guard, version, target).await;
            process.running.borrow_mut().remove(&node);
        });
    }

    fn is_settled(&self, node: NodeId, version: InstructionVersion) -> bool {
        let view = self.view.borrow();
        let settled = view.power(node).and_then(|(seen, _)| seen.settled.as_ref());
        settled.is_some_and(|settled| settled.generation >= version.generation)
    }

    async fn carry_out(self: &Rc<Self>, guard: WorkGuard, version: InstructionVersion, target: Target) {
        let begun = self.clock();
        loop {
            let attempt = either(self.attempt(&guard, version, target), guard.lost()).await;
            let why = match attempt.unwrap_or(Err(Stopped::Elsewhere(Failed::HandingOver))) {
                Ok(()) => return,
                Err(Stopped::Elsewhere(error)) => {
                    self.tell(|| format!("leaves {}: {error:?}", self.world.node_name(guard.node)));
                    return;
                }
                Err(Stopped::Again) if self.clock() < begun + INSTRUCTION => {
                    self.sleep(AGAIN).await;
                    continue;
                }
                Err(Stopped::Again) => "its BMC is silent",
                Err(Stopped::Failed(why)) => why,
            };
            let _elsewhere = self.settle_failed(&guard, version, why).await;
            return;
        }
    }

    async fn settle_failed(
        self: &Rc<Self>,
        guard: &WorkGuard,
        version: InstructionVersion,
        why: &str,
    ) -> Result<(), Failed> {
        let held = self.claim(guard).await?;
        let at = stamp(self.world.sim.now());
        let failure = Failure { cause: Cause::BmcSilent, text: why.to_owned(), at };
        let settled = Settled { generation: version.generation, at, failure: Some(failure) };
        let (power, revision) = self.power_seen(guard.node);
        let seen = self.seen(power.unwrap_or(Power::Off), held, Some(settled));
        self.tell(|| format!("settles {} as failed: {why}", self.world.node_name(guard.node)));
        let mut expects = self.fenced(held);
        expects.push(Expect::Revision(Key::Power(guard.node), revision));
        self.commit_seen(expects, vec![Write::Put(Key::Power(guard.node), Value::Power(seen))]).await.map(drop)
    }

    fn power_seen(&self, node: NodeId) -> (Option<Power>, i64) {
        let view = self.view.borrow();
        view.power(node).map_or((None, 0), |(seen, revision)| (Some(seen.power), revision))
    }

    fn seen(&self, power: Power, held: Held, settled: Option<Settled>) -> PowerSeen {
        let seen_at = stamp(self.world.sim.now());
        PowerSeen { power, seen_at, seen_by: held.instance, settled, trouble: None }
    }

    /// One owner's takeover: claim, close, wait, read, then act.
    async fn attempt(
        self: &Rc<Self>,
        guard: &WorkGuard,
        version: InstructionVersion,
        target: Target,
    ) -> Result<(), Stopped> {
        let mut takeover = Takeover::new(self.world.times.settle);
        self.point(Point::Staked).await;
        let held = self.claim(guard).await?;
        takeover.claimed(held.token(), self.clock());
        let mut journal = JournalWriter::read(self, held).await?;
        journal.obey(version)?;
        let named: Vec<_> = journal.journal.sessions.iter().map(|session| session.id).collect();
        takeover.sessions(if self.world.rules.is(Mutant::NothingClosed) { Vec::new() } else { named });
        let line = Line::open(self, guard.node).await.map_err(again)?;
        journal.opened(line.session).await?;
        takeover.logged_in(line.session);
        let outcome = self.in_session(&line, &mut takeover, &mut journal, version, target).await;
        if line.close(line.session).await.unwrap_or(false) {
            journal.closed(line.session);
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
    ) -> Result<(), Failed> {
        self.point(Point::BeforeSettle).await;
        let held = journal.held;
        let (_, revision) = self.power_seen(held.node);
        let at = stamp(self.world.sim.now());
        let settled = Settled { generation: version.generation, at, failure: None };
        let seen = self.seen(power, held, Some(settled));
        let key = Key::Power(held.node);
        let put = Write::Put(key, Value::Power(seen));
        journal.write_with(vec![Expect::Revision(key, revision)], vec![put]).await?;
        self.tell(|| format!("settles {} at {power}", self.world.node_name(held.node)));
        Ok(())
    }

    async fn in_session(
        self: &Rc<Self>,
        line: &Line,
        takeover: &mut Takeover<u32, Duration>,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        target: Target,
    ) -> Result<Power, Stopped> {
        let mut unconfirmed = Vec::new();
        let power = loop {
            match takeover.next_action(self.clock()) {
                NextAction::Close(session) => {
                    self.point(Point::BeforeClose).await;
                    let confirmed = line.close(session).await.map_err(again)?;
                    takeover.closed(session, confirmed);
                    if confirmed {
                        journal.closed(session);
                    } else {
                        unconfirmed.push(session);
                    }
                }
                NextAction::Settle(until) => self.sleep_until(until).await,
                NextAction::Read | NextAction::Act => {
                    // Waited for: only now may they be forgotten.
                    unconfirmed.drain(..).for_each(|session| journal.closed(session));
                    self.point(Point::BeforeRead).await;
                    break line.power().await.map_err(again)?;
                }
                NextAction::Claim | NextAction::Sessions | NextAction::Login => return Err(Stopped::Again),
            }
        };
        takeover.read();
        self.tell(|| format!("decides on {} at {power} in {:08x}", self.world.node_name(line.node), line.session));
        match target {
            Target::Reset => self.reset(line, journal, version).await.map(|()| power),
            Target::On | Target::Off | Target::Booted => self.course(line, journal, version, target, power).await,
        }
    }

    /// Brings power to a target: one command at a time, each after a look.
    async fn course(
        self: &Rc<Self>,
        line: &Line,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        target: Target,
        mut power: Power,
    ) -> Result<Power, Stopped> {
        let (mut seen_off, mut on_sent, mut sent) = (false, false, None);
        loop {
            seen_off |= power == Power::Off;
            let wants_on = target == Target::On || (target == Target::Booted && seen_off);
            let wanted = if wants_on { Power::On } else { Power::Off };
            let must_boot = target == Target::Booted && !on_sent;
            if power == wanted && !(wants_on && must_boot) {
                return Ok(power);
            }
            let command = if wants_on { Command::On } else { Command::Off };
            if sent == Some(command) {
                self.sleep(LOOK).await;
                // Another's hand, or a command of ours that came late: begin again.
                sent = None;
            } else {
                self.act(line, journal, version, command).await?;
                on_sent |= command == Command::On;
                sent = Some(command);
            }
            power = line.power().await.map_err(again)?;
        }
    }

    async fn act(
        self: &Rc<Self>,
        line: &Line,
        journal: &mut JournalWriter,
        version: InstructionVersion,
        command: Command,
    ) -> Result<(), Stopped> {
        self.world.tally.borrow_mut().acts += 1;
        let permit = journal.arm(version, line.session, command).await?;
        let outcome = line.command(command, &permit).await;
        if self.world.rules.is(Mutant::JournalAfterSend) {
            self.point(Point::BeforeJournal).await;
            journal.write().await?;
        }
        match outcome {
            Ok(()) => {
                journal.ended(Outcome::Done);
                Ok(())
            }
            Err(error) => {
                journal.ended(Outcome::Unknown);
                Err(again(error))
            }
        }
    }

    /// Reset gets one entry, ever, and one datagram; what came of an entry that is found is reported, not tried again.
    async fn reset(
        self: &Rc<Self>,
        line: &Line,
        journal: &mut JournalWriter,
        version: InstructionVersion,
    ) -> Result<(), Stopped> {
        const UNKNOWN: &str = "it is not known whether the reset was carried out";
        let entry = journal.journal.entry.as_ref();
        let found = entry.filter(|entry| entry.version.generation == version.generation && entry.command == "reset");
        match found.map(|entry| entry.outcome.clone()) {
            Some(Some(Outcome::Done)) => Ok(()),
            Some(Some(Outcome::Refused(_) | Outcome::Unknown) | None) => Err(Stopped::Failed(UNKNOWN)),
            None => match self.act(line, journal, version, Command::Reset).await {
                Err(Stopped::Again) => Err(Stopped::Failed(UNKNOWN)),
                outcome => outcome,
            },
        }
    }

    /// Reads the power of an idle node now and then, and notes what is news (`power_service::poll`).
    pub(crate) async fn poll(self: Rc<Self>) {
        loop {
            let rest = self.world.sim.chance.millis(100, 4000);
            self.sleep(rest).await;
            for node in self.world.nodes() {
                if !self.running.borrow().contains_key(&node)
                    && let Ok(guard) = self.begin_work(node)
                {
                    let _looked = either(self.look_at(&guard), guard.lost()).await;
                }
            }
        }
    }

    async fn look_at(self: &Rc<Self>, guard: &WorkGuard) {
        let node = guard.node;
        let Ok(line) = Line::open(self, node).await else { return };
        let power = line.power().await;
        let _confirmed = line.close(line.session).await;
        let (Ok(power), false) = (power, self.running.borrow().contains_key(&node)) else { return };
        let (before, revision) = self.power_seen(node);
        if before == Some(power) {
            return;
        }
        let settled = self.view.borrow().power(node).and_then(|(seen, _)| seen.settled.clone());
        self.point(Point::Staked).await;
        let Ok(held) = self.claim(guard).await else { return };
        let seen = self.seen(power, held, settled);
        let mut expects = self.fenced(held);
        expects.push(Expect::Revision(Key::Power(node), revision));
        let _noted = self.commit_seen(expects, vec![Write::Put(Key::Power(node), Value::Power(seen))]).await;
    }
}

fn again(error: BmcError) -> Stopped {
    match error {
        BmcError::Silent | BmcError::NoSlot | BmcError::NotPermitted | BmcError::Unknown => Stopped::Again,
    }
}
