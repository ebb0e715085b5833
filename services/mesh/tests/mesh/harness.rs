//! Processes of one service over one in-memory store, on tokio's paused clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::{
    id::{InstanceId, NodeId, RackId, SlotId},
    power::Power,
    service::Service,
    time::Timestamp,
};
use keyspace::{
    Key, View,
    key::{self, Scope},
    seal::Sealer,
    testing::{MemoryClient, MemoryEtcd},
    value::{PowerSeen, StoredRing},
};
use mesh::{
    Claim, Clock, DataDirLock, Endpoints, HostShare, MemberConfig, Mesh, Reading, SafetyParams, SimulatedDataDir,
    WorkGuard,
};
use serde::de::DeserializeOwned;
use service_kit::Host;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

pub(crate) const RACK: RackId = RackId::new(Uuid::from_u128(7));
pub(crate) const SCOPE: Scope = Scope::Rack(RACK);
pub(crate) const SERVICE: Service = Service::Power;
/// How long anything may take to be seen, in simulated time.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn node(number: u128) -> NodeId {
    NodeId::new(Uuid::from_u128(number))
}

pub(crate) fn nodes() -> impl Iterator<Item = NodeId> {
    (1..=40).map(node)
}

/// The value of a key as the store has it.
pub(crate) fn stored<V: DeserializeOwned>(etcd: &MemoryEtcd, key: &Key<V>) -> Option<V> {
    etcd.pair(key.path()).map(|pair| pair.read().unwrap().value)
}

pub(crate) fn ring(etcd: &MemoryEtcd) -> Option<StoredRing> {
    stored(etcd, &key::ring(SCOPE, SERVICE))
}

/// Waits for a state, bounded.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(ms(5)).await;
        }
    };
    assert!(timeout(WAIT_TIMEOUT, waiting).await.is_ok(), "waited in vain for {what}");
}

/// Where a process runs: its slot, what was noted there last, and whether its kernel proves a death.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) slot: u128,
    pub(crate) last: Option<InstanceId>,
    pub(crate) provable: bool,
}

impl Place {
    pub(crate) const fn new(slot: u128) -> Self {
        Self { slot, last: None, provable: false }
    }
}

/// A process. It is killed when it is dropped.
pub(crate) struct Process {
    pub(crate) mesh: Mesh,
    pub(crate) host: Host,
    pub(crate) client: MemoryClient,
    tasks: Vec<tokio::task::AbortHandle>,
    has_ended: Arc<AtomicBool>,
}

impl Process {
    /// Starts a process, with the default rules.
    pub(crate) fn start(etcd: &MemoryEtcd, place: &Place) -> Self {
        Self::start_with(etcd, place, |safety| safety)
    }

    pub(crate) fn start_with(
        etcd: &MemoryEtcd,
        place: &Place,
        rules: impl FnOnce(SafetyParams) -> SafetyParams,
    ) -> Self {
        Self::start_with_keys(etcd, place, rules, None)
    }

    pub(crate) fn start_with_keys(
        etcd: &MemoryEtcd,
        place: &Place,
        rules: impl FnOnce(SafetyParams) -> SafetyParams,
        sealer: Option<Sealer>,
    ) -> Self {
        let (client, view, host) = (etcd.client(), View::default(), Host::default());
        let endpoint = format!("process-{}", place.slot);
        let config = MemberConfig {
            service: SERVICE,
            scope: SCOPE,
            endpoints: Endpoints { endpoint, ..Endpoints::default() },
            safety: rules(SafetyParams::default().dangerous_clock(clock())),
            sealer,
            share: HostShare::default(),
        };
        let mesh = Mesh::new(config, client.store(), view.clone());
        let boot = if place.provable { "boot".to_owned() } else { String::new() };
        let slot = SlotId::new(Uuid::from_u128(place.slot));
        let lock = DataDirLock::dangerous_simulated(SimulatedDataDir { last: place.last, slot, boot }, |_| {});
        let has_ended = Arc::new(AtomicBool::new(false));
        let (store, ended) = (mesh.store().clone(), Arc::clone(&has_ended));
        let prefixes = key::followed(SCOPE, SERVICE);
        let following = spawn(async move { view.follow(store, prefixes, None, std::future::pending()).await });
        let (member, stop) = (mesh.clone(), host.clone());
        let living = spawn(async move {
            member.view().reaches(1).await;
            member.live(stop, lock).await;
            ended.store(true, Ordering::Relaxed);
        });
        Self { mesh, host, client, tasks: vec![following, living], has_ended }
    }

    /// Starts a process and waits until it is a member.
    pub(crate) async fn joined(etcd: &MemoryEtcd, slot: u128) -> Self {
        let process = Self::start(etcd, &Place::new(slot));
        process.mesh.wait_until_joined().await;
        process
    }

    /// The first process of a rack, which owns every node.
    pub(crate) async fn alone(etcd: &MemoryEtcd) -> Self {
        let process = Self::joined(etcd, 1).await;
        process.owns_everything().await;
        process
    }

    pub(crate) async fn owns_everything(&self) {
        until("it to own every node", || nodes().all(|node| self.mesh.owns(node))).await;
    }

    pub(crate) fn id(&self) -> InstanceId {
        self.mesh.instance().unwrap()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    pub(crate) fn owned(&self) -> usize {
        nodes().filter(|node| self.mesh.owns(*node)).count()
    }

    pub(crate) fn begin(&self, node: NodeId) -> WorkGuard {
        self.mesh.begin_work(node).unwrap()
    }

    /// Claims a node as soon as the rules allow it.
    pub(crate) async fn claims(&self, node: NodeId) -> Claim {
        let claiming = async {
            loop {
                if let Ok(guard) = self.mesh.begin_work(node)
                    && let Ok(claim) = self.mesh.claim(&guard).await
                {
                    return claim;
                }
                sleep(ms(5)).await;
            }
        };
        timeout(WAIT_TIMEOUT, claiming).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

#[expect(clippy::disallowed_methods, reason = "a Host ends its tasks in order; a process is killed here")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
    tokio::spawn(task).abort_handle()
}

/// Tokio's clock, as a machine that was booted a while ago.
pub(crate) fn clock() -> Clock {
    let (started, booted) = (Instant::now(), Duration::from_secs(1000));
    Clock::new(move || {
        let since = started.elapsed();
        Reading { boot: booted + since, wall: Timestamp::default().plus(since) }
    })
}

/// Two members that share the nodes, and a node of each.
pub(crate) async fn pair(etcd: &MemoryEtcd) -> (Process, Process) {
    let first = Process::alone(etcd).await;
    let second = Process::joined(etcd, 2).await;
    until("each node to have one owner", || second.owned() > 0 && first.owned() + second.owned() == nodes().count())
        .await;
    (first, second)
}

pub(crate) fn node_of(process: &Process) -> NodeId {
    nodes().find(|node| process.mesh.owns(*node)).unwrap()
}

pub(crate) fn power(claim: &Claim) -> PowerSeen {
    PowerSeen {
        power: Power::On,
        seen_at: Timestamp::default(),
        seen_by: claim.instance(),
        settled: None,
        trouble: None,
    }
}
