//! A scheduler-service that gives canned answers behind a real door.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use domain::service::Service;
use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use proto::{api::v1::*, common::v1::Power};
use service_kit::{
    Host,
    bearer_token::TokenVerifier,
    listener::{BodyBudget, HttpLimits, ListenerKind},
    serve::{GrpcListener, Rule, accept, operators},
    status::{Failure as Fails, Kind, status},
    tls::{Bearer, CertificateAuthority, Files, Identity, Tls},
};
use tempfile::TempDir;
use tonic::{Request, Response, Status, service::Routes};

use super::canned::{BEGIN, NOW, adopted, boots, bulk, busy, deploying, failed, inspected, manageable, node, time};
use super::{fleet::CannedFleet, logins::Accepted};

use proto::api::v1::{
    bulk_service_server::{BulkService, BulkServiceServer},
    event_service_server::{EventService, EventServiceServer},
    host_service_server::HostServiceServer,
    image_service_server::{ImageService, ImageServiceServer},
    node_service_server::{NodeService, NodeServiceServer},
    rack_service_server::{RackService, RackServiceServer},
    status_service_server::StatusServiceServer,
    watch_nodes_response::News,
};

const RULES: &[Rule] = &[
    Rule::new("/ironmesh.api.v1.BulkService/CreateBulk", operators),
    Rule::new("/ironmesh.api.v1.BulkService/GetBulk", operators),
    Rule::new("/ironmesh.api.v1.EventService/WatchEvents", operators),
    Rule::new("/ironmesh.api.v1.HostService/CreateJoinToken", operators),
    Rule::new("/ironmesh.api.v1.HostService/DrainHost", operators),
    Rule::new("/ironmesh.api.v1.HostService/GetHost", operators),
    Rule::new("/ironmesh.api.v1.HostService/ListHosts", operators),
    Rule::new("/ironmesh.api.v1.HostService/ListJoinTokens", operators),
    Rule::new("/ironmesh.api.v1.HostService/RemoveHost", operators),
    Rule::new("/ironmesh.api.v1.ImageService/CreateImage", operators),
    Rule::new("/ironmesh.api.v1.NodeService/EnsureNodePower", operators),
    Rule::new("/ironmesh.api.v1.NodeService/GetNode", operators),
    Rule::new("/ironmesh.api.v1.NodeService/GetNodeTimeline", operators),
    Rule::new("/ironmesh.api.v1.NodeService/ListNodes", operators),
    Rule::new("/ironmesh.api.v1.NodeService/ProvisionNode", operators),
    Rule::new("/ironmesh.api.v1.NodeService/ResetNodeBmc", operators),
    Rule::new("/ironmesh.api.v1.NodeService/SendNodeRawCommand", operators),
    Rule::new("/ironmesh.api.v1.NodeService/WatchNode", operators),
    Rule::new("/ironmesh.api.v1.NodeService/WatchNodes", operators),
    Rule::new("/ironmesh.api.v1.RackService/GetRack", operators),
    Rule::new("/ironmesh.api.v1.StatusService/GetStatus", operators),
];

/// The service, and a context file for it. Ends when dropped.
pub(super) struct Fake {
    pub(super) folder: TempDir,
    pub(super) context: PathBuf,
    pub(super) endpoint: String,
    canned: Arc<Canned>,
    host: Host,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.host.stop();
    }
}

impl Fake {
    pub(super) async fn serve() -> Self {
        Self::serve_with(Some(Arc::new(Accepted))).await
    }

