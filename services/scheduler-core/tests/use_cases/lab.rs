//! A scheduler with its loops, the leaves of its rack, and nodes; and what an operator does and sees.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use domain::{
    driver::Driver,
    id::{ImageId, NodeId},
    image::{Encoding, Image, Purpose},
    net::MacAddr,
    plan::Limits,
    power::{Power, PowerTarget},
    provision::{State, Verb},
    step::Step,
    time::Timestamp,
};
use futures::{StreamExt as _, stream::BoxStream};
use keyspace::{
    key,
    value::{ConfigDrive, Intent, Network, Rack},
};
use mesh::{Clock, Reading, SafetyParams};
use proto::{
    inventory::v1::inventory_service_server::InventoryServiceServer,
    power::v1::power_service_server::PowerServiceServer,
    pxe::v1::pxe_service_server::PxeServiceServer,
    scheduler::v1::{
        WatchAppliedRequest, WatchAppliedResponse,
        scheduler_service_server::{SchedulerService, SchedulerServiceServer},
    },
    storage::v1::storage_service_server::StorageServiceServer,
};
use scheduler_core::{
    AppState, Error, RequestContext,
    provision::{Provision, ProvisionNode, provision_node},
    registry::{NodeChange, Record},
};
use scheduler_testing::{RACK, Setup, TestNode, World};
use serde_json::{Value, json};
use service_kit::{
    Host, clock,
    listener::{self, BodyBudget, HttpLimits},
    serve::{self, GrpcListener, Rule, authenticated},
    status,
    tls::Tls,
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, service::Routes};
use uuid::Uuid;

use crate::leaves::Leaves;

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(30);
/// The images that the rack's agent boots from.
pub(crate) const KERNEL: ImageId = ImageId::new(Uuid::from_u128(3));
pub(crate) const RAMDISK: ImageId = ImageId::new(Uuid::from_u128(4));

/// Methods that the leaves and the schedulers of a test answer.
const METHODS: &[&str] = &[
    "/ironmesh.power.v1.PowerService/EnsurePower",
    "/ironmesh.power.v1.PowerService/GetPower",
    "/ironmesh.power.v1.PowerService/GetBootOrder",
    "/ironmesh.power.v1.PowerService/WatchTimeline",
    "/ironmesh.pxe.v1.PxeService/EnsureBoot",
    "/ironmesh.pxe.v1.PxeService/WatchTimeline",
    "/ironmesh.storage.v1.StorageService/EnsureImage",
    "/ironmesh.storage.v1.StorageService/LearnImage",
    "/ironmesh.inventory.v1.InventoryService/WatchAgents",
    "/ironmesh.scheduler.v1.SchedulerService/WatchApplied",
];

/// One scheduler and the leaves.
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) leaves: Leaves,
    /// Where the leaves answer.
    pub(crate) endpoint: String,
}

/// The deadlines that operators have: no test reaches one by the wall clock. A test of a deadline shortens that one.
pub(crate) fn limits() -> Limits {
    Limits::default()
}

/// A deadline that is over at once.
pub(crate) const SHORT_TIMEOUT: Duration = Duration::from_millis(50);

/// Tokio's clock, as a machine that was booted a while ago.
pub(crate) fn safety() -> SafetyParams {
    let (started, booted) = (Instant::now(), Duration::from_secs(1000));
    SafetyParams::default().dangerous_clock(Clock::new(move || {
        let since = started.elapsed();
        Reading { boot: booted + since, wall: Timestamp::default().plus(since) }
    }))
}

/// Starts a scheduler that answers the others.
pub(crate) async fn scheduler(setup: Setup) -> World {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = socket.local_addr().unwrap().to_string();
    let world = World::start(Setup { endpoint, ..setup }).await.unwrap();
    let peer = SchedulerServiceServer::new(Applied(Arc::clone(&world.app)));
    serve(&world.app.host, world.tls.clone(), socket, Routes::new(peer));
    world
}

