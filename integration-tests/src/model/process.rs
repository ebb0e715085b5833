//! One process of the service: its clock, its view of etcd, its fence, its workers.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use domain::{
    generation::InstructionVersion,
    id::{InstanceId, NodeId},
    ring::{Ring, handover::Absences},
};
use keyspace::value::{Claim, Member, PowerSeen};

use super::{
    etcd::{Answer, Change, Expect, Key, Pair, Request, Value, Write},
    fault::Point,
    sim::{Bell, Halt, Mailbox, either},
    world::World,
};

/// How long a request to etcd may take (`keyspace::store`).
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a read is tried (`keyspace::store`).
const READS: usize = 2;

/// Why the store did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Something was not as expected.
    Conflict,
    /// No answer: it may have been done.
    Away,
    /// This process may not act on the node now.
    HandingOver,
    /// A newer instruction was obeyed before.
    Outdated,
}

/// A membership that holds (`mesh::member`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) instance: InstanceId,
    pub(crate) lease: i64,
    pub(crate) created: i64,
    pub(crate) acknowledged: i64,
    pub(crate) stopping: bool,
}

/// The copy of the store that a process has (`keyspace::View`): ordered, never going back.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) pairs: BTreeMap<Key, Rc<Pair>>,
    pub(crate) revision: i64,
}

impl View {
    pub(crate) fn revision_of(&self, key: Key) -> i64 {
        self.pairs.get(&key).map_or(0, |pair| pair.revision)
    }

    pub(crate) fn ring(&self) -> Option<(&Ring, i64)> {
        let pair = self.pairs.get(&Key::Ring)?;
        if let Value::Ring(ring) = &pair.value { Some((ring, pair.revision)) } else { None }
    }

    /// The election's revision, where this instance leads.
    pub(crate) fn led_by(&self, instance: InstanceId) -> Option<i64> {
        let pair = self.pairs.get(&Key::Election)?;
        match &pair.value {
            Value::Election(election) if election.instance == instance => Some(pair.revision),
            Value::Election(_)
            | Value::Member(_)
            | Value::Ring(_)
            | Value::Ack(_)
            | Value::Dead
            | Value::Claim(_)
            | Value::Journal(_)
            | Value::Power(_) => None,
        }
    }

    pub(crate) fn claim(&self, node: NodeId) -> Option<(&Claim, i64)> {
        let pair = self.pairs.get(&Key::Claim(node))?;
        if let Value::Claim(claim) = &pair.value { Some((claim, pair.revision)) } else { None }
    }

    pub(crate) fn power(&self, node: NodeId) -> Option<(&PowerSeen, i64)> {
        let pair = self.pairs.get(&Key::Power(node))?;
        if let Value::Power(seen) = &pair.value { Some((seen, pair.revision)) } else { None }
    }

