//! The leaf services of the rack in one task. They answer the scheduler's calls over mutual TLS on loopback, and write
//! what they observe where the real ones write it. A test sets how the machines behave.

use std::sync::Arc;

use domain::{
    failure::{Cause, Failure},
    generation::Generation,
    hardware::Hardware,
    id::{InstanceId, NodeId},
    power::{BootDevice, Power, PowerTarget},
    ring::Ring,
    service::Service,
    step::Step,
    time::Timestamp,
    timeline,
};
use futures::{StreamExt as _, stream::BoxStream};
use keyspace::{
    Key,
    key::{self, Scope},
    testing::MemoryEtcd,
    value::{AgentSeen, AgentWork, BootDecision, Inventory, Member, PowerSeen, PxeSeen, Settled, StoredRing, Work},
};
use parking_lot::Mutex;
use proto::{
    common::v1::{Amount, NodeTimelineEntry},
    convert::time::wire_time,
    inventory::v1::{
        AnswerAgentRequest, AnswerAgentResponse, GetInventoryRequest, GetInventoryResponse, Heartbeat,
        WatchAgentsRequest, WatchAgentsResponse, inventory_service_server::InventoryService,
        watch_agents_response::Sign,
    },
    power::v1::{
        EnsurePowerRequest, EnsurePowerResponse, GetBootOrderRequest, GetBootOrderResponse, GetPowerRequest,
        GetPowerResponse, WatchTimelineRequest as WatchPowerRequest, WatchTimelineResponse as WatchPowerResponse,
        power_service_server::PowerService,
    },
    pxe::v1::{
        EnsureBootRequest, EnsureBootResponse, WatchTimelineRequest as WatchPxeRequest,
        WatchTimelineResponse as WatchPxeResponse, pxe_service_server::PxeService,
    },
    storage::v1::{
        EnsureImageRequest, EnsureImageResponse, FileFormat, ImageState, LearnImageRequest, LearnImageResponse,
        ListImagesRequest, ListImagesResponse, storage_service_server::StorageService,
    },
};
use scheduler_testing::RACK;
use serde::{Serialize, de::DeserializeOwned};
use service_kit::{
    clock,
    status::{self, Kind},
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// The instance that every leaf of the rack is.
pub(crate) const LEAF: InstanceId = InstanceId::new(Uuid::from_u128(77));

/// What a BMC does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Bmc {
    /// What it is told.
    #[default]
    Obeys,
    /// It answers each request with this refusal.
    Refuses(Cause),
    /// It does not answer.
    Silent,
    /// It accepts commands, and the machine does not follow them.
    Stuck,
}

/// What becomes of an image in the rack's cache.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Images {
    /// It is there.
    #[default]
    Cached,
    /// Its download does not end.
    Underway,
    /// It cannot be downloaded.
    Fail(Cause),
}

/// What the pxe-service answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum BootFiles {
    /// It has the files.
    #[default]
    Ready,
    /// It lacks one.
    Missing,
    /// It does not know yet.
    NotYet,
}

/// What the agent of a machine that boots from the network does.
#[derive(Debug, Clone, Default)]
pub(crate) enum Agent {
    /// It calls, reports the hardware and does its work.
    #[default]
    Works,
    /// It never calls.
    Mute,
    /// It calls and is not heard again.
    CallsOnce,
    /// It calls, and its work fails.
    Fails(Cause),
    /// It says that it is done, and sends no report.
    DoesNotReport,
    /// It does these clean steps of its own.
    Lists(Vec<Step>),
}

/// How the machines of the rack behave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    pub(crate) bmc: Bmc,
    pub(crate) images: Images,
    pub(crate) boot_files: BootFiles,
    pub(crate) agent: Agent,
    pub(crate) hardware: Hardware,
}

/// A call of a leaf that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Power(PowerTarget),
    Boot,
    Image(String),
}