fn serve(host: &Host, tls: Tls, socket: TcpListener, routes: Routes) {
    let listener = GrpcListener {
        name: "test",
        purpose: listener::ListenerKind::Grpc,
        revocations: Some(tls.revocations().clone()),
        realm: tls.realm(),
        tokens: None,
        tls: Arc::new(move || tls.server()),
        routes,
        rules: METHODS.iter().map(|path| Rule::new(path, authenticated)).collect(),
        rack: Arc::from(""),
        limits: HttpLimits::default(),
        budget: BodyBudget::new(&HttpLimits::default()),
    };
    host.spawn(serve::accept(host.clone(), socket, listener));
}

/// The context of a request without an id.
pub(crate) fn internal() -> RequestContext {
    RequestContext::internal()
}

impl Lab {
    /// A scheduler without its loops: what is stored stays as it is until a use case changes it.
    pub(crate) async fn at_rest() -> Self {
        Self::with(limits()).await
    }

    /// A scheduler with its loops.
    pub(crate) async fn up() -> Self {
        Self::up_with(limits()).await
    }

    /// A scheduler with its loops and these deadlines.
    pub(crate) async fn up_with(limits: Limits) -> Self {
        let lab = Self::with(limits).await;
        scheduler_core::spawn_loops(&lab.world.app);
        lab
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let world = scheduler(Setup { limits, safety: safety(), ..Setup::default() }).await;
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = socket.local_addr().unwrap().to_string();
        let leaves = Leaves::join(&world.etcd, &endpoint);
        let routes = Routes::new(PowerServiceServer::new(leaves.clone()))
            .add_service(PxeServiceServer::new(leaves.clone()))
            .add_service(StorageServiceServer::new(leaves.clone()))
            .add_service(InventoryServiceServer::new(leaves.clone()));
        // The leaves outlive a scheduler that stops.
        serve(&Host::default(), world.tls.clone(), socket, routes);
        let lab = Self { world, leaves, endpoint };
        lab.furnish().await;
        lab
    }

    /// The rack gets a network and an agent's kernel and ramdisk.
    async fn furnish(&self) {
        for (id, name, purpose) in [(KERNEL, "kernel", Purpose::Kernel), (RAMDISK, "ramdisk", Purpose::Ramdisk)] {
            let image = Image {
                id,
                name: name.to_owned(),
                url: format!("http://images/{name}"),
                digest: format!("sha256:{}", "1".repeat(64)).parse().unwrap(),
                encoding: Encoding::Plain,
                purpose,
                unpacked_size: None,
            };
            self.app().registry.create_image(&internal(), &image).await.unwrap();
        }
        self.set_rack(|rack| {
            (rack.kernel, rack.ramdisk) = (Some(KERNEL), Some(RAMDISK));
            rack.kernel_arguments = "console=ttyS0".parse().unwrap();
            rack.network = Some(Network {
                subnet: "10.1.0.0/24".parse().unwrap(),
                first: Ipv4Addr::new(10, 1, 0, 10),
                last: Ipv4Addr::new(10, 1, 0, 20),
                router: None,
                name_servers: Vec::new(),
                server_identifier: Ipv4Addr::new(10, 1, 0, 1),
            });
        })
        .await;
    }

    pub(crate) fn app(&self) -> &Arc<AppState> {
        &self.world.app
    }

    /// Changes the rack as its operator does.
    pub(crate) async fn set_rack(&self, change: impl FnOnce(&mut Rack)) {
        let mut rack = self.app().registry.rack(RACK).unwrap().value;
        change(&mut rack);
        let revision = self.world.write(&key::rack(RACK), &rack).unwrap();
        self.world.sees(revision).await.unwrap();
    }

    /// A machine with a BMC, that may boot from the network, in a state.
    pub(crate) async fn machine(&self, number: u128, state: State) -> NodeId {
        let node = TestNode { driver: Driver::Ipmi, ..TestNode::new(number, state) };
        let node = node.with_port(Some(Ipv4Addr::new(10, 1, 0, 9)));
        self.put(&node).await
    }

    /// A machine whose users keep these fields at it.
    pub(crate) async fn machine_with(&self, number: u128, state: State, fields: Value) -> NodeId {
        let spec = serde_json::from_value(fields).unwrap();
        let node = TestNode { driver: Driver::Ipmi, spec, ..TestNode::new(number, state) };
        self.put(&node.with_port(Some(Ipv4Addr::new(10, 1, 0, 9)))).await
    }