    pub(crate) fn acknowledged(&self, instance: InstanceId) -> Option<i64> {
        let pair = self.pairs.get(&Key::Ack(instance))?;
        if let Value::Ack(ack) = &pair.value { Some(ack.epoch) } else { None }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (InstanceId, &Member)> {
        self.pairs.iter().filter_map(|(key, pair)| match (key, &pair.value) {
            (Key::Member(instance), Value::Member(member)) => Some((*instance, member)),
            _ => None,
        })
    }
}

/// Work on a node (`mesh::guard`).
#[derive(Debug)]
struct Held {
    workers: usize,
    lost: Rc<Cell<bool>>,
}

pub(crate) struct Process {
    /// As `p1.3`: the third run in place 1.
    pub(crate) name: String,
    pub(crate) slot: usize,
    pub(crate) world: Rc<World>,
    pub(crate) halt: Rc<Halt>,
    /// How much of the world's time its clock has missed.
    pub(crate) missed: Cell<Duration>,
    pub(crate) view: RefCell<View>,
    inbox: RefCell<VecDeque<Rc<Change>>>,
    pub(crate) news: Bell,
    pub(crate) standing: Cell<Option<Standing>>,
    /// When the last keep-alive that succeeded was sent; none: never, or given up.
    pub(crate) alive: Cell<Option<Duration>>,
    guards: RefCell<BTreeMap<NodeId, Held>>,
    pub(crate) absences: RefCell<Absences<Duration>>,
    pub(crate) looked: Cell<Duration>,
    pub(crate) stopping: Cell<bool>,
    pub(crate) running: RefCell<BTreeMap<NodeId, InstructionVersion>>,
    /// Commands that are journalled, or sent, and whose outcome is not known.
    pub(crate) outstanding: Cell<usize>,
    /// The ring before the present one.
    pub(crate) former: RefCell<Option<Ring>>,
    /// The ring that this process wrote last, as leader.
    pub(crate) wrote: Cell<i64>,
}

impl Process {
    pub(crate) fn new(world: Rc<World>, slot: usize, name: String) -> Rc<Self> {
        Rc::new(Self {
            name,
            slot,
            world,
            halt: Rc::default(),
            missed: Cell::default(),
            view: RefCell::default(),
            inbox: RefCell::default(),
            news: Bell::default(),
            standing: Cell::new(None),
            alive: Cell::new(None),
            guards: RefCell::default(),
            absences: RefCell::default(),
            looked: Cell::default(),
            stopping: Cell::new(false),
            running: RefCell::default(),
            outstanding: Cell::new(0),
            former: RefCell::new(None),
            wrote: Cell::new(0),
        })
    }

    pub(crate) fn tell(&self, words: impl FnOnce() -> String) {
        self.world.sim.tell(&self.name, words);
    }

    /// CLOCK_BOOTTIME: it runs while the process is stopped, and not while its machine is frozen.
    pub(crate) fn clock(&self) -> Duration {
        self.world.sim.now().saturating_sub(self.missed.get())
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        self.sleep_until(self.clock() + time).await;
    }

    pub(crate) async fn sleep_until(&self, until: Duration) {
        let mut armed = None;
        poll_fn(|context| {
            let (now, clock) = (self.world.sim.now(), self.clock());
            if clock >= until {
                return Poll::Ready(());
            }
            if armed.is_none_or(|armed| armed <= now) {
                let waker = context.waker().clone();
                armed = Some(now + (until - clock));
                self.world.sim.after(until - clock, move || waker.wake());
            }
            Poll::Pending
        })
        .await;
    }

