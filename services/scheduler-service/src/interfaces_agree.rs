//! REST, gRPC and bulk decide alike: every verb is asked of nodes in every state, of every driver, and under every
//! condition that a decision depends on. All of them over one scheduler and an in-memory store.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use api_auth::{AuthConfig, Authenticator};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request as HttpRequest, StatusCode},
};
use domain::{
    driver::Driver,
    provision::{Phase, Stage, State, Verb},
};
use keyspace::value::{ExtraFields, NodeSpec};
use proto::api::v1::{
    CreateBulkRequest, DeleteNodeRequest, NodeSelector, ProvisionNodeRequest, ProvisionVerb, Step,
    bulk_service_server::BulkService as _, node_service_server::NodeService as _,
};
use scheduler_testing::{Failure, TestNode, World};
use serde_json::{Value, json};
use service_kit::status::Failure as _;
use tonic::Request;
use tower::ServiceExt as _;

use crate::grpc::Shared;

/// The longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Verbs that a bulk can ask for.
const OF_BULK: [Verb; 8] =
    [Verb::Manage, Verb::Provide, Verb::Deploy, Verb::Rebuild, Verb::Undeploy, Verb::Inspect, Verb::Abort, Verb::Adopt];

/// What an interface made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Decision {
    Accepted,
    /// The state does not allow it.
    State,
    Protected,
    Maintenance,
    Retired,
    Unsupported,
    NoNetworkBoot,
    HasInstance,
}

impl Decision {
    /// The reason that a refusal gives in words.
    fn of(text: &str) -> Option<Self> {
        let reasons = [
            ("Can not delete node", Self::State),
            ("a node in state", Self::State),
            ("can not be performed", Self::State),
            ("boot from the network", Self::NoNetworkBoot),
            ("does not have any port", Self::NoNetworkBoot),
            ("protected", Self::Protected),
            ("in maintenance", Self::Maintenance),
            ("retired", Self::Retired),
            ("does not support", Self::Unsupported),
            ("associated with", Self::HasInstance),
        ];
        reasons.iter().find(|(words, _)| text.contains(words)).map(|(_, reason)| *reason)
    }
}

/// One scheduler, with its interfaces.
struct Interfaces {
    world: World,
    rest: Router,
    grpc: Shared,
}

impl Interfaces {
    async fn up() -> Result<Self, Failure> {
        let world = World::up().await?;
        let authenticator = Authenticator::open(&AuthConfig::default())?;
        let rest = ironic_api::router(Arc::clone(&world.app), authenticator);
        let grpc = Shared::new(Arc::clone(&world.app));
        Ok(Self { world, rest, grpc })
    }

    async fn rest(&self, method: &str, path: &str, body: Option<Value>) -> Result<Decision, Failure> {
        let request = HttpRequest::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("X-OpenStack-Ironic-API-Version", "1.115")
            .header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let answer = self.rest.clone().oneshot(request.body(body)?).await?;
        if matches!(answer.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(Decision::Accepted);
        }
        let (status, body) = (answer.status(), to_bytes(answer.into_body(), MAX_ANSWER_BYTES).await?);
        let text = String::from_utf8_lossy(&body);
        Decision::of(&text).ok_or_else(|| format!("{method} {path}: {status}: {text}").into())
    }

    async fn over_rest(&self, node: &TestNode, verb: Verb) -> Result<Decision, Failure> {
        let steps = json!([{"interface": "deploy", "step": "erase_devices"}]);
        let body = match verb {
            Verb::Clean => json!({"target": "clean", "clean_steps": steps}),
            Verb::Service => json!({"target": "service", "service_steps": steps}),
            Verb::Rescue => json!({"target": "rescue", "rescue_password": "secret"}),
            Verb::Deploy => json!({"target": "active"}),
            Verb::Undeploy => json!({"target": "deleted"}),
            Verb::Manage
            | Verb::Provide
            | Verb::Rebuild
            | Verb::Inspect
            | Verb::Abort
            | Verb::Adopt
            | Verb::Unrescue
            | Verb::Unhold => json!({"target": verb.to_string()}),
        };
        self.rest("PUT", &format!("nodes/{}/states/provision", node.id), Some(body)).await
    }

