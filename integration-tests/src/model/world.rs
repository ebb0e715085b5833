//! Everything around the processes: etcd, BMCs, networks, people, and the faults.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write as _,
    rc::Rc,
    time::Duration,
};

use domain::{
    generation::{Generation, InstructionVersion, Token},
    id::{InstanceId, NodeId},
    power::Power,
    ring::{Ring, fence::Times},
};
use keyspace::value::{Broken, Claim};
use uuid::Uuid;

use super::{
    Tally,
    bmc::{Ask, Bmc, Told, stamp},
    etcd::{Answer, Etcd, Expect, Key, Request, Value, Write},
    fault::{self, Blow, Kind, Limits, Point, Strike, Whom},
    process::Process,
    rules::Rules,
    sim::{Mailbox, Sim},
    work::Target,
};
use crate::check::{End, History, Revision};

/// When faults end, and all that was broken is mended.
const HEALED: Duration = Duration::from_secs(14);
/// When everything that was asked must have come to its end.
const OVER: Duration = Duration::from_secs(90);
/// How much longer than T etcd may keep a lease.
const LATE: u64 = 500;
/// Processes at the beginning.
const PROCESSES: usize = 3;
/// Where they may run.
const PLACES: usize = 5;

/// A place where a process of the service may run: its folder and its line to etcd.
#[derive(Default)]
struct Place {
    process: Option<Rc<Process>>,
    runs: u32,
    last: Option<InstanceId>,
    provable: bool,
    cut_until: Duration,
    slow_until: Duration,
    stall_until: Duration,
    lose: u32,
    delivered: Duration,
}

/// What a person last asked of a node.
#[derive(Debug, Clone, Copy)]
struct Asked {
    generation: Generation,
    target: Target,
    wanted: Power,
}

/// How datagrams fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Calm,
    Mixed,
    /// Either at once or as late as may be.
    Edge,
}

pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) rules: Rules,
    pub(crate) times: Times,
    /// How long a BMC may take before it is asked again.
    pub(crate) answer: Duration,
    pub(crate) all_close: bool,
    pub(crate) tally: RefCell<Tally>,
    etcd: RefCell<Etcd>,
    published: Cell<usize>,
    bmcs: RefCell<BTreeMap<NodeId, Bmc>>,
    nodes: Vec<NodeId>,
    places: RefCell<Vec<Place>>,
    plan: RefCell<Vec<Strike>>,
    instances: RefCell<Vec<InstanceId>>,
    asked: RefCell<BTreeMap<NodeId, Asked>>,
    weather: Cell<Weather>,
    loss: Cell<usize>,
    deaf_until: Cell<Duration>,
    mute_until: Cell<Duration>,
    newest: Cell<usize>,
    /// How often, of a hundred times, a worker is slow between two steps.
    pub(crate) sluggish: usize,
    healed: Cell<bool>,
}

impl World {
    pub(crate) fn new(seed: u64, rules: Rules, tells: bool) -> Rc<Self> {
        let sim = Sim::new(seed, tells);
        let chance = &sim.chance;
        let all_close = chance.percent(35);
        let nodes: Vec<_> = (0..2 + chance.below(2)).map(|_| NodeId::new(uuid(chance.draw(), chance.draw()))).collect();
        let bmcs = nodes.iter().map(|node| (*node, Bmc::new(all_close || chance.percent(35), 4 + chance.below(3))));
        let bmcs = bmcs.collect();
        let place = |_| Place { provable: chance.percent(50), ..Place::default() };
        let places = (0..PLACES).map(place).collect();
        let nothing = Asked { generation: Generation::default(), target: Target::Off, wanted: Power::Off };
        let asked = nodes.iter().map(|node| (*node, nothing)).collect();
        let weather = chance.one(&[Weather::Calm, Weather::Mixed, Weather::Edge, Weather::Edge], Weather::Calm);
        let loss = chance.one(&[0, 5, 20], 0);
        let answer = Duration::from_millis(if chance.percent(70) { 820 } else { 1000 });
        let sluggish = chance.one(&[0, 30, 60], 0);
        let plan = fault::plan(chance, Limits { all_close, fences: rules.fences });
        Rc::new(Self {
            rules,
            times: rules.times(),
            answer,
            all_close,
            tally: RefCell::default(),
            etcd: RefCell::new(Etcd::new()),
            published: Cell::new(0),
            bmcs: RefCell::new(bmcs),
            nodes,
            places: RefCell::new(places),
            plan: RefCell::new(plan),
            instances: RefCell::default(),
            asked: RefCell::new(asked),
            weather: Cell::new(weather),
            loss: Cell::new(loss),
            deaf_until: Cell::default(),
            mute_until: Cell::default(),
            newest: Cell::new(0),
            sluggish,
            healed: Cell::new(false),
            sim,
        })
    }

