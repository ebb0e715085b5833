//! One schedule: processes, nodes and operators, until everything that was requested has ended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::{
    failure::Failure,
    generation::{Generation, InstructionVersion, Token},
    id::{InstanceId, NodeId},
    power::Power,
};
use keyspace::{
    key,
    testing::MemoryEtcd,
    value::{PowerSeen, StoredRing},
};
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    Outcome, Tally, Trace,
    fault::{FaultPlan, Limits},
    history,
    inject::Injector,
    network::BmcNetwork,
    places::Places,
    process::{RACK, SCOPE, SERVICE, Shared},
    rules::Rules,
    sim::Sim,
    work::{self, Target},
};
use crate::check::{End, check};

/// When the faults end, and everything that is broken is repaired.
const HEALED: Duration = Duration::from_secs(12);
/// When everything that was requested must have ended.
const OVER: Duration = Duration::from_secs(90);
/// Maximum time by which the store keeps a lease longer than T, in milliseconds.
const MAX_EXPIRY_LAG: u64 = 500;
/// Number of processes at the beginning.
const PROCESSES: usize = 3;

/// State of the store for the users, decoded once per revision.
#[derive(Default)]
struct Known {
    ring: Option<(i64, StoredRing)>,
    seen: BTreeMap<NodeId, (i64, PowerSeen)>,
}

/// Last request for a node.
#[derive(Debug, Clone, Copy)]
struct Requested {
    generation: Generation,
    target: Target,
    wanted: Power,
}

pub(crate) struct World {
    shared: Arc<Shared>,
    places: Arc<Places>,
    injector: Arc<Injector>,
    requested: Mutex<BTreeMap<NodeId, Requested>>,
    known: Mutex<Known>,
    is_healed: AtomicBool,
    is_over: AtomicBool,
}

impl World {
    /// Runs one schedule, inside a paused runtime.
    pub(crate) async fn run(seed: u64, rules: Rules, trace: Trace) -> Outcome {
        let world = Arc::new(Self::new(seed, rules, trace));
        let sim = Arc::clone(&world.shared.sim);
        (0..PROCESSES).for_each(|place| world.places.start(place));
        let etcd = world.shared.etcd.clone();
        sim.spawn(None, async move { etcd.drive().await });
        world.operate();
        let (healing, ending) = (Arc::clone(&world), Arc::clone(&world));
        sim.after(HEALED, move || healing.heal());
        sim.after(OVER, move || ending.is_over.store(true, Ordering::Relaxed));
        let injector = Arc::clone(&world.injector);
        sim.run(|| injector.carry_out_due(), || world.is_over.load(Ordering::Relaxed)).await;
        let outcome = world.outcome();
        // They refer to each other.
        sim.clear();
        world.places.clear();
        outcome
    }

