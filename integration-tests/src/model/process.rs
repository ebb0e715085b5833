//! Simulated process of power-service: the shipped `mesh` crate over the in-memory store, with its own clock.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use domain::{
    generation::InstructionVersion,
    id::{InstanceId, NodeId, RackId, SlotId},
    service::Service,
};
use keyspace::{
    View,
    key::{self, Scope},
    testing::MemoryEtcd,
};
use mesh::{Clock, DataDirLock, Endpoints, HostShare, MemberConfig, Mesh, Reading, SafetyParams, SimulatedDataDir};
use parking_lot::Mutex;
use service_kit::Host;
use uuid::Uuid;

use super::{
    Tally,
    bmc::timestamp,
    fault::{FaultPlan, Point},
    link::Link,
    network::BmcNetwork,
    rules::Rules,
    sim::{Gate, Sim, yield_once},
};

pub(crate) const RACK: RackId = RackId::new(Uuid::from_u128(7));
pub(crate) const SCOPE: Scope = Scope::Rack(RACK);
pub(crate) const SERVICE: Service = Service::Power;
/// Initial time of every clock.
const BOOTED_FOR: Duration = Duration::from_secs(1000);

/// State shared by all processes.
pub(crate) struct Shared {
    pub(crate) sim: Arc<Sim>,
    pub(crate) rules: Rules,
    pub(crate) etcd: MemoryEtcd,
    pub(crate) bmcs: Arc<BmcNetwork>,
    pub(crate) faults: FaultPlan,
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) tally: Mutex<Tally>,
    pub(crate) instances: Mutex<Vec<InstanceId>>,
    /// Every BMC closes sessions by id.
    pub(crate) all_close: bool,
    /// Timeout after which a request to a BMC is repeated.
    pub(crate) answer_timeout: Duration,
    /// In how many of a hundred cases a worker is slow between two steps.
    pub(crate) sluggish: usize,
}

impl Shared {
    fn new_instance(&self) -> InstanceId {
        let chance = &self.sim.chance;
        let instance = InstanceId::new(Uuid::from_u64_pair(chance.draw(), chance.draw()));
        self.instances.lock().push(instance);
        instance
    }
}

/// Handle that controls a process from outside.
pub(crate) struct Control {
    pub(crate) name: String,
    pub(crate) place: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) gate: Arc<Gate>,
    /// Time that its clock has missed.
    missed: Mutex<Duration>,
    /// Number of commands that are journaled or sent, and whose outcome is not known.
    outstanding: AtomicUsize,
}

impl Control {
    pub(crate) fn trace(&self, text: impl FnOnce() -> String) {
        self.shared.sim.trace(&self.name, text);
    }

    /// The process's clock. It advances while the process is stopped, and stands still while its machine is suspended.
    pub(crate) fn clock(&self) -> Duration {
        self.shared.sim.now().saturating_sub(*self.missed.lock())
    }

    /// Its clock has stood still for this time.
    pub(crate) fn miss(&self, time: Duration) {
        *self.missed.lock() += time;
    }

    /// A point at which faults can begin. A halted process stays here, a killed one ends here.
    pub(crate) async fn point(&self, point: Point) {
        let Shared { faults, sim, .. } = &*self.shared;
        if faults.reached(self.place, point, sim.now(), &sim.chance) {
            self.trace(|| format!("reaches {point:?}, and faults begin"));
            yield_once().await;
        }
    }