    async fn over_grpc(&self, node: &TestNode, verb: Verb) -> Result<Decision, Failure> {
        let step = || Step { interface: "deploy".to_owned(), step: "erase_devices".to_owned() };
        let request = ProvisionNodeRequest {
            node: node.id.to_string(),
            verb: ProvisionVerb::from(verb).into(),
            image: if matches!(verb, Verb::Deploy | Verb::Rebuild) { "disk".to_owned() } else { String::new() },
            steps: if matches!(verb, Verb::Clean | Verb::Service) { vec![step()] } else { Vec::new() },
            rescue_password: if verb == Verb::Rescue { "secret".to_owned() } else { String::new() },
            ..ProvisionNodeRequest::default()
        };
        match self.grpc.provision_node(Request::new(request)).await {
            Ok(_) => Ok(Decision::Accepted),
            Err(status) => Decision::of(status.message()).ok_or_else(|| format!("gRPC {verb}: {status:?}").into()),
        }
    }

    /// What a bulk decides: whether it takes the node at all, and, as it says nothing of nodes that it leaves out, why not by
    /// the use case that it asks.
    async fn over_bulk(&self, node: &TestNode, verb: Verb) -> Result<Decision, Failure> {
        let image = if matches!(verb, Verb::Deploy) { "disk".to_owned() } else { String::new() };
        // A selector that says something of maintenance takes nodes in maintenance too.
        let in_maintenance = node.spec.maintenance.then_some(true);
        let selector =
            NodeSelector { nodes: vec![node.name()], maintenance: in_maintenance, ..NodeSelector::default() };
        let request = CreateBulkRequest {
            verb: ProvisionVerb::from(verb).into(),
            image,
            selector: Some(selector),
            ..CreateBulkRequest::default()
        };
        let registry = &self.world.app.registry;
        let record = registry.named(&node.id.to_string())?;
        let checked = registry.check(&record, verb, &[]);
        let is_taken = match self.grpc.create_bulk(Request::new(request)).await {
            Ok(_) => true,
            Err(status) if status.message().contains("of no selected node") => false,
            Err(status) => return Err(format!("bulk {verb}: {status:?}").into()),
        };
        match (is_taken, checked) {
            (true, Ok(())) => Ok(Decision::Accepted),
            (false, Err(error)) => {
                let text = service_kit::status::chain(&error);
                Decision::of(&text).ok_or_else(|| format!("{}: {text}", error.reason()).into())
            }
            (is_taken, checked) => Err(format!("a bulk takes {verb}: {is_taken}, and it is {checked:?}").into()),
        }
    }

    /// Asks each interface the same of a node that is as it says; the decision that all of them come to.
    async fn decide(&self, node: &TestNode, verb: Verb) -> Result<Decision, Failure> {
        self.world.put(node).await?;
        let rest = self.over_rest(node, verb).await?;
        self.world.put(node).await?;
        if OF_BULK.contains(&verb) {
            let bulk = self.over_bulk(node, verb).await?;
            if bulk != rest {
                return Err(format!("{verb} of {node:?}: REST {rest:?}, bulk {bulk:?}").into());
            }
        }
        let grpc = self.over_grpc(node, verb).await?;
        if grpc != rest {
            return Err(format!("{verb} of {node:?}: REST {rest:?}, gRPC {grpc:?}").into());
        }
        let (was, is) = (Some(node.state), self.world.state(node.id));
        if rest != Decision::Accepted && was != is {
            return Err(format!("{verb} of {node:?} was refused, and it is {is:?}").into());
        }
        Ok(rest)
    }
}

fn states() -> Vec<State> {
    let mut all = vec![
        State::Enroll,
        State::Verifying,
        State::Manageable,
        State::Available,
        State::DeployHold,
        State::Active,
        State::Deleting,
        State::CleanHold,
        State::Adopting,
        State::Rescue,
        State::ServiceHold,
    ];
    for stage in [Stage::Prepare, Stage::Boot, Stage::Work, Stage::Finish] {
        all.extend([
            State::Inspecting { stage },
            State::Deploying { stage },
            State::Cleaning { stage, manual: false },
            State::Cleaning { stage, manual: true },
            State::Rescuing { stage },
            State::Unrescuing { stage },
            State::Servicing { stage },
        ]);
    }
    let phases = [
        Phase::Inspect,
        Phase::Deploy,
        Phase::Delete,
        Phase::Clean,
        Phase::ManualClean,
        Phase::Adopt,
        Phase::Rescue,
        Phase::Unrescue,
        Phase::Service,
    ];
    all.extend(phases.map(|during| State::Failed { during }));
    all
}

