//! Knows what every node is, and is the agents' door: the only service that a ramdisk can talk to.
//!
//! An agent proves itself once, with the boot token that came with its boot, and is known by its TLS key from then on
//! ([`agent`]); one that speaks Ironic's protocol has a door of its own ([`ironic`]). What an agent reports is kept
//! ([`report`]); its progress is hot and goes to whoever watches ([`census`]).

mod agent;
mod api;
mod census;
mod config;
mod door;
mod error;
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
    serve::{self, GrpcListener, Rule, schedulers},
    timeline::Timeline,
    tls::Identity,
};
use tonic::service::Routes;

/// Who may call what at the inner door.
const RULES: &[Rule] = &[Rule { path: "/ironmesh.inventory.v1.InventoryService/", allows: schedulers }];
/// At the agents' door anybody may knock; the boot token opens.
const AGENT_RULES: &[Rule] = &[Rule { path: "/ironmesh.agent.v1.AgentService/", allows: anybody }];

fn anybody(_: Option<&Identity>, _: &str) -> bool {
    true
}

/// Runs until the kit's host stops.
///
/// # Errors
/// It can not begin.
pub async fn run(config: Config, kit: Kit) -> Result<(), Error> {
    metrics::describe();
    let bound = kit.bind().await?;
    let outer = serve::bind("inventory.agents", config.inventory.agents).await?;
    let address = outer.local_addr().unwrap_or(config.inventory.agents);
    service_kit::run::write_address_file(&kit.common.data, "agents", Some(address));
    let ironics = serve::bind("inventory.ironic", config.inventory.ironic).await?;
    let ironic_address = ironics.local_addr().unwrap_or(config.inventory.ironic);
    service_kit::run::write_address_file(&kit.common.data, "ironic", Some(ironic_address));
    let endpoints = mesh::Endpoints {
        endpoint: bound.endpoint.clone(),
        data_endpoint: address.to_string(),
        ironic_endpoint: ironic_address.to_string(),
    };
    let joined = Box::pin(mesh::join(&kit, Service::Inventory, endpoints)).await?;
    let membership = joined.mesh.clone();
    let timeline = Timeline::new(format!("inventory-service at {}", address.ip()));
    let census = census::Census::default();
    let agents = agent::Agents {
        rack: joined.rack()?,
        mesh: joined.mesh.clone(),
        sealer: joined.sealer.clone(),
        timeline: timeline.clone(),
        census: census.clone(),
        host: kit.host.clone(),
    };
    let tls = kit.tls.clone();
    let door = GrpcListener {
        name: "agents",
        tls: std::sync::Arc::new(move || tls.server_for_agents()),
        routes: Routes::new(AgentServiceServer::new(door::Outer { agents: agents.clone() })).prepare(),
        rules: AGENT_RULES.into(),
        rack: kit.common.rack.as_str().into(),
    };
    kit.host.spawn_essential("agents", serve::accept(kit.host.clone(), outer, door));
    let ironic = ironic::Ironic::new(agents);
    kit.host.spawn_essential("ironic", ironic::door::serve(kit.host.clone(), ironics, ironic.clone()));
    let routes = Routes::new(InventoryServiceServer::new(api::Api { ironic, timeline, census }));
    let health = kit.serve(bound, routes, RULES, proto::DESCRIPTORS).await;
    kit.host.spawn(membership.tell(health, kit.host.clone()));
    kit.host.stopping().await;
    Ok(())
}