    /// A place where a fault may fall. A halted process continues from here, a killed one does not.
    pub(crate) async fn point(&self, point: Point) {
        if !self.world.reached(self, point) {
            return;
        }
        let mut first = true;
        poll_fn(|context| {
            if std::mem::take(&mut first) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    // What concerns etcd.

    pub(crate) async fn ask(&self, request: Request, patience: Duration) -> Result<Answer, Failed> {
        let mailbox = Rc::new(Mailbox::default());
        self.world.send(self.slot, request, Rc::clone(&mailbox));
        either(mailbox.take(), self.sleep(patience)).await.map_err(|()| Failed::Away)
    }

    pub(crate) async fn commit(&self, expects: Vec<Expect>, writes: Vec<Write>) -> Result<i64, Failed> {
        match self.ask(Request::Commit(expects, writes), PATIENCE).await? {
            Answer::Committed(revision) => Ok(revision),
            Answer::Conflict | Answer::Pair(_) | Answer::List(..) | Answer::Lease(_) | Answer::Alive(_) => {
                Err(Failed::Conflict)
            }
        }
    }

    pub(crate) async fn grant(&self) -> Result<i64, Failed> {
        match self.ask(Request::Grant, PATIENCE).await? {
            Answer::Lease(lease) => Ok(lease),
            Answer::Committed(_) | Answer::Conflict | Answer::Pair(_) | Answer::List(..) | Answer::Alive(_) => {
                Err(Failed::Conflict)
            }
        }
    }

    pub(crate) async fn get(&self, key: Key) -> Result<Option<Rc<Pair>>, Failed> {
        for _ in 1..READS {
            if let Ok(Answer::Pair(pair)) = self.ask(Request::Get(key), PATIENCE).await {
                return Ok(pair);
            }
        }
        match self.ask(Request::Get(key), PATIENCE).await? {
            Answer::Pair(pair) => Ok(pair),
            Answer::Committed(_) | Answer::Conflict | Answer::List(..) | Answer::Lease(_) | Answer::Alive(_) => {
                Err(Failed::Away)
            }
        }
    }

    /// Lists, then follows (`keyspace::View::follow`).
    pub(crate) async fn follow(self: Rc<Self>) {
        let (pairs, revision) = loop {
            if let Ok(Answer::List(pairs, revision)) = self.ask(Request::List, PATIENCE).await {
                break (pairs, revision);
            }
        };
        *self.view.borrow_mut() = View { pairs, revision };
        self.news.ring();
        loop {
            let change = self.news.wait(|| self.inbox.borrow_mut().pop_front()).await;
            self.take_note(&change);
            self.news.ring();
        }
    }

    /// etcd's watch brings a change.
    pub(crate) fn deliver(&self, change: Rc<Change>) {
        self.inbox.borrow_mut().push_back(change);
        self.news.ring();
    }

    fn take_note(&self, change: &Change) {
        let mut view = self.view.borrow_mut();
        if change.revision <= view.revision {
            return;
        }
        for (key, pair) in &change.pairs {
            if *key == Key::Ring {
                *self.former.borrow_mut() = view.ring().map(|(ring, _)| ring.clone());
            }
            match pair {
                Some(pair) => drop(view.pairs.insert(*key, Rc::clone(pair))),
                None => drop(view.pairs.remove(key)),
            }
        }
        view.revision = change.revision;
    }

    /// Waits until its own view has a revision.
    pub(crate) async fn reaches(&self, revision: i64) {
        self.news.wait(|| (self.view.borrow().revision >= revision).then_some(())).await;
    }

    // What concerns the fence (`mesh::permit`).

    pub(crate) fn is_fenced(&self) -> bool {
        self.alive.get().is_none_or(|alive| self.world.times.is_fenced(alive, self.clock()))
    }

    pub(crate) fn may_send(&self, armed: Duration) -> bool {
        self.alive.get().is_some_and(|alive| self.world.times.may_send(armed, alive, self.clock()))
    }

    // What concerns work on nodes (`mesh::guard`).

    pub(crate) fn begin_work(self: &Rc<Self>, node: NodeId) -> Result<WorkGuard, Failed> {
        if self.is_fenced() {
            return Err(Failed::HandingOver);
        }
        let lost = {
            let mut guards = self.guards.borrow_mut();
            let held = guards.entry(node).or_insert_with(|| Held { workers: 0, lost: Rc::default() });
            if held.lost.get() {
                return Err(Failed::HandingOver);
            }
            held.workers += 1;
            Rc::clone(&held.lost)
        };
        let guard = WorkGuard { node, lost, process: Rc::clone(self) };
        let me = self.standing.get().map(|standing| standing.instance);
        let owner = self.view.borrow().ring().and_then(|(ring, _)| ring.owner(node));
        if owner.is_some() && owner == me { Ok(guard) } else { Err(Failed::HandingOver) }
    }

    /// Ends the work on every node that is not `mine`; says how many nodes still have workers that must end.
    pub(crate) fn end_work(&self, mine: impl Fn(NodeId) -> bool) -> usize {
        let mut still = 0;
        for (_, held) in self.guards.borrow().iter().filter(|(node, _)| !mine(**node)) {
            held.lost.set(true);
            still += 1;
        }
        if still > 0 {
            self.news.ring();
        }
        still
    }
}

/// Held by a worker while it works on a node.
pub(crate) struct WorkGuard {
    pub(crate) node: NodeId,
    lost: Rc<Cell<bool>>,
    process: Rc<Process>,
}

impl WorkGuard {
    pub(crate) async fn lost(&self) {
        self.process.news.wait(|| self.lost.get().then_some(())).await;
    }
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        let mut guards = self.process.guards.borrow_mut();
        if let Some(held) = guards.get_mut(&self.node) {
            held.workers -= 1;
            if held.workers == 0 {
                guards.remove(&self.node);
            }
        }
    }
}