    /// A node without a machine, in a state.
    pub(crate) async fn fake(&self, number: u128, state: State) -> NodeId {
        self.put(&TestNode::new(number, state)).await
    }

    pub(crate) async fn put(&self, node: &TestNode) -> NodeId {
        self.world.put(node).await.unwrap();
        node.id
    }

    /// Asks a node for something, as every API does.
    pub(crate) async fn ask(&self, node: NodeId, verb: Verb) -> Result<(), Error> {
        let image = if matches!(verb, Verb::Deploy) { "disk" } else { "" };
        self.ask_with(node, verb, image, &[]).await
    }

    pub(crate) async fn ask_with(&self, node: NodeId, verb: Verb, image: &str, steps: &[Step]) -> Result<(), Error> {
        self.ask_as(&internal(), node, verb, image, steps).await
    }

    pub(crate) async fn ask_as(
        &self,
        context: &RequestContext,
        node: NodeId,
        verb: Verb,
        image: &str,
        steps: &[Step],
    ) -> Result<(), Error> {
        let (image, steps) = (image.to_owned(), steps.to_vec());
        let rescue_password = if verb == Verb::Rescue { "secret".to_owned() } else { String::new() };
        let config_drive = ConfigDrive::new();
        let command = ProvisionNode { node, verb, image, config_drive, steps, rescue_password };
        Box::pin(provision_node(context, self.app(), command)).await
    }

    /// What the store has about a node.
    pub(crate) fn record(&self, node: NodeId) -> Record {
        self.app().registry.named(&node.to_string()).unwrap()
    }

    /// Changes what is wanted of a node past every rule.
    pub(crate) async fn change_intent(&self, node: NodeId, change: impl FnOnce(&mut Intent)) {
        let mut intent = self.record(node).intent.value;
        change(&mut intent);
        let revision = self.world.write(&key::intent(RACK, node), &intent).unwrap();
        self.world.sees(revision).await.unwrap();
    }

    /// The node boots the kernel and the ramdisk of Ironic's agent, which its `driver_info` names.
    pub(crate) async fn use_ironic_ramdisk(&self, node: NodeId, kernel: &str, ramdisk: &str) {
        let mut stored = self.app().registry.held(node).and_then(|held| held.spec).unwrap().value;
        let info =
            json!({"deploy_kernel": kernel, "deploy_ramdisk": ramdisk, "kernel_append_params": "quiet %default%"});
        stored.spec.driver_info = Some(serde_json::from_value(info).unwrap());
        let revision = self.world.write(&key::node_spec(RACK, node), &stored).unwrap();
        self.world.sees(revision).await.unwrap();
        let named = driver_info::ironic_ramdisk(Driver::Ipmi, &stored.spec).unwrap();
        self.change_intent(node, |intent| intent.ironic_ramdisk = named).await;
    }

    /// Adds a MAC to a node.
    pub(crate) async fn add_port(&self, node: NodeId, mac: MacAddr) {
        let change = NodeChange { add_macs: vec![mac], ..NodeChange::default() };
        self.app().registry.update(&internal(), &self.record(node), change, || Ok(())).await.unwrap();
    }

    /// Stores a request with these steps past the checks of its arguments.
    pub(crate) async fn accept_with_steps(&self, node: NodeId, verb: Verb, steps: &[Step]) {
        let request = Provision { steps: steps.to_vec(), ..Provision::default() };
        self.app().registry.accept(&internal(), &self.record(node), verb, request).await.unwrap();
    }

    /// Waits until the scheduler sees everything that is in the store.
    pub(crate) async fn sees_everything(&self) {
        self.world.sees(self.world.etcd.revision()).await.unwrap();
    }

    /// The MACs of a node.
    pub(crate) fn macs(&self, node: NodeId) -> Vec<MacAddr> {
        self.record(node).ports.into_iter().map(|(mac, _)| mac).collect()
    }

    /// The texts of the events of a kind, as `ironmesh events` shows them.
    pub(crate) fn events(&self, kind: &str) -> Vec<String> {
        let (events, _) = self.app().live_state.events(1000);
        events.into_iter().filter(|event| event.kind == kind).map(|event| event.text).collect()
    }