/// The leaves. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Leaves {
    etcd: MemoryEtcd,
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<(NodeId, Asked)>>>,
    timeline: watch::Sender<Vec<NodeTimelineEntry>>,
    agents: watch::Sender<Vec<Sign>>,
}

impl Leaves {
    /// Leaves that are members of the rack at this address.
    pub(crate) fn join(etcd: &MemoryEtcd, endpoint: &str) -> Self {
        let leaves = Self {
            etcd: etcd.clone(),
            script: Arc::default(),
            asked: Arc::default(),
            timeline: watch::Sender::default(),
            agents: watch::Sender::default(),
        };
        for service in [Service::Power, Service::Pxe, Service::Storage, Service::Inventory] {
            leaves.rejoin(service, endpoint);
        }
        leaves
    }

    /// The service is a member at this address.
    pub(crate) fn rejoin(&self, service: Service, endpoint: &str) {
        let member = Member {
            endpoint: endpoint.to_owned(),
            data_endpoint: endpoint.to_owned(),
            weight: 1,
            ..Member::default()
        };
        let ring = Ring { members: [(LEAF, 1)].into(), hash: 1, ..Ring::default() };
        self.write(&key::member(Scope::Rack(RACK), service, LEAF), &member);
        self.write(&key::ring(Scope::Rack(RACK), service), &StoredRing::after(None, ring, Timestamp::default()));
    }