/// A node that lacks nothing.
fn node(number: u128, driver: Driver, state: State) -> TestNode {
    let mut node = TestNode::new(number, state).with_port(Some(Ipv4Addr::new(10, 0, 0, 1)));
    node.driver = driver;
    let mut info = ExtraFields::new();
    info.set_text("image_source", "disk");
    node.spec.instance_info = Some(info);
    node
}

/// How often each decision was come to, for a test that would pass if nothing were decided.
type Tally = BTreeMap<Decision, usize>;

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_is_decided_alike_in_every_state_of_every_driver() {
    let (interfaces, mut tally) = (Interfaces::up().await.unwrap(), Tally::new());
    for driver in Driver::SERVED.iter().copied() {
        for state in states() {
            for verb in Verb::ALL.iter().copied() {
                let decision = interfaces.decide(&node(16, driver, state), verb).await.unwrap();
                *tally.entry(decision).or_default() += 1;
            }
        }
    }
    for decision in [Decision::Accepted, Decision::State, Decision::Unsupported] {
        assert!(tally.get(&decision).is_some_and(|count| *count > 4), "{tally:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_is_decided_alike_under_every_condition() {
    type Condition = fn(TestNode) -> TestNode;
    fn with(mut node: TestNode, set: fn(&mut NodeSpec)) -> TestNode {
        set(&mut node.spec);
        node
    }
    fn protect(spec: &mut NodeSpec) {
        spec.protected = true;
    }
    fn maintain(spec: &mut NodeSpec) {
        spec.maintenance = true;
    }
    let conditions: [(Condition, Decision); 8] = [
        (|node| with(node, protect), Decision::Protected),
        (|node| with(node, maintain), Decision::Maintenance),
        (|node| with(with(node, maintain), protect), Decision::Protected),
        (|node| with(node, |spec| spec.retired = true), Decision::Retired),
        (|node| with(node, |spec| spec.inspect_interface = Some("no-inspect".to_owned())), Decision::Unsupported),
        (|node| TestNode { port: None, ..node }, Decision::NoNetworkBoot),
        (|node| node.with_port(None), Decision::NoNetworkBoot),
        (|node| with(node, |spec| spec.automated_clean = Some(true)), Decision::Accepted),
    ];
    let interfaces = Interfaces::up().await.unwrap();
    for (number, (condition, expected)) in (32..).zip(conditions) {
        let mut tally = Tally::new();
        for state in states() {
            for verb in Verb::ALL.iter().copied() {
                let node = condition(node(number, Driver::Ipmi, state));
                *tally.entry(interfaces.decide(&node, verb).await.unwrap()).or_default() += 1;
            }
        }
        assert!(tally.contains_key(&expected), "condition {number}: {tally:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_removed_alike() {
    let interfaces = Interfaces::up().await.unwrap();
    let instance = Some("5b7b2a0e-93c5-4f53-a0fb-f7c2f1a2d3d4".to_owned());
    let none = NodeSpec::default();
    let conditions = [
        none.clone(),
        NodeSpec { protected: true, ..none.clone() },
        NodeSpec { maintenance: true, ..none.clone() },
        NodeSpec { maintenance: true, protected: true, ..none.clone() },
        NodeSpec { instance_uuid: instance.clone(), ..none.clone() },
        NodeSpec { instance_uuid: instance, maintenance: true, ..none },
    ];
    for state in states() {
        for spec in &conditions {
            let node = TestNode { spec: spec.clone(), ..node(48, Driver::Ipmi, state) };
            interfaces.world.put(&node).await.unwrap();
            let rest = interfaces.rest("DELETE", &format!("nodes/{}", node.id), None).await.unwrap();
            interfaces.world.put(&node).await.unwrap();
            let request = Request::new(DeleteNodeRequest { node: node.id.to_string(), ..Default::default() });
            let grpc = match interfaces.grpc.delete_node(request).await {
                Ok(_) => Decision::Accepted,
                Err(status) => Decision::of(status.message()).unwrap_or_else(|| panic!("{status:?}")),
            };
            assert_eq!(rest, grpc, "{state:?} {spec:?}");
        }
    }
}