    /// Why a node does not take a verb, in the words that its user reads.
    pub(crate) async fn refusal(&self, node: NodeId, verb: Verb) -> String {
        status::chain(&self.ask(node, verb).await.unwrap_err())
    }

    /// A field of a node under its name in Ironic's API.
    pub(crate) fn shows(&self, node: NodeId, field: &str) -> Value {
        shows(self.app(), node, field)
    }

    /// The provision state of a node, as Ironic's API shows it.
    pub(crate) fn state(&self, node: NodeId) -> String {
        self.shows(node, "provision_state").as_str().unwrap_or("gone").to_owned()
    }

    /// Waits until Ironic's API shows a node in a state.
    pub(crate) async fn comes_to(&self, node: NodeId, state: &str) {
        let last = || format!("{}; {}", self.state(node), self.shows(node, "last_error"));
        until(state, last, || self.state(node) == state).await;
    }

    /// The cause of a node's failure and its text, as the CLI shows them.
    pub(crate) fn failure(&self, node: NodeId) -> (&'static str, String) {
        self.record(node).life.value.failure.map_or(("", String::new()), |failure| (failure.cause.word(), failure.text))
    }
}

/// A field of a node, as a scheduler has it ready for every API, under its name in Ironic's.
pub(crate) fn shows(app: &AppState, node: NodeId, field: &str) -> Value {
    let Some(view) = app.node_cache.get(node) else { return Value::Null };
    match field {
        "name" => json!(view.intent.name),
        "driver" => json!(view.intent.driver.to_string()),
        "conductor" => json!(view.conductor),
        "conductor_group" => json!(view.rack_name),
        "provision_state" => json!(view.life.state.ironic_name()),
        "power_state" => json!(view.power.as_ref().map(|power| power.power.to_string())),
        "target_power_state" => json!(view.pending_power().and_then(reached).map(|power| power.to_string())),
        "last_error" => json!(view.life.failure.as_ref().or_else(|| view.power_failure()).map(|failure| &failure.text)),
        "inspection_finished_at" => json!(view.life.inspection.as_ref().and_then(|it| it.finished_at)),
        "clean_step" => json!(view.current_step().map(|(_, step)| &step.step)),
        other => serde_json::to_value(view.spec()).unwrap().get(other).cloned().unwrap_or_default(),
    }
}

/// Where a power order leads.
const fn reached(target: PowerTarget) -> Option<Power> {
    match target {
        PowerTarget::On | PowerTarget::Booted { .. } | PowerTarget::SoftBooted { .. } => Some(Power::On),
        PowerTarget::Off | PowerTarget::SoftOff { .. } => Some(Power::Off),
        PowerTarget::BootOrder { .. }
        | PowerTarget::Interrupted { .. }
        | PowerTarget::BmcReset { .. }
        | PowerTarget::RawCommand { .. } => None,
    }
}

/// A step without arguments.
pub(crate) fn step(interface: &str, step: &str) -> Step {
    Step { interface: interface.to_owned(), step: step.to_owned(), args: serde_json::Map::new() }
}

/// Waits for a state, bounded by the wall clock: a deadline of the plan is one, and the paused clock runs ahead of it.
pub(crate) async fn until(what: &str, last: impl Fn() -> String, is_so: impl Fn() -> bool) {
    let begun = clock::now();
    while !is_so() {
        assert!(clock::now().since(begun) < PATIENCE, "waited in vain for {what}; last seen: {}", last());
        sleep(Duration::from_millis(5)).await;
    }
}

/// What a scheduler tells the others: the revision that it has applied.
struct Applied(Arc<AppState>);

#[tonic::async_trait]
impl SchedulerService for Applied {
    type WatchAppliedStream = BoxStream<'static, Result<WatchAppliedResponse, Status>>;

    async fn watch_applied(
        &self,
        _: Request<WatchAppliedRequest>,
    ) -> Result<Response<Self::WatchAppliedStream>, Status> {
        let freshness = WatchStream::new(self.0.registry.view().follow_freshness());
        let revisions = freshness.map(|freshness| Ok(WatchAppliedResponse { revision: freshness.revision }));
        Ok(Response::new(revisions.boxed()))
    }
}