    pub(super) async fn serve_with(tokens: Option<TokenVerifier>) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let ca = CertificateAuthority::create("CA of the fake").unwrap();
        fs::write(path("ca.pem"), ca.certificate()).unwrap();
        let service = Identity::Service { service: Service::Scheduler, rack: String::new() };
        let people = Identity::admin("test");
        for (name, identity) in [("service", service), ("me", people)] {
            let issued = ca.issue(Bearer::Mesh(&identity)).unwrap();
            fs::write(path(&format!("{name}.pem")), issued.certificate).unwrap();
            fs::write(path(&format!("{name}.key")), issued.key).unwrap();
        }
        let (endpoint, host, canned) = listen(folder.path(), tokens).await;
        let text = format!("endpoint = \"{endpoint}\"\nca = \"ca.pem\"\ncertificate = \"me.pem\"\nkey = \"me.key\"\n");
        fs::write(path("client.toml"), text).unwrap();
        Self { context: path("client.toml"), folder, endpoint, canned, host }
    }

    /// Starts another replica with the same certificate. It runs until the host stops.
    pub(super) async fn twin(&self) -> (String, Host) {
        let (endpoint, host, _) = listen(self.folder.path(), None).await;
        (endpoint, host)
    }

    /// The last move of a life that was asked for.
    pub(super) fn asked(&self) -> ProvisionNodeRequest {
        self.canned.asked.lock().clone()
    }

    /// The commands to BMCs that were asked for.
    pub(super) fn bmc_commands(&self) -> Vec<String> {
        self.canned.bmc.lock().clone()
    }
}

async fn listen(folder: &Path, tokens: Option<TokenVerifier>) -> (String, Host, Arc<Canned>) {
    let path = |name: &str| folder.join(name);
    let files = Files { ca: path("ca.pem"), certificate: path("service.pem"), key: path("service.key") };
    let tls = Tls::load(files).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let (canned, fleet) = (Arc::new(Canned::default()), Arc::new(CannedFleet::default()));
    let routes = Routes::new(NodeServiceServer::from_arc(Arc::clone(&canned)))
        .add_service(ImageServiceServer::from_arc(Arc::clone(&canned)))
        .add_service(BulkServiceServer::from_arc(Arc::clone(&canned)))
        .add_service(EventServiceServer::from_arc(Arc::clone(&canned)))
        .add_service(RackServiceServer::from_arc(Arc::clone(&canned)))
        .add_service(HostServiceServer::from_arc(Arc::clone(&fleet)))
        .add_service(StatusServiceServer::from_arc(fleet));
    let host = Host::default();
    let takes_tokens = tokens.is_some();
    let tls = Arc::new(move || if takes_tokens { tls.server_for_tokens() } else { tls.server() });
    let limits = HttpLimits::default();
    let door = GrpcListener {
        name: "fake",
        purpose: ListenerKind::Grpc,
        tls,
        revocations: None,
        realm: service_kit::tls::Realm::default(),
        tokens,
        routes,
        rules: RULES.into(),
        rack: "".into(),
        budget: BodyBudget::new(&limits),
        limits,
    };
    host.spawn(accept(host.clone(), listener, door));
    (endpoint, host, canned)
}

/// An error of the fake, with a reason as the real one has.
#[derive(Debug)]
struct Missing(String);
impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no node {:?}; see: ironmesh node list", self.0)
    }
}
impl std::error::Error for Missing {}
impl Fails for Missing {
    fn kind(&self) -> Kind {
        Kind::Missing
    }
    fn reason(&self) -> &'static str {
        "MISSING"
    }
}

#[derive(Debug, Default)]
struct Canned {
    watched: AtomicU32,
    powered: AtomicU32,
    /// The last move that was asked for.
    asked: Mutex<ProvisionNodeRequest>,
    /// The commands to BMCs that were asked for.
    bmc: Mutex<Vec<String>>,
}

type Answer<T> = Result<Response<T>, Status>;
type Coming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Canned {
    fn named(name: &str) -> Result<Node, Status> {
        let known = [node("n1", 1), failed(node("n2", 2)), node("slow", 3), manageable(node("m1", 4))];
        let found = known.into_iter().find(|node| [&node.name, &node.id].iter().any(|known| *known == name));
        found.ok_or_else(|| status("scheduler-service", &Missing(name.to_owned())))
    }
}

fn not_here<T>() -> Answer<T> {
    Err(Status::unimplemented("not in the fake"))
}

