//! Stores the hardware of nodes and is the only service that agents call.
//!
//! An agent authenticates once, with the boot token of its boot, and is identified by its TLS key afterwards
//! ([`agent`], [`agent_api`]). Agents that use Ironic's protocol have their own listener ([`ironic`]). Hardware reports
//! are stored ([`report`]); heartbeats are only streamed to watchers ([`heartbeats`]).

mod agent;
mod agent_api;
mod api;
mod config;
mod error;
mod heartbeats;
mod ironic;
mod metrics;
mod report;

pub use config::{Config, Inventory};
pub use error::Error;

use domain::service::Service;
use proto::{
    agent::v1::agent_service_server::AgentServiceServer,
    inventory::v1::inventory_service_server::InventoryServiceServer,
};
use service_kit::{
    Kit,
    listener::ListenerKind,
    outbound_http::Outbound,
    serve::{self, GrpcListener, Rule, schedulers},
    timeline::Timeline,
    tls::{Identity, Realm},
};
use tonic::service::Routes;

/// Which callers may call which methods of the listener for services.
const RULES: &[Rule] = &[
    Rule::new("/ironmesh.inventory.v1.InventoryService/GetInventory", schedulers),
    Rule::new("/ironmesh.inventory.v1.InventoryService/AnswerAgent", schedulers),
    Rule::new("/ironmesh.inventory.v1.InventoryService/WatchAgents", schedulers),
];
/// Any agent may call the listener for agents; it authenticates with the boot token.
const AGENT_RULES: &[Rule] = &[
    Rule::new("/ironmesh.agent.v1.AgentService/Hello", any_agent),
    Rule::new("/ironmesh.agent.v1.AgentService/Report", any_agent),
    Rule::new("/ironmesh.agent.v1.AgentService/Work", any_agent),
];

fn any_agent(_: Option<&Identity>, _: &str) -> bool {
    true
}

/// Runs the service until the host stops.
///
/// # Errors
/// [`Error`] if the service cannot start.
pub async fn run(config: Config, kit: Kit) -> Result<(), Error> {
    metrics::describe();
    let bound = kit.bind().await?;
    let agent_socket = serve::bind("inventory.agents", config.inventory.agents).await?;
    let address = agent_socket.local_addr().unwrap_or(config.inventory.agents);
    service_kit::run::write_address_file(&kit.common.data, "agents", Some(address));
    let ironic_socket = serve::bind("inventory.ironic", config.inventory.ironic).await?;
    let ironic_address = ironic_socket.local_addr().unwrap_or(config.inventory.ironic);
    service_kit::run::write_address_file(&kit.common.data, "ironic", Some(ironic_address));
    let endpoints = mesh::Endpoints {
        endpoint: bound.endpoint.clone(),
        data_endpoint: address.to_string(),
        ironic_endpoint: ironic_address.to_string(),
    };
    let joined = Box::pin(mesh::join(&kit, Service::Inventory, endpoints)).await?;
    let membership = joined.mesh.clone();
    let timeline = Timeline::new(format!("inventory-service at {}", address.ip()));
    let heartbeats = heartbeats::Heartbeats::default();
    let agents = agent::Agents {
        rack: joined.rack()?,
        mesh: joined.mesh.clone(),
        sealer: joined.sealer.clone(),
        timeline: timeline.clone(),
        heartbeats: heartbeats.clone(),
        host: kit.host.clone(),
    };
    let tls = kit.tls.clone();
    let agent_listener = GrpcListener {
        name: "agents",
        purpose: ListenerKind::AgentGrpc,
        tls: std::sync::Arc::new(move || tls.server_for_agents()),
        revocations: None,
        realm: Realm::default(),
        tokens: None,
        routes: Routes::new(AgentServiceServer::new(agent_api::AgentApi { agents: agents.clone() })).prepare(),
        rules: AGENT_RULES.into(),
        rack: kit.common.rack.as_str().into(),
        limits: kit.common.http.clone(),
        budget: kit.budget.clone(),
    };
    kit.host.spawn_essential("agents", serve::accept(kit.host.clone(), agent_socket, agent_listener));
    let ironic = ironic::Ironic::new(agents, Outbound::default());
    let listener = kit.listener(ListenerKind::AgentHttp);
    kit.host.spawn_essential("ironic", ironic::http::serve(kit.host.clone(), ironic_socket, listener, ironic.clone()));
    let routes = Routes::new(InventoryServiceServer::new(api::Api { ironic, timeline, heartbeats }));
    let health = kit.serve(bound, routes, RULES, proto::DESCRIPTORS).await;
    kit.host.spawn(membership.report_health(health, kit.host.clone()));
    kit.host.stopping().await;
    Ok(())
}