    fn new(seed: u64, rules: Rules, trace: Trace) -> Self {
        let sim = Arc::new(Sim::new(seed, trace == Trace::Recorded));
        let chance = &sim.chance;
        let all_close = chance.percent(35);
        let node = |_| NodeId::new(Uuid::from_u64_pair(chance.draw(), chance.draw()));
        let nodes: Vec<_> = (0..2 + chance.below(2)).map(node).collect();
        let etcd = MemoryEtcd::new();
        etcd.set_expiry_lag(chance.millis(0, MAX_EXPIRY_LAG));
        let nothing = Requested { generation: Generation::default(), target: Target::Off, wanted: Power::Off };
        let requested = nodes.iter().map(|node| (*node, nothing)).collect();
        let shared = Arc::new(Shared {
            rules,
            etcd,
            bmcs: Arc::new(BmcNetwork::new(&sim, &nodes, all_close)),
            faults: FaultPlan::draw(chance, Limits { all_close, fences: rules.fences }),
            nodes,
            tally: Mutex::default(),
            instances: Mutex::default(),
            all_close,
            answer_timeout: Duration::from_millis(if chance.percent(70) { 820 } else { 1000 }),
            sluggish: chance.one(&[0, 30, 60], 0),
            sim: Arc::clone(&sim),
        });
        let places = Places::new(&shared);
        Self {
            injector: Injector::new(&shared, &places),
            shared,
            places,
            requested: Mutex::new(requested),
            known: Mutex::default(),
            is_healed: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    fn is_healed(&self) -> bool {
        self.is_healed.load(Ordering::Relaxed)
    }

    /// Sends each node's request to its owner until the request has ended, then draws another one. Ends the schedule when
    /// nothing is left to do.
    fn operate(self: &Arc<Self>) {
        for node in &self.shared.nodes {
            self.request(*node);
        }
        if self.is_healed() && self.is_idle() {
            return self.is_over.store(true, Ordering::Relaxed);
        }
        let world = Arc::clone(self);
        self.shared.sim.after(self.shared.sim.chance.millis(100, 350), move || world.operate());
    }

    fn request(&self, node: NodeId) {
        let ended = self.ended(node).0;
        let requested = {
            let mut all = self.requested.lock();
            let Some(requested) = all.get_mut(&node) else { return };
            if ended >= requested.generation {
                if self.is_healed() || self.shared.sim.chance.percent(30) {
                    return;
                }
                self.change_request(node, requested);
            }
            *requested
        };
        let owner = self.owner(node).and_then(|owner| self.places.place_of(owner));
        if let Some(process) = owner.and_then(|owner| self.places.process(owner)) {
            if process.is_running(node) && !process.control.gate.is_halted() {
                return;
            }
            let version = InstructionVersion { token: Token::from_number(1), generation: requested.generation };
            // A call waits in the socket of a process that is stopped.
            let gate = Arc::clone(&process.control.gate);
            self.shared.sim.spawn(Some(gate), async move { work::ensure(&process, node, version, requested.target) });
        }
    }

    fn change_request(&self, node: NodeId, requested: &mut Requested) {
        requested.generation = requested.generation.next();
        requested.target = match self.shared.sim.chance.below(10) {
            0..3 => Target::On,
            3..6 => Target::Off,
            6..9 => Target::Booted,
            _ => Target::Reset,
        };
        match requested.target {
            Target::On | Target::Booted => requested.wanted = Power::On,
            Target::Off => requested.wanted = Power::Off,
            Target::Reset => {}
        }
        let Requested { generation, target, .. } = *requested;
        self.shared.sim.trace("user", || format!("requests {target:?} of {node}: instruction {generation}"));
    }

    /// The owner of a node under the present ring.
    fn owner(&self, node: NodeId) -> Option<InstanceId> {
        let pair = self.shared.etcd.pair(key::ring(SCOPE, SERVICE).path())?;
        let mut known = self.known.lock();
        if known.ring.as_ref().is_none_or(|(revision, _)| *revision != pair.revision) {
            known.ring = pair.read().ok().map(|read| (read.revision, read.value));
        }
        known.ring.as_ref().and_then(|(_, ring)| ring.ring.owner(node))
    }

    /// The last instruction that has ended, and why it failed, if it did.
    fn ended(&self, node: NodeId) -> (Generation, Option<Failure>) {
        let Some(pair) = self.shared.etcd.pair(key::power(RACK, node).path()) else { return Default::default() };
        let mut known = self.known.lock();
        if known.seen.get(&node).is_none_or(|(revision, _)| *revision != pair.revision)
            && let Ok(read) = pair.read()
        {
            known.seen.insert(node, (read.revision, read.value));
        }
        let settled = known.seen.get(&node).and_then(|(_, seen)| seen.settled.clone());
        settled.map_or_else(Default::default, |settled| (settled.generation, settled.failure))
    }

    fn is_idle(&self) -> bool {
        let all_ended = self.requested.lock().iter().all(|(node, asked)| self.ended(*node).0 >= asked.generation);
        // A late command would still be sent.
        all_ended && self.places.processes().iter().all(|(_, process)| process.running.lock().is_empty())
    }

    /// Repairs everything: from now on everything that was requested must end.
    fn heal(&self) {
        self.is_healed.store(true, Ordering::Relaxed);
        self.shared.sim.trace("world", || "HEALED".to_owned());
        self.injector.end();
        self.shared.bmcs.heal();
        self.places.links().iter().for_each(|(_, link)| link.heal());
        (0..PROCESSES).for_each(|place| self.places.start(place));
    }

    fn outcome(&self) -> Outcome {
        let (shared, written) = (&self.shared, self.shared.etcd.history());
        let of_node = |node: &NodeId| history::of_node(shared, &written, *node, self.end(*node));
        let histories: Vec<_> = shared.nodes.iter().map(of_node).collect();
        let mut tally = Tally { schedules: 1, simulated: shared.sim.now(), ..*shared.tally.lock() };
        tally.refused_commands += shared.bmcs.refused();
        tally += history::count(&written, &histories);
        let trace = if shared.sim.is_traced() { history::trace(shared, &written) } else { Vec::new() };
        Outcome { tally, violations: check(&histories), histories, trace }
    }

    fn end(&self, node: NodeId) -> Option<End> {
        let (ended, failure) = self.ended(node);
        let Requested { generation, wanted, .. } = self.requested.lock().get(&node).copied()?;
        let is = self.shared.bmcs.with(node, |bmc| bmc.power)?;
        Some(End { asked: generation, ended, failure, wanted, is })
    }
}