#[tonic::async_trait]
impl NodeService for Canned {
    async fn create_node(&self, _: Request<CreateNodeRequest>) -> Answer<CreateNodeResponse> {
        not_here()
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Answer<GetNodeResponse> {
        let node = Self::named(&request.into_inner().node)?;
        let node = if node.name == "m1" { inspected(node) } else { node };
        Ok(Response::new(GetNodeResponse { node: Some(node) }))
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<ListNodesResponse> {
        // One node a page, so that pages are followed.
        let (name, next) = if request.into_inner().page_token.is_empty() { ("n2", "after n2") } else { ("n1", "") };
        let nodes = vec![Self::named(name)?];
        Ok(Response::new(ListNodesResponse { nodes, next_page_token: next.to_owned() }))
    }

    async fn update_node(&self, _: Request<UpdateNodeRequest>) -> Answer<UpdateNodeResponse> {
        not_here()
    }

    async fn delete_node(&self, _: Request<DeleteNodeRequest>) -> Answer<DeleteNodeResponse> {
        not_here()
    }

    async fn provision_node(&self, request: Request<ProvisionNodeRequest>) -> Answer<ProvisionNodeResponse> {
        let request = request.into_inner();
        let node = Self::named(&request.node)?;
        let node = match request.verb() {
            ProvisionVerb::Inspect => busy(node, "inspecting"),
            ProvisionVerb::Adopt => busy(node, "adopting"),
            ProvisionVerb::Clean => busy(node, "cleaning"),
            ProvisionVerb::Unspecified
            | ProvisionVerb::Manage
            | ProvisionVerb::Provide
            | ProvisionVerb::Deploy
            | ProvisionVerb::Rebuild
            | ProvisionVerb::Undeploy
            | ProvisionVerb::Abort
            | ProvisionVerb::Rescue
            | ProvisionVerb::Unrescue
            | ProvisionVerb::Service
            | ProvisionVerb::Unhold => deploying(node, 0),
        };
        *self.asked.lock() = request;
        let operation = node.observed.as_ref().and_then(|observed| observed.operation.clone());
        Ok(Response::new(ProvisionNodeResponse { node: Some(node), operation }))
    }

    async fn ensure_node_power(&self, _: Request<EnsureNodePowerRequest>) -> Answer<EnsureNodePowerResponse> {
        self.powered.store(1, Ordering::Relaxed);
        Ok(Response::new(EnsureNodePowerResponse { generation: 8 }))
    }

    async fn reset_node_bmc(&self, request: Request<ResetNodeBmcRequest>) -> Answer<ResetNodeBmcResponse> {
        self.powered.store(1, Ordering::Relaxed);
        self.bmc.lock().push(format!("{:?}", request.into_inner().kind()));
        Ok(Response::new(ResetNodeBmcResponse { generation: 8 }))
    }

    async fn send_node_raw_command(
        &self,
        request: Request<SendNodeRawCommandRequest>,
    ) -> Answer<SendNodeRawCommandResponse> {
        self.powered.store(1, Ordering::Relaxed);
        let SendNodeRawCommandRequest { netfn, command, data, .. } = request.into_inner();
        self.bmc.lock().push(format!("{netfn:#04x} {command:#04x} {data:?}"));
        Ok(Response::new(SendNodeRawCommandResponse { generation: 8 }))
    }

    async fn get_node_timeline(&self, _: Request<GetNodeTimelineRequest>) -> Answer<GetNodeTimelineResponse> {
        let observed = failed(node("n2", 2)).observed.unwrap_or_default();
        let diagnosis = observed.last_failure.unwrap_or_default().text;
        Ok(Response::new(GetNodeTimelineResponse { boots: boots(), diagnosis, next_step: observed.next_step }))
    }

    type WatchNodeStream = Coming<WatchNodeResponse>;

    async fn watch_node(&self, request: Request<WatchNodeRequest>) -> Answer<Self::WatchNodeStream> {
        let at_rest = Self::named(&request.into_inner().node)?;
        let shown = |node| Ok(WatchNodeResponse { node: Some(node) });
        if self.powered.load(Ordering::Relaxed) > 0 {
            let mut off = Node { generation: 8, ..at_rest.clone() };
            if let Some(observed) = &mut off.observed {
                (observed.power, observed.power_observe_time) = (Power::Off.into(), time(NOW));
                observed.power_settled_generation = 8;
            }
            return Ok(Response::new(stream::iter([shown(at_rest), shown(off)]).boxed()));
        }
        if at_rest.name == "m1" {
            let asked = self.asked.lock().clone();
            let (underway, done) = if asked.verb() == ProvisionVerb::Adopt {
                (busy(at_rest.clone(), "adopting"), adopted(at_rest, &asked.image))
            } else {
                (busy(at_rest.clone(), "inspect wait"), inspected(at_rest))
            };
            return Ok(Response::new(stream::iter([shown(underway), shown(done)]).boxed()));
        }
        let underway = deploying(at_rest.clone(), 41);
        let coming: Coming<_> = match at_rest.name.as_str() {
            "slow" => stream::iter([shown(underway)]).chain(stream::pending()).boxed(),
            // The first replica shows the node as it was before the request, then stops.
            "n1" if self.watched.fetch_add(1, Ordering::Relaxed) == 0 => {
                stream::iter([shown(at_rest), shown(underway)]).boxed()
            }
            "n1" => stream::iter([shown(Node { revision: 130, ..at_rest })]).boxed(),
            _ => stream::iter([shown(underway), shown(at_rest)])
                .then(async |shown| {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    shown
                })
                .boxed(),
        };
        Ok(Response::new(coming))
    }

    type WatchNodesStream = Coming<WatchNodesResponse>;

    /// One that stops after the first change, and another that goes on from there and says why it ends.
    async fn watch_nodes(&self, request: Request<WatchNodesRequest>) -> Answer<Self::WatchNodesStream> {
        let request = request.into_inner();
        let said = |revision, news| Ok(WatchNodesResponse { revision, incarnation: 1, news: Some(news) });
        let settled = || News::Settled(watch_nodes_response::Settled {});
        let mut coming = if request.since_revision == 0 {
            let states = request.selector.unwrap_or_default().states;
            assert_eq!(states, ["active", "deploy failed"], "what was asked for");
            vec![
                said(0, News::Begin(watch_nodes_response::Begin {})),
                said(0, News::Node(node("n1", 1))),
                said(0, News::Node(failed(node("n2", 2)))),
                said(120, settled()),
                said(120, News::Node(deploying(node("n1", 1), 41))),
            ]
        } else {
            assert_eq!((request.since_revision, request.since_incarnation), (120, 1), "where it goes on");
            vec![said(120, News::Gone(node("n2", 2).id)), said(130, settled())]
        };
        coming.push(Err(match request.since_revision {
            0 => Status::unavailable("it stops"),
            _ => Status::failed_precondition("the end of the test"),
        }));
        Ok(Response::new(stream::iter(coming).boxed()))
    }
}

#[tonic::async_trait]
impl BulkService for Canned {
    async fn create_bulk(&self, request: Request<CreateBulkRequest>) -> Answer<CreateBulkResponse> {
        assert!(request.metadata().get("ironmesh-request-id").is_some(), "it names no request");
        let CreateBulkRequest { selector, verb, image, count, limits, config_drive: _ } = request.into_inner();
        let classes = selector.unwrap_or_default().resource_classes;
        assert_eq!(
            (verb, image.as_str(), count, classes),
            (ProvisionVerb::Deploy.into(), "debian", 2, vec!["big".to_owned()])
        );
        assert_eq!(limits.unwrap_or_default().canary, 1);
        Ok(Response::new(CreateBulkResponse { bulk: Some(bulk(0, BulkState::Running)) }))
    }

    /// It has ended when it is asked for the third time.
    async fn get_bulk(&self, _: Request<GetBulkRequest>) -> Answer<GetBulkResponse> {
        let shown = match self.watched.fetch_add(1, Ordering::Relaxed) {
            0 => bulk(0, BulkState::Running),
            1 => bulk(1, BulkState::Running),
            _ => bulk(2, BulkState::Done),
        };
        Ok(Response::new(GetBulkResponse { bulk: Some(shown) }))
    }

    async fn list_bulks(&self, _: Request<ListBulksRequest>) -> Answer<ListBulksResponse> {
        not_here()
    }

    async fn pause_bulk(&self, _: Request<PauseBulkRequest>) -> Answer<PauseBulkResponse> {
        not_here()
    }

    async fn resume_bulk(&self, _: Request<ResumeBulkRequest>) -> Answer<ResumeBulkResponse> {
        not_here()
    }

    async fn cancel_bulk(&self, _: Request<CancelBulkRequest>) -> Answer<CancelBulkResponse> {
        not_here()
    }
}

#[tonic::async_trait]
impl ImageService for Canned {
    async fn create_image(&self, request: Request<CreateImageRequest>) -> Answer<CreateImageResponse> {
        let CreateImageRequest { name, url, digest, encoding, purpose, unpacked_size } = request.into_inner();
        let image = Image {
            id: "id".to_owned(),
            name,
            url,
            digest,
            encoding,
            purpose,
            unpacked_size,
            etag: "\"9\"".to_owned(),
        };
        Ok(Response::new(CreateImageResponse { image: Some(image) }))
    }

    async fn get_image(&self, _: Request<GetImageRequest>) -> Answer<GetImageResponse> {
        not_here()
    }

    async fn list_images(&self, _: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        not_here()
    }

    async fn delete_image(&self, _: Request<DeleteImageRequest>) -> Answer<DeleteImageResponse> {
        not_here()
    }
}

#[tonic::async_trait]
impl RackService for Canned {
    async fn create_rack(&self, _: Request<CreateRackRequest>) -> Answer<CreateRackResponse> {
        not_here()
    }

    async fn get_rack(&self, _: Request<GetRackRequest>) -> Answer<GetRackResponse> {
        let replica = |service: ServiceKind, port, leader, stopping| Replica {
            service: service.into(),
            instance: "3f2a77aa-0000-4000-8000-000000000001".to_owned(),
            endpoint: format!("10.77.2.2:{port}"),
            leader,
            stopping,
            owns: 2,
            join_time: time(BEGIN),
            acknowledged: 40,
            host: "h1".to_owned(),
        };
        let rack = Rack {
            id: "00000000-0000-4000-8000-000000000500".to_owned(),
            name: "r1".to_owned(),
            subnet: "10.77.1.0/24".to_owned(),
            first_address: "10.77.1.100".to_owned(),
            last_address: "10.77.1.199".to_owned(),
            server_identifier: "10.77.1.1".to_owned(),
            kernel: "agent-kernel".to_owned(),
            ramdisk: "agent-ramdisk".to_owned(),
            replicas: vec![
                replica(ServiceKind::Power, 7001, true, false),
                replica(ServiceKind::Pxe, 7002, false, true),
            ],
            rings: vec![Ring {
                service: ServiceKind::Power.into(),
                epoch: 41,
                update_time: time(BEGIN),
                leader: "3f2a77aa-0000-4000-8000-000000000001".to_owned(),
                leaving: vec![Leaving {
                    instance: "5b00aa11-0000-4000-8000-000000000002".to_owned(),
                    leave_time: time(BEGIN),
                    present: false,
                }],
            }],
            unknown_macs: vec![UnknownMac {
                mac: "52:54:00:00:00:77".to_owned(),
                last_request_time: time(BEGIN),
                firmware: "PXE (BIOS)".to_owned(),
            }],
            ..Default::default()
        };
        Ok(Response::new(GetRackResponse { rack: Some(rack) }))
    }

    async fn list_racks(&self, _: Request<ListRacksRequest>) -> Answer<ListRacksResponse> {
        not_here()
    }

    async fn update_rack(&self, _: Request<UpdateRackRequest>) -> Answer<UpdateRackResponse> {
        not_here()
    }

    async fn delete_rack(&self, _: Request<DeleteRackRequest>) -> Answer<DeleteRackResponse> {
        not_here()
    }
}

#[tonic::async_trait]
impl EventService for Canned {
    type WatchEventsStream = Coming<WatchEventsResponse>;

    async fn watch_events(&self, _: Request<WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        let event = Event {
            occur_time: time(BEGIN),
            node_name: "n1".to_owned(),
            kind: "STATE".to_owned(),
            text: "active".to_owned(),
            ..Default::default()
        };
        let remembered = stream::iter([Ok(WatchEventsResponse { event: Some(event) })]);
        Ok(Response::new(remembered.chain(stream::pending()).boxed()))
    }
}