    /// Lets the world go from its beginning to its end.
    pub(crate) fn run(self: &Rc<Self>) {
        for place in 0..PROCESSES {
            self.start(place);
        }
        self.sim.tell("world", || format!("{} nodes, all BMCs close: {}", self.nodes.len(), self.all_close));
        self.operate();
        let world = Rc::clone(self);
        self.sim.after(HEALED, move || world.heal());
        self.sim.run(|| self.sim.now() >= OVER || (self.healed.get() && self.is_idle()));
    }

    /// Frees what refers to itself in circles.
    pub(crate) fn take_apart(&self) {
        self.sim.clear();
        drop(self.places.take());
    }

    // Names.

    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.nodes.clone()
    }

    pub(crate) fn node_name(&self, node: NodeId) -> String {
        format!("n{}", self.nodes.iter().position(|known| *known == node).unwrap_or(usize::MAX))
    }

    pub(crate) fn name_of(&self, instance: InstanceId) -> String {
        format!("i{}", self.instances.borrow().iter().position(|known| *known == instance).unwrap_or(usize::MAX))
    }

    /// A ring in words: members, who is leaving, and whose each node is.
    pub(crate) fn words(&self, ring: &Ring) -> String {
        let names = |ids: Vec<InstanceId>| ids.into_iter().map(|id| self.name_of(id)).collect::<Vec<_>>().join(" ");
        let members = names(ring.members.keys().copied().collect());
        let mut words = format!("[{members}] leaving [{}]", names(ring.leaving.iter().copied().collect()));
        for node in &self.nodes {
            let owner = ring.owner(*node).map(|owner| self.name_of(owner)).unwrap_or_default();
            // Writing to memory does not fail.
            let _ = write!(words, " {}:{owner}", self.node_name(*node));
        }
        words
    }

    pub(crate) fn fresh_instance(&self) -> InstanceId {
        let instance = InstanceId::new(uuid(self.sim.chance.draw(), self.sim.chance.draw()));
        self.instances.borrow_mut().push(instance);
        instance
    }

    // Processes and their folders.

    fn start(self: &Rc<Self>, number: usize) {
        let process = {
            let mut places = self.places.borrow_mut();
            let Some(place) = places.get_mut(number) else { return };
            if place.process.is_some() {
                return;
            }
            place.runs += 1;
            let process = Process::new(Rc::clone(self), number, format!("p{number}.{}", place.runs));
            place.process = Some(Rc::clone(&process));
            process
        };
        process.tell(|| "starts".to_owned());
        let halt = Some(Rc::clone(&process.halt));
        self.sim.spawn(halt.clone(), Rc::clone(&process).follow());
        self.sim.spawn(halt.clone(), Rc::clone(&process).live());
        self.sim.spawn(halt, process.poll());
    }

    fn start_later(self: &Rc<Self>, number: usize, after: Duration) {
        let world = Rc::clone(self);
        self.sim.after(after, move || world.start(number));
    }

    fn process(&self, number: usize) -> Option<Rc<Process>> {
        self.places.borrow().get(number).and_then(|place| place.process.clone())
    }

    /// A process ended by itself.
    pub(crate) fn ended(self: &Rc<Self>, process: &Rc<Process>) {
        self.sim.bury(&process.halt);
        if let Some(place) = self.places.borrow_mut().get_mut(process.slot) {
            place.process = None;
        }
        self.tally.borrow_mut().stopped += 1;
        let again = self.sim.chance.millis(100, 2500);
        self.start_later(process.slot, again);
    }

    pub(crate) fn last_of(&self, number: usize) -> Option<InstanceId> {
        self.places.borrow().get(number).and_then(|place| place.last)
    }

    pub(crate) fn note_last(&self, number: usize, instance: InstanceId) -> Option<InstanceId> {
        self.places.borrow_mut().get_mut(number).and_then(|place| place.last.replace(instance))
    }

    pub(crate) fn is_provable(&self, number: usize) -> bool {
        self.places.borrow().get(number).is_some_and(|place| place.provable)
    }

    // etcd and the lines to it.

    /// Sends a request; its answer comes into the mailbox, if it comes.
    pub(crate) fn send(self: &Rc<Self>, number: usize, request: Request, mailbox: Rc<Mailbox<Answer>>) {
        let Some(there) = self.way(number) else { return };
        let world = Rc::clone(self);
        self.sim.after(there, move || {
            let answer = world.apply(request);
            if world.loses_answer(number) {
                return;
            }
            if let Some(back) = world.way(number) {
                world.sim.after(back, move || mailbox.put(answer));
            }
        });
    }

    fn loses_answer(&self, number: usize) -> bool {
        let mut places = self.places.borrow_mut();
        let Some(place) = places.get_mut(number).filter(|place| place.lose > 0) else { return false };
        place.lose -= 1;
        true
    }

    /// How long one way takes; none: it is lost. What is sent into a cut may arrive when it is mended.
    fn way(&self, number: usize) -> Option<Duration> {
        let now = self.sim.now();
        let places = self.places.borrow();
        let place = places.get(number)?;
        if now < place.cut_until {
            let late = place.cut_until - now + self.sim.chance.millis(1, 200);
            return self.sim.chance.percent(50).then_some(late);
        }
        Some(if now < place.slow_until { self.sim.chance.millis(50, 650) } else { self.sim.chance.millis(1, 8) })
    }

    fn apply(self: &Rc<Self>, request: Request) -> Answer {
        let now = self.sim.now();
        let time_to_live = self.times.lease + self.sim.chance.millis(0, LATE);
        let leases = matches!(request, Request::Grant | Request::KeepAlive(_));
        self.etcd.borrow_mut().expire(now);
        let answer = self.etcd.borrow_mut().apply(now, time_to_live, request);
        if leases {
            let world = Rc::clone(self);
            self.sim.after(time_to_live, move || {
                world.etcd.borrow_mut().expire(world.sim.now());
                world.publish();
            });
        }
        self.publish();
        answer
    }

    /// Brings every process what was written since, each in its own time and in order.
    fn publish(&self) {
        let now = self.sim.now();
        let etcd = self.etcd.borrow();
        for change in etcd.history.iter().skip(self.published.get()) {
            for place in self.places.borrow_mut().iter_mut() {
                let Some(process) = place.process.clone() else { continue };
                let at = (now + self.sim.chance.millis(1, 10)).max(place.delivered).max(place.stall_until);
                place.delivered = at;
                let change = Rc::clone(change);
                self.sim.after(at - now, move || process.deliver(change));
            }
        }
        self.published.set(etcd.history.len());
    }

    // BMCs and the lines to them.

    /// Sends a datagram to a node's BMC; its answer comes into the mailbox, if it comes.
    pub(crate) fn datagram(
        self: &Rc<Self>,
        node: NodeId,
        session: u32,
        number: u32,
        ask: Ask,
        mailbox: Rc<Mailbox<Told>>,
    ) {
        let copies = 1 + usize::from(self.sim.chance.percent(8));
        for _ in 0..copies {
            if self.sim.chance.percent(self.loss.get()) {
                continue;
            }
            let (world, mailbox) = (Rc::clone(self), Rc::clone(&mailbox));
            self.sim.after(self.bmc_delay(), move || world.arrive(node, session, number, ask, mailbox));
        }
    }

    fn arrive(self: &Rc<Self>, node: NodeId, session: u32, number: u32, ask: Ask, mailbox: Rc<Mailbox<Told>>) {
        let now = self.sim.now();
        let [fresh, ..] = [u32::try_from(self.sim.chance.draw() >> 33).unwrap_or(1) | 1];
        let told = {
            let mut bmcs = self.bmcs.borrow_mut();
            bmcs.get_mut(&node).and_then(|bmc| bmc.receive(now, session, number, ask, fresh))
        };
        if let Ask::Command(_) | Ask::Close(_) = ask {
            let node = self.node_name(node);
            self.sim.tell(&node, || format!("BMC: {ask:?} in {session:08x}: {told:?}"));
        }
        let is_mute = matches!(ask, Ask::Command(_)) && now < self.mute_until.get();
        let is_deaf = is_mute || now < self.deaf_until.get() || self.sim.chance.percent(self.loss.get());
        if let (Some(told), false) = (told, is_deaf) {
            self.sim.after(self.bmc_delay(), move || mailbox.put(told));
        }
    }

    fn bmc_delay(&self) -> Duration {
        let (chance, latest) = (&self.sim.chance, 399);
        match self.weather.get() {
            Weather::Calm => chance.millis(1, 20),
            Weather::Mixed => chance.millis(1, latest),
            Weather::Edge if chance.percent(60) => chance.millis(1, 10),
            Weather::Edge => chance.millis(latest - 30, latest),
        }
    }

    // People.

    /// Asks each node's owner again and again for what is wanted, until it came to an end; then for something else.
    fn operate(self: &Rc<Self>) {
        for node in &self.nodes {
            self.ask_of(*node);
        }
        let world = Rc::clone(self);
        self.sim.after(self.sim.chance.millis(100, 350), move || world.operate());
    }

    fn ask_of(self: &Rc<Self>, node: NodeId) {
        let ended = self.ended_of(node).0;
        let asked = {
            let mut all = self.asked.borrow_mut();
            let Some(asked) = all.get_mut(&node) else { return };
            if ended >= asked.generation {
                if self.healed.get() || self.sim.chance.percent(30) {
                    return;
                }
                self.ask_anew(node, asked);
            }
            *asked
        };
        let owner = match self.etcd.borrow().get(Key::Ring).map(|pair| &pair.value) {
            Some(Value::Ring(ring)) => ring.owner(node),
            _ => None,
        };
        let places = self.places.borrow();
        let process = places
            .iter()
            .filter_map(|place| place.process.as_ref())
            .find(|process| owner.is_some() && process.standing.get().map(|standing| standing.instance) == owner);
        if let Some(process) = process.cloned() {
            let version = InstructionVersion { token: Token::from_number(1), generation: asked.generation };
            // A call waits in the socket of a process that is stopped.
            let halt = Rc::clone(&process.halt);
            self.sim.spawn(Some(halt), async move { process.ensure(node, version, asked.target) });
        }
    }

    fn ask_anew(&self, node: NodeId, asked: &mut Asked) {
        let chance = &self.sim.chance;
        asked.generation = asked.generation.next();
        asked.target = match chance.below(10) {
            0..3 => Target::On,
            3..6 => Target::Off,
            6..9 => Target::Booted,
            _ => Target::Reset,
        };
        match asked.target {
            Target::On | Target::Booted => asked.wanted = Power::On,
            Target::Off => asked.wanted = Power::Off,
            Target::Reset => {}
        }
        let (node, asked) = (self.node_name(node), *asked);
        self.sim.tell("person", || format!("asks {:?} of {node}: instruction {}", asked.target, asked.generation));
    }

    /// The last instruction that came to an end, and why it failed where it did.
    fn ended_of(&self, node: NodeId) -> (Generation, Option<domain::failure::Failure>) {
        match self.etcd.borrow().get(Key::Power(node)).map(|pair| &pair.value) {
            Some(Value::Power(seen)) => seen
                .settled
                .as_ref()
                .map_or_else(|| (Generation::default(), None), |settled| (settled.generation, settled.failure.clone())),
            _ => (Generation::default(), None),
        }
    }

    fn is_idle(&self) -> bool {
        let asked = self.asked.borrow();
        let all_ended = asked.iter().all(|(node, asked)| self.ended_of(*node).0 >= asked.generation);
        // A command that is late would still come.
        let is_busy =
            |place: &Place| place.process.as_ref().is_some_and(|process| !process.running.borrow().is_empty());
        all_ended && !self.places.borrow().iter().any(is_busy)
    }

    // Faults.

    /// A process came to a point; true: it may not go on from here at once.
    pub(crate) fn reached(self: &Rc<Self>, process: &Process, point: Point) -> bool {
        if self.healed.get() || self.plan.borrow().is_empty() {
            return false;
        }
        let now = self.sim.now();
        let strike = {
            let mut plan = self.plan.borrow_mut();
            let found = plan.iter().position(|strike| strike.point == point && strike.from <= now);
            found.filter(|_| self.sim.chance.percent(60)).map(|found| plan.remove(found))
        };
        let Some(strike) = strike else { return false };
        process.tell(|| format!("comes to {point:?}, and a fault falls"));
        for blow in strike.blows {
            if blow.delay.is_zero() {
                self.strike(process.slot, blow);
            } else {
                let (world, victim) = (Rc::clone(self), process.slot);
                self.sim.after(blow.delay, move || world.strike(victim, blow));
            }
        }
        process.halt.halted.get() || process.halt.dead.get()
    }

    fn strike(self: &Rc<Self>, victim: usize, blow: Blow) {
        if self.healed.get() {
            return;
        }
        let number = match blow.whom {
            Whom::Victim => victim,
            Whom::Leader => self.leader().unwrap_or(victim),
            Whom::Other => self.other(victim, |_| true),
            Whom::Newest => self.newest.get(),
            Whom::Acting => self.other(victim, |process| process.outstanding.get() > 0),
        };
        if blow.kind == Kind::Join {
            if let Some(empty) = (0..PLACES).find(|place| self.process(*place).is_none()) {
                self.newest.set(empty);
                self.start(empty);
            }
            return;
        }
        let Some(process) = self.process(number) else { return };
        let hits = process.outstanding.get() > 0;
        {
            let mut tally = self.tally.borrow_mut();
            tally.faults += 1;
            tally.hits += usize::from(hits);
        }
        process.tell(|| format!("FAULT {:?}{}", blow.kind, if hits { ", with an act outstanding" } else { "" }));
        self.fall(&process, number, blow.kind);
    }

    /// A process elsewhere, of this kind where there is one.
    fn other(&self, than: usize, is_such: impl Fn(&Process) -> bool) -> usize {
        let places = self.places.borrow();
        let others = || {
            let running =
                places.iter().enumerate().filter_map(|(number, place)| Some((number, place.process.as_ref()?)));
            running.filter(|(number, _)| *number != than)
        };
        let such: Vec<_> = others().filter(|(_, process)| is_such(process)).map(|(number, _)| number).collect();
        let any: Vec<_> = others().map(|(number, _)| number).collect();
        self.sim.chance.one(if such.is_empty() { &any } else { &such }, than)
    }

    fn leader(&self) -> Option<usize> {
        let etcd = self.etcd.borrow();
        let Value::Election(election) = &etcd.get(Key::Election)?.value else { return None };
        let places = self.places.borrow();
        places.iter().position(|place| {
            let standing = place.process.as_ref().and_then(|process| process.standing.get());
            standing.is_some_and(|standing| standing.instance == election.instance)
        })
    }

    fn fall(self: &Rc<Self>, process: &Rc<Process>, number: usize, kind: Kind) {
        let now = self.sim.now();
        match kind {
            Kind::Pause(time) => self.halt(process, time, Duration::ZERO),
            Kind::Freeze(time) => self.halt(process, time, time),
            Kind::Kill(time) => {
                self.sim.bury(&process.halt);
                self.line(number, |place| place.process = None);
                self.tally.borrow_mut().killed += 1;
                self.start_later(number, time);
            }
            Kind::Stop => {
                process.stopping.set(true);
                process.news.ring();
            }
            Kind::Revoke | Kind::RevokeCut | Kind::Vanish => {
                let Some(standing) = process.standing.get() else { return };
                if kind != Kind::Vanish {
                    self.etcd.borrow_mut().end_lease(now, standing.lease);
                } else {
                    self.etcd.borrow_mut().lose(now, Key::Member(standing.instance));
                }
                self.publish();
            }
            Kind::Cut(time) => self.line(number, |place| {
                place.cut_until = now + time;
                place.stall_until = now + time;
            }),
            Kind::Slow(time) => self.line(number, |place| place.slow_until = now + time),
            Kind::LoseAnswers(count) => self.line(number, |place| place.lose += count),
            Kind::Stall(time) => self.line(number, |place| place.stall_until = now + time),
            Kind::StallOthers(time) => {
                let others = (0..PLACES).filter(|other| *other != number);
                others.for_each(|number| self.line(number, |place| place.stall_until = now + time));
            }
            Kind::StallAll(time) => {
                (0..PLACES).for_each(|number| self.line(number, |place| place.stall_until = now + time));
            }
            Kind::Break => self.break_claims(process),
            Kind::Deaf(time) => self.deaf_until.set(now + time),
            Kind::Mute(time) => self.mute_until.set(now + time),
            Kind::Join => {}
        }
    }

    fn line(&self, number: usize, change: impl FnOnce(&mut Place)) {
        if let Some(place) = self.places.borrow_mut().get_mut(number) {
            change(place);
        }
    }

    fn halt(self: &Rc<Self>, process: &Rc<Process>, time: Duration, missed: Duration) {
        if process.halt.halted.replace(true) {
            return;
        }
        let (world, process) = (Rc::clone(self), Rc::clone(process));
        self.sim.after(time, move || {
            process.missed.set(process.missed.get() + missed);
            process.tell(|| "goes on".to_owned());
            world.sim.resume(&process.halt);
        });
    }

    /// A person takes the claims of a process away, as he sees them (services/mesh/OWNERSHIP.md).
    fn break_claims(self: &Rc<Self>, process: &Process) {
        let Some(standing) = process.standing.get() else { return };
        for node in &self.nodes {
            let (claim, revision) =
                match self.etcd.borrow().get(Key::Claim(*node)).map(|pair| (&pair.value, pair.revision)) {
                    Some((Value::Claim(claim), revision)) if claim.instance == standing.instance => {
                        (claim.clone(), revision)
                    }
                    _ => continue,
                };
            let broken = Some(Broken { by: "person".to_owned(), since: stamp(self.sim.now()) });
            let key = Key::Claim(*node);
            let put = Write::Put(key, Value::Claim(Claim { broken, ..claim }));
            self.apply(Request::Commit(vec![Expect::Revision(key, revision)], vec![put]));
        }
    }

    /// Mends everything: from here on all that was asked must come to its end.
    fn heal(self: &Rc<Self>) {
        self.healed.set(true);
        self.sim.tell("world", || "HEALED".to_owned());
        self.weather.set(Weather::Calm);
        self.loss.set(0);
        self.deaf_until.set(Duration::ZERO);
        self.mute_until.set(Duration::ZERO);
        for number in 0..PLACES {
            self.line(number, |place| {
                (place.cut_until, place.slow_until) = (Duration::ZERO, Duration::ZERO);
                (place.stall_until, place.lose) = (Duration::ZERO, 0);
            });
        }
        (0..PROCESSES).for_each(|place| self.start(place));
    }

    // What is left for the checker.

    pub(crate) fn histories(&self) -> Vec<History> {
        self.nodes.iter().map(|node| self.history(*node)).collect()
    }

    fn history(&self, node: NodeId) -> History {
        let etcd = self.etcd.borrow();
        let (mut claims, mut journal) = (Vec::new(), Vec::new());
        for change in &etcd.history {
            let at = Some(stamp(change.at));
            for (key, pair) in &change.pairs {
                let revision = change.revision;
                let value = pair.as_ref().map(|pair| &pair.value);
                if *key == Key::Claim(node) {
                    let value = if let Some(Value::Claim(claim)) = value { Some(claim.clone()) } else { None };
                    claims.push(Revision { revision, not_before: at, not_after: at, value });
                } else if *key == Key::Journal(node) {
                    let value = if let Some(Value::Journal(journal)) = value { Some(journal.clone()) } else { None };
                    journal.push(Revision { revision, not_before: at, not_after: at, value });
                }
            }
        }
        let (ended, failure) = self.ended_of(node);
        let bmcs = self.bmcs.borrow();
        let asked = self.asked.borrow().get(&node).copied();
        let end = bmcs.get(&node).zip(asked).map(|(bmc, asked)| End {
            asked: asked.generation,
            ended,
            failure,
            wanted: asked.wanted,
            is: bmc.power,
        });
        let bmc = bmcs.get(&node).map(|bmc| bmc.log.clone()).unwrap_or_default();
        History { node, bmc, claims, journal, end }
    }

    pub(crate) fn count(&self) -> Tally {
        let mut tally = *self.tally.borrow();
        for bmc in self.bmcs.borrow().values() {
            tally.refused_commands += bmc.refused;
        }
        tally.simulated += self.sim.now();
        tally.strikes_left += self.plan.borrow().len();
        tally
    }
}

fn uuid(high: u64, low: u64) -> Uuid {
    Uuid::from_u64_pair(high, low)
}