    /// Sleeps by the process's own clock.
    pub(crate) async fn sleep(&self, time: Duration) {
        let (sim, until) = (&self.shared.sim, self.clock() + time);
        let mut wakes_at = None;
        poll_fn(|context| {
            let (now, clock) = (sim.now(), self.clock());
            if clock >= until {
                return Poll::Ready(());
            }
            if wakes_at.is_none_or(|at| at <= now) {
                let waker = context.waker().clone();
                wakes_at = Some(now + (until - clock));
                sim.after(until - clock, move || waker.wake());
            }
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn has_outstanding(&self) -> bool {
        self.outstanding.load(Ordering::Relaxed) > 0
    }
}

/// Exists while a command is journaled or sent, and its outcome is not known.
pub(crate) struct Outstanding(Arc<Control>);

impl Outstanding {
    pub(crate) fn new(control: &Arc<Control>) -> Self {
        control.outstanding.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(control))
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Place where a process can run: its data directory and its connection to the store.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) number: usize,
    pub(crate) link: Arc<Link>,
    /// Whether the kernel's boot id is known, so that a restart proves the death of the process before.
    pub(crate) is_provable: bool,
    /// The instance that is noted in its data directory.
    pub(crate) last: Arc<Mutex<Option<InstanceId>>>,
    /// Number of processes that have run here.
    pub(crate) runs: u32,
}

pub(crate) struct Process {
    pub(crate) control: Arc<Control>,
    pub(crate) mesh: Mesh,
    pub(crate) host: Host,
    /// The running instructions.
    pub(crate) running: Mutex<BTreeMap<NodeId, InstructionVersion>>,
}

impl Process {
    /// Starts a process. `ended` is called when it has handed over after it was asked to stop.
    pub(crate) fn start(shared: &Arc<Shared>, place: &Place, ended: impl FnOnce() + Send + 'static) -> Arc<Self> {
        let (client, view, host) = (place.link.connect(&shared.etcd), View::default(), Host::default());
        let control = Arc::new(Control {
            name: format!("p{}.{}", place.number, place.runs),
            place: place.number,
            shared: Arc::clone(shared),
            gate: Arc::default(),
            missed: Mutex::default(),
            outstanding: AtomicUsize::new(0),
        });
        control.trace(|| "starts".to_owned());
        let config = MemberConfig {
            service: SERVICE,
            scope: SCOPE,
            endpoints: Endpoints::default(),
            safety: safety(&control),
            sealer: None,
            share: HostShare::default(),
        };
        let mesh = Mesh::new(config, client.store(), view);
        let lock = lock(&control, place);
        let (gate, sim) = (Some(Arc::clone(&control.gate)), &shared.sim);
        let followed = mesh.clone();
        sim.spawn(gate.clone(), async move {
            let (view, store) = (followed.view(), followed.store().clone());
            view.follow(store, key::followed(SCOPE, SERVICE), None, std::future::pending()).await;
        });
        let (member, stop) = (mesh.clone(), host.clone());
        sim.spawn(gate, async move {
            // As `mesh::join` does, which opens the view before it joins.
            member.view().reaches(1).await;
            member.live(stop, lock).await;
            ended();
        });
        Arc::new(Self { control, mesh, host, running: Mutex::default() })
    }

    pub(crate) fn is_running(&self, node: NodeId) -> bool {
        self.running.lock().contains_key(&node)
    }
}

fn safety(control: &Arc<Control>) -> SafetyParams {
    let (clock, ids, steps) = (Arc::clone(control), Arc::clone(control), Arc::clone(control));
    let read = move || {
        let now = clock.clock();
        Reading { boot: BOOTED_FOR + now, wall: timestamp(now) }
    };
    control
        .shared
        .rules
        .safety()
        .dangerous_clock(Clock::new(read))
        .dangerous_instance_ids(move || ids.shared.new_instance())
        .dangerous_steps(move |step| {
            let control = Arc::clone(&steps);
            Box::pin(async move { control.point(Point::Mesh(step)).await })
        })
}

fn lock(control: &Arc<Control>, place: &Place) -> DataDirLock {
    let slot = SlotId::new(Uuid::from_u128(u128::try_from(place.number).unwrap_or(0)));
    let boot = if place.is_provable { "boot".to_owned() } else { String::new() };
    let directory = SimulatedDataDir { last: *place.last.lock(), slot, boot };
    let (control, last) = (Arc::clone(control), Arc::clone(&place.last));
    let mut has_joined = false;
    DataDirLock::dangerous_simulated(directory, move |instance| {
        *last.lock() = Some(instance);
        control.trace(|| format!("joins as {instance}"));
        // It joins again only after it was fenced.
        control.shared.tally.lock().fenced += usize::from(std::mem::replace(&mut has_joined, true));
    })
}