    /// The service is no member any more.
    pub(crate) fn leave(&self, service: Service) {
        self.etcd.delete(key::member(Scope::Rack(RACK), service, LEAF).path());
        self.write(&key::ring(Scope::Rack(RACK), service), &StoredRing::after(None, Ring::default(), clock::now()));
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock());
    }

    fn script(&self) -> Script {
        self.script.lock().clone()
    }

    /// What was asked about a node, without repetitions in a row.
    pub(crate) fn asked(&self, node: NodeId) -> Vec<Asked> {
        let mut asked: Vec<_> =
            self.asked.lock().iter().filter(|(of, _)| *of == node).map(|(_, asked)| asked.clone()).collect();
        asked.dedup();
        asked
    }

    /// The power instructions about a node.
    pub(crate) fn power_targets(&self, node: NodeId) -> Vec<PowerTarget> {
        let power = |asked| if let Asked::Power(target) = asked { Some(target) } else { None };
        self.asked(node).into_iter().filter_map(power).collect()
    }

    fn note(&self, node: &str, asked: Asked) {
        let node = node.parse().unwrap_or(NodeId::new(Uuid::nil()));
        self.asked.lock().push((node, asked));
    }

    fn write<V: Serialize>(&self, key: &Key<V>, value: &V) {
        self.etcd.put(key.path(), &serde_json::to_vec(value).unwrap()).unwrap();
    }

    fn stored<V: DeserializeOwned>(&self, key: &Key<V>) -> Option<V> {
        self.etcd.pair(key.path()).map(|pair| pair.read().unwrap().value)
    }

    /// The decision that a node boots by.
    pub(crate) fn boot_decision(&self, node: NodeId) -> Option<BootDecision> {
        self.stored(&key::boot(RACK, node))
    }

    /// Writes what the power-service last read from a node's BMC.
    pub(crate) fn power(&self, node: NodeId, power: Power, settled: Option<Settled>) {
        let (seen_at, seen_by) = (clock::now(), LEAF);
        self.write(&key::power(RACK, node), &PowerSeen { power, seen_at, seen_by, settled, trouble: None });
    }

    /// Writes how the agent of a generation stands.
    pub(crate) fn agent(&self, node: NodeId, generation: Generation, work: AgentWork) {
        let reaches = self.boot_decision(node).map_or(0, |decision| decision.reaches());
        let seen = AgentSeen::bound(generation, "key".to_owned(), work, clock::now(), LEAF);
        self.write(&key::agent(RACK, node), &AgentSeen { reaches, ..seen });
    }

    /// The agent has done all that it was handed.
    pub(crate) fn finishes(&self, node: NodeId) {
        let generation = self.boot_decision(node).unwrap().generation;
        self.agent(node, generation, AgentWork::Done { at: clock::now() });
    }

    /// The agent calls, makes steps up to this one, and wants its machine to be rebooted.
    pub(crate) fn reboots_after(&self, node: NodeId, reaches: u32) {
        let (generation, at) = (self.boot_decision(node).unwrap().generation, clock::now());
        let seen = AgentSeen::bound(generation, "key".to_owned(), AgentWork::Done { at }, at, LEAF);
        self.write(&key::agent(RACK, node), &AgentSeen { reaches, reboots: true, ..seen });
    }

    /// The deployed system phones home.
    pub(crate) fn phones_home(&self, node: NodeId, generation: Generation) {
        let now = clock::now();
        let (exchange_at, life_at) = (Some(now), Some(now));
        self.write(&key::pxe(RACK, node), &PxeSeen { generation, exchange_at, life_at, seen_at: now, seen_by: LEAF });
    }

    /// Writes what a machine is made of, as the report of a generation.
    pub(crate) fn reports(&self, node: NodeId, generation: Generation, hardware: Hardware) {
        let (seen_at, inspection) = (clock::now(), Some(generation));
        let inventory = Inventory { hardware, seen_at, seen_by: LEAF, inspection, reported: None };
        self.write(&key::inventory(RACK, node), &inventory);
    }

    /// Tells of an event of a boot on every stream of timelines.
    pub(crate) fn tells(&self, node: NodeId, generation: Generation, mark: timeline::Mark) {
        let entry =
            timeline::Entry { at: clock::now(), by: "pxe".to_owned(), mark, subject: String::new(), amount: None };
        let (node, generation) = (node.to_string(), generation.number());
        let entry = NodeTimelineEntry { node, generation, entry: Some(entry.into()) };
        self.agents.send_modify(|all| all.push(Sign::Entry(entry.clone())));
        self.timeline.send_modify(|all| all.push(entry));
    }

    /// An agent is heard.
    pub(crate) fn beats(&self, node: NodeId) {
        let beat = Heartbeat { node: node.to_string(), receive_time: Some(wire_time(clock::now())) };
        self.agents.send_modify(|all| all.push(Sign::Heartbeat(beat)));
    }

    /// The machine boots from the network, and its agent does what the script says.
    fn boots(&self, node: NodeId, generation: Generation) {
        let (script, now) = (self.script(), clock::now());
        let Some(decision) = self.boot_decision(node).filter(|decision| decision.generation == generation) else {
            return;
        };
        let reports = |hardware: Hardware| {
            let inspects = matches!(decision.work, Work::Inspect);
            if inspects {
                self.reports(node, generation, hardware);
            }
        };
        match script.agent {
            Agent::Mute => {}
            Agent::CallsOnce => self.agent(node, generation, AgentWork::Underway),
            Agent::Works => {
                reports(script.hardware);
                self.agent(node, generation, AgentWork::Done { at: now });
            }
            Agent::DoesNotReport => self.agent(node, generation, AgentWork::Done { at: now }),
            Agent::Fails(cause) => {
                let failure = Failure { cause, text: "as the agent says".to_owned(), at: now };
                self.agent(node, generation, AgentWork::Failed { failure });
            }
            Agent::Lists(lists) => {
                let seen = AgentSeen::bound(generation, "key".to_owned(), AgentWork::Underway, now, LEAF);
                self.write(&key::agent(RACK, node), &AgentSeen { lists, ..seen });
            }
        }
    }
}

/// A refusal with a stable reason.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refusal {
    kind: Kind,
    reason: &'static str,
    text: String,
}

impl status::Failure for Refusal {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn reason(&self) -> &'static str {
        self.reason
    }
}

