//! Hosts, join tokens and the status, against canned answers.

use std::sync::atomic::{AtomicU32, Ordering};

use proto::api::v1::{
    host::HostService as WireService, host_service_server::HostService, status_service_server::StatusService, *,
};
use tonic::{Request, Response, Status};

use super::{
    canned::{BEGIN, NOW, time},
    code,
    fake::Fake,
    golden, of_width,
};

/// A host of rack r7.
fn host(name: &str, state: HostState, owns: u32) -> Host {
    let is_up = matches!(state, HostState::Ready | HostState::Draining);
    let service = |kind: ServiceKind, rack: &str, port: u16| WireService {
        service: kind.into(),
        rack: rack.to_owned(),
        instance: if is_up { "3f2a77aa-0000-4000-8000-000000000001".to_owned() } else { String::new() },
        endpoint: if is_up { format!("10.0.0.11:{port}") } else { String::new() },
        owns: if is_up { owns } else { 0 },
        join_time: time(BEGIN).filter(|_| is_up),
    };
    let mut services = vec![
        service(ServiceKind::Power, "r7", 7400),
        service(ServiceKind::Pxe, "r7", 7401),
        service(ServiceKind::Storage, "r7", 7402),
        service(ServiceKind::Inventory, "r7", 7403),
    ];
    services.extend((name == "h1").then(|| service(ServiceKind::Scheduler, "", 7390)));
    let is_drained = matches!(state, HostState::Draining | HostState::Drained);
    Host {
        name: name.to_owned(),
        advertise: "10.0.0.11".to_owned(),
        state: state.into(),
        services,
        store: true,
        authority: name == "h1",
        weight: 100,
        join_time: time(BEGIN),
        drained_by: if is_drained { "operator ann".to_owned() } else { String::new() },
        drain_time: time(BEGIN).filter(|_| is_drained),
    }
}

fn token() -> JoinToken {
    JoinToken {
        id: "00000000-0000-4000-8000-000000000701".to_owned(),
        rack: "r7".to_owned(),
        services: vec![ServiceKind::Power.into(), ServiceKind::Pxe.into()],
        store: true,
        scheduler: false,
        uses: 2,
        hosts: vec!["h3".to_owned()],
        created_by: "operator ann".to_owned(),
        expire_time: time(NOW + 86_400_000),
    }
}