fn refusal(kind: Kind, reason: &'static str, text: &str) -> Status {
    status::status("leaf", &Refusal { kind, reason, text: text.to_owned() })
}

fn answers(bmc: Bmc) -> Result<(), Status> {
    match bmc {
        Bmc::Obeys | Bmc::Stuck => Ok(()),
        Bmc::Refuses(cause) => Err(refusal(Kind::NotNow, cause.word(), "the BMC at 10.0.0.1:623 refused")),
        Bmc::Silent => {
            Err(refusal(Kind::Unavailable, Cause::BmcSilent.word(), "the BMC at 10.0.0.1:623 does not answer"))
        }
    }
}

/// Everything that is told, from the first on.
fn told<T: Clone + Send + Sync + 'static>(sender: &watch::Sender<Vec<T>>) -> BoxStream<'static, T> {
    let from_start = futures::stream::unfold((sender.subscribe(), 0), |(mut receiver, told)| async move {
        let all = receiver.wait_for(|all| all.len() > told).await.ok()?.clone();
        let more: Vec<T> = all.iter().skip(told).cloned().collect();
        Some((futures::stream::iter(more), (receiver, all.len())))
    });
    from_start.flatten().boxed()
}

#[tonic::async_trait]
impl PowerService for Leaves {
    type WatchTimelineStream = BoxStream<'static, Result<WatchPowerResponse, Status>>;

    async fn ensure_power(
        &self,
        request: Request<EnsurePowerRequest>,
    ) -> Result<Response<EnsurePowerResponse>, Status> {
        let request = request.into_inner();
        let target: PowerTarget = request.target.unwrap().try_into().unwrap();
        let node: NodeId = request.node.parse().unwrap();
        let generation = Generation::from_number(request.version.unwrap().generation);
        self.note(&request.node, Asked::Power(target));
        let (script, at) = (self.script(), clock::now());
        answers(script.bmc)?;
        if matches!(script.bmc, Bmc::Stuck) {
            let text = "power stayed off".to_owned();
            let failure = Some(Failure { cause: Cause::PowerStuck, text, at });
            self.power(node, Power::Off, Some(Settled { generation, at, failure }));
            return Ok(Response::new(EnsurePowerResponse {}));
        }
        let power = match target {
            PowerTarget::Off | PowerTarget::SoftOff { .. } => Power::Off,
            PowerTarget::On
            | PowerTarget::Booted { .. }
            | PowerTarget::SoftBooted { .. }
            | PowerTarget::BootOrder { .. }
            | PowerTarget::Interrupted { .. }
            | PowerTarget::BmcReset { .. }
            | PowerTarget::RawCommand { .. } => Power::On,
        };
        self.power(node, power, Some(Settled { generation, at, failure: None }));
        if target.boot().is_some_and(|boot| boot.device == BootDevice::Pxe) {
            self.boots(node, generation);
        }
        Ok(Response::new(EnsurePowerResponse {}))
    }

    async fn get_power(&self, _: Request<GetPowerRequest>) -> Result<Response<GetPowerResponse>, Status> {
        answers(self.script().bmc)?;
        let power = proto::common::v1::Power::On.into();
        Ok(Response::new(GetPowerResponse { power, bmc: "IPMI 2.0".to_owned() }))
    }

    async fn get_boot_order(&self, _: Request<GetBootOrderRequest>) -> Result<Response<GetBootOrderResponse>, Status> {
        answers(self.script().bmc)?;
        let device = proto::common::v1::BootDevice::Disk.into();
        Ok(Response::new(GetBootOrderResponse { device, persistent: Some(true) }))
    }

    async fn watch_timeline(
        &self,
        _: Request<WatchPowerRequest>,
    ) -> Result<Response<Self::WatchTimelineStream>, Status> {
        Ok(Response::new(futures::stream::pending().boxed()))
    }
}

#[tonic::async_trait]
impl PxeService for Leaves {
    type WatchTimelineStream = BoxStream<'static, Result<WatchPxeResponse, Status>>;