/// Answers about hosts. A host that is waited for is read three times.
#[derive(Debug, Default)]
pub(super) struct CannedFleet {
    reads: AtomicU32,
    /// Whether a host was removed.
    removed: AtomicU32,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl HostService for CannedFleet {
    async fn list_hosts(&self, _: Request<ListHostsRequest>) -> Answer<ListHostsResponse> {
        let hosts =
            vec![host("h1", HostState::Ready, 20), host("h2", HostState::Down, 0), host("h3", HostState::Drained, 0)];
        Ok(Response::new(ListHostsResponse { hosts }))
    }

    async fn get_host(&self, request: Request<GetHostRequest>) -> Answer<GetHostResponse> {
        let name = request.into_inner().host;
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        let shown = match (name.as_str(), reads) {
            ("h1", _) => host("h1", HostState::Ready, 20),
            ("h4", 0) => host("h4", HostState::Draining, 7),
            ("h4", 1) => return Err(Status::unavailable("it stops")),
            ("h4", 2) => host("h4", HostState::Draining, 3),
            ("h4", _) => host("h4", HostState::Drained, 0),
            ("h5", _) if self.removed.load(Ordering::Relaxed) == 0 || reads < 2 => host("h5", HostState::Removing, 0),
            _ => return Err(Status::not_found("there is no host; see: ironmesh host list")),
        };
        Ok(Response::new(GetHostResponse { host: Some(shown) }))
    }

    async fn drain_host(&self, request: Request<DrainHostRequest>) -> Answer<DrainHostResponse> {
        let DrainHostRequest { host: name, force } = request.into_inner();
        if name == "h1" && !force {
            return Err(Status::failed_precondition("host h1 is the only one"));
        }
        Ok(Response::new(DrainHostResponse { host: Some(host(&name, HostState::Draining, 7)) }))
    }

    async fn undrain_host(&self, request: Request<UndrainHostRequest>) -> Answer<UndrainHostResponse> {
        let name = request.into_inner().host;
        Ok(Response::new(UndrainHostResponse { host: Some(host(&name, HostState::Ready, 0)) }))
    }

    async fn remove_host(&self, _: Request<RemoveHostRequest>) -> Answer<RemoveHostResponse> {
        self.removed.store(1, Ordering::Relaxed);
        Ok(Response::new(RemoveHostResponse {}))
    }

    async fn create_join_token(&self, request: Request<CreateJoinTokenRequest>) -> Answer<CreateJoinTokenResponse> {
        let request = request.into_inner();
        assert_eq!((request.rack.as_deref(), request.services.len(), request.uses), (Some("r7"), 2, 2));
        assert_eq!(request.lifetime.map(|lifetime| lifetime.seconds), Some(86_400));
        let (secret, authority) = ("ironmesh-join-1.c2VjcmV0".to_owned(), "10.0.0.11:7380".to_owned());
        Ok(Response::new(CreateJoinTokenResponse { token: Some(token()), secret, authority }))
    }

    async fn list_join_tokens(&self, _: Request<ListJoinTokensRequest>) -> Answer<ListJoinTokensResponse> {
        Ok(Response::new(ListJoinTokensResponse { tokens: vec![token()] }))
    }

    async fn delete_join_token(&self, _: Request<DeleteJoinTokenRequest>) -> Answer<DeleteJoinTokenResponse> {
        Ok(Response::new(DeleteJoinTokenResponse {}))
    }
}

fn status(is_sick: bool) -> DatacenterStatus {
    let service = |kind: ServiceKind, running, led| RackServiceStatus { service: kind.into(), running, led };
    let count = |state: &str, nodes| NodeCount { state: state.to_owned(), nodes };
    let scheduler = |host: &str, leader| SchedulerStatus {
        instance: "3f2a77aa-0000-4000-8000-000000000001".to_owned(),
        endpoint: "10.0.0.11:7390".to_owned(),
        host: host.to_owned(),
        leader,
        stopping: false,
    };
    let problem = |severity: Severity, reason: &str, subject: &str, text: &str, next_step: &str| Problem {
        severity: severity.into(),
        reason: reason.to_owned(),
        subject: subject.to_owned(),
        text: text.to_owned(),
        next_step: next_step.to_owned(),
    };
    let running = if is_sick { 1 } else { 2 };
    let next = "ironmesh token create --rack r7";
    let mut problems = vec![
        problem(Severity::Error, "HOST_DOWN", "host h2", "none of its services runs for 90 s", "bring it up"),
        problem(Severity::Error, "RACK_WITHOUT_SERVICE", "rack r7", "nothing runs its storage-service", next),
        problem(Severity::Warning, "RACK_SINGLE_HOST", "rack r7", "one host alone runs its power-service", next),
    ];
    if !is_sick {
        problems.clear();
    }
    let states = [HostState::Ready, if is_sick { HostState::Down } else { HostState::Ready }];
    DatacenterStatus {
        datacenter: "fra1".to_owned(),
        racks: vec![RackStatus {
            name: "r7".to_owned(),
            hosts: vec!["h1".to_owned(), "h2".to_owned()],
            services: vec![
                service(ServiceKind::Power, running, true),
                service(ServiceKind::Pxe, running, !is_sick),
                service(ServiceKind::Storage, if is_sick { 0 } else { 2 }, !is_sick),
                service(ServiceKind::Inventory, running, true),
            ],
            nodes: vec![count("active", 180), count("deploy failed", 2)],
        }],
        hosts: ["h1", "h2"].into_iter().zip(states).map(|(name, state)| host(name, state, 20)).collect(),
        schedulers: vec![scheduler("h1", true), scheduler("h2", false)],
        store: Some(StoreStatus {
            usable: !is_sick,
            reason: if is_sick { "etcd does not answer".to_owned() } else { String::new() },
            unusable_time: time(BEGIN).filter(|_| is_sick),
            revision: 4711,
            hosts: vec!["h1".to_owned()],
        }),
        problems,
    }
}

#[tonic::async_trait]
impl StatusService for CannedFleet {
    /// The datacenter is sick when a host was removed.
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        let status = status(self.removed.load(Ordering::Relaxed) > 0);
        Ok(Response::new(GetStatusResponse { status: Some(status) }))
    }
}

/// Runs a command on a terminal of 80 columns, and compares what it shows.
async fn shows(fake: &Fake, words: &str, name: &str) {
    let words: Vec<_> = words.split(' ').collect();
    let ended = of_width(&fake.context, &words, 80).await;
    golden(name, &ended.answers);
    let is_command = |line: &&str| line.trim_start().starts_with("ironmesh ");
    let widest = ended.answers.lines().filter(|line| !is_command(line)).map(|line| line.chars().count()).max();
    assert!(widest.unwrap_or(0) <= 80, "{}", ended.answers);
}

#[tokio::test]
async fn hosts_tokens_and_the_status_fit_a_narrow_terminal() {
    let fake = Fake::serve().await;
    shows(&fake, "host list", "host-list.txt").await;
    shows(&fake, "host show h1", "host-show.txt").await;
    shows(&fake, "token create --rack r7 --services power,pxe-service --store --uses 2", "token-create.txt").await;
    shows(&fake, "token list", "token-list.txt").await;
    shows(&fake, "status", "status-healthy.txt").await;
}

#[tokio::test]
async fn the_status_of_a_sick_datacenter_is_a_failure_with_what_to_do() {
    let fake = Fake::serve().await;
    assert_eq!(of_width(&fake.context, &["status"], 80).await.code, code(0));
    of_width(&fake.context, &["host", "remove", "h5"], 80).await;
    shows(&fake, "status", "status-sick.txt").await;
    let ended = of_width(&fake.context, &["status", "-o", "json"], 80).await;
    assert_eq!(ended.code, code(1));
    let status: serde_json::Value = serde_json::from_str(&ended.answers).unwrap();
    assert_eq!(status.pointer("/problems/1/reason").unwrap(), "RACK_WITHOUT_SERVICE");
    assert_eq!(status.pointer("/racks/0/nodes/0/nodes").unwrap(), 180);
}

#[tokio::test]
async fn a_drain_is_waited_for_with_the_nodes_that_are_left_though_a_replica_stops() {
    let fake = Fake::serve().await;
    let ended = of_width(&fake.context, &["host", "drain", "h4", "--wait"], 80).await;
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    assert!(ended.answers.starts_with("h4: drained after "), "{}", ended.answers);
    for nodes in [7, 3] {
        let left =
            format!("inventory-service {nodes}, power-service {nodes}, pxe-service {nodes}, storage-service {nodes}\n");
        assert!(ended.remarks.contains(&format!("h4: draining; nodes left: {left}")), "{}", ended.remarks);
    }
    let ended = of_width(&fake.context, &["host", "drain", "h1"], 80).await;
    assert_eq!(ended.code, code(1), "{}", ended.remarks);
    let ended = of_width(&fake.context, &["host", "drain", "h1", "--force", "-o", "name"], 80).await;
    assert_eq!((ended.code, ended.answers.as_str()), (code(0), "h1\n"));
}

#[tokio::test]
async fn a_removal_is_waited_for_until_the_host_is_gone() {
    let fake = Fake::serve().await;
    let ended = of_width(&fake.context, &["host", "remove", "h5"], 80).await;
    assert_eq!((ended.code, ended.answers.as_str()), (code(0), "h5: removed\n"), "{}", ended.remarks);
}

#[tokio::test]
async fn a_new_token_is_written_for_programs_with_its_secret_and_the_list_without() {
    let fake = Fake::serve().await;
    let words = ["token", "create", "--rack", "r7", "--services", "power,pxe", "--uses", "2", "-o", "json"];
    let made: serde_json::Value = serde_json::from_str(&of_width(&fake.context, &words, 80).await.answers).unwrap();
    assert_eq!(made["token"], "ironmesh-join-1.c2VjcmV0");
    assert_eq!(made["command"], "ironmesh join 10.0.0.11:7380 --token ironmesh-join-1.c2VjcmV0 --store");
    let listed = of_width(&fake.context, &["token", "list", "-o", "json"], 80).await.answers;
    assert!(!listed.contains("c2VjcmV0"), "{listed}");
    let name = of_width(&fake.context, &["token", "list", "-o", "name"], 80).await.answers;
    assert_eq!(name, "00000000-0000-4000-8000-000000000701\n");
}

#[test]
fn a_token_that_allows_nothing_or_what_does_not_exist_is_refused() {
    use clap::Parser as _;
    for words in [
        "token create",
        "token create --services power",
        "token create --rack r7 --services scheduler",
        "token create --rack r7 --services power,dhcp",
        "token create --rack r7 --uses 0",
        "token create --rack r7 --uses 1001",
        "token create --rack r7 --expires soon",
        "host drain",
        "host remove h1 --wait",
    ] {
        assert!(super::Tree::try_parse_from(["ironmesh"].into_iter().chain(words.split(' '))).is_err(), "{words}");
    }
    for words in ["token create --store", "token create --scheduler --expires 90s", "host drain h1 --wait --timeout 1h"]
    {
        assert!(super::Tree::try_parse_from(["ironmesh"].into_iter().chain(words.split(' '))).is_ok(), "{words}");
    }
}