    async fn ensure_boot(&self, request: Request<EnsureBootRequest>) -> Result<Response<EnsureBootResponse>, Status> {
        self.note(&request.into_inner().node, Asked::Boot);
        match self.script().boot_files {
            BootFiles::Ready => Ok(Response::new(EnsureBootResponse {})),
            BootFiles::Missing => Err(refusal(Kind::NotNow, "BOOT_FILE", "the kernel is in no cache of the rack")),
            BootFiles::NotYet => Err(refusal(Kind::Unavailable, "NOT_YET", "the decision is not seen yet")),
        }
    }

    async fn watch_timeline(&self, _: Request<WatchPxeRequest>) -> Result<Response<Self::WatchTimelineStream>, Status> {
        let told = told(&self.timeline).map(|entry| Ok(WatchPxeResponse { entry: Some(entry) }));
        Ok(Response::new(told.boxed()))
    }
}

#[tonic::async_trait]
impl StorageService for Leaves {
    async fn ensure_image(
        &self,
        request: Request<EnsureImageRequest>,
    ) -> Result<Response<EnsureImageResponse>, Status> {
        let request = request.into_inner();
        self.asked.lock().push((NodeId::new(Uuid::nil()), Asked::Image(request.name.clone())));
        let (state, failure) = self.image();
        // A QCOW2 image is served converted, under another digest.
        let is_converted = request.format() == FileFormat::Qcow2;
        let served_digest = if is_converted { format!("sha256:{}", "6".repeat(64)) } else { request.digest };
        let amount = Some(Amount { done: 4096, total: 4096 });
        Ok(Response::new(EnsureImageResponse { state: state.into(), amount, failure, served_digest }))
    }

    async fn learn_image(&self, request: Request<LearnImageRequest>) -> Result<Response<LearnImageResponse>, Status> {
        self.asked.lock().push((NodeId::new(Uuid::nil()), Asked::Image(request.into_inner().name)));
        let (state, failure) = self.image();
        let digest = format!("sha256:{}", "5".repeat(64));
        Ok(Response::new(LearnImageResponse { state: state.into(), digest, failure }))
    }

    async fn list_images(&self, _: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        Ok(Response::new(ListImagesResponse { images: Vec::new() }))
    }
}

impl Leaves {
    fn image(&self) -> (ImageState, Option<proto::common::v1::Failure>) {
        match self.script().images {
            Images::Cached => (ImageState::Done, None),
            Images::Underway => (ImageState::Underway, None),
            Images::Fail(cause) => {
                let text = "http://images/disk answered 404".to_owned();
                (ImageState::Failed, Some(Failure { cause, text, at: clock::now() }.into()))
            }
        }
    }

    /// Images that the storage-service was asked for.
    pub(crate) fn images_asked(&self) -> Vec<String> {
        let image = |asked| if let Asked::Image(name) = asked { Some(name) } else { None };
        self.asked(NodeId::new(Uuid::nil())).into_iter().filter_map(image).collect()
    }
}

#[tonic::async_trait]
impl InventoryService for Leaves {
    type WatchAgentsStream = BoxStream<'static, Result<WatchAgentsResponse, Status>>;

    async fn get_inventory(&self, _: Request<GetInventoryRequest>) -> Result<Response<GetInventoryResponse>, Status> {
        Err(Status::not_found("it was not inspected"))
    }

    async fn answer_agent(&self, _: Request<AnswerAgentRequest>) -> Result<Response<AnswerAgentResponse>, Status> {
        Err(Status::unimplemented("the scheduler does not call it"))
    }

    async fn watch_agents(&self, _: Request<WatchAgentsRequest>) -> Result<Response<Self::WatchAgentsStream>, Status> {
        let told = told(&self.agents).map(|sign| Ok(WatchAgentsResponse { sign: Some(sign) }));
        Ok(Response::new(told.boxed()))
    }
}
