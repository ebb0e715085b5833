//! Decides, and sees it through: the public API, and the life of every node.
//!
//! Any replica accepts a request: it runs `domain::provision::step` and stores state, intent and operation together.
//! The node's owner carries it out: [`work`] makes passes (`domain::plan`), [`effect`] turns one act into one call of a
//! leaf. [`hot`] holds what the leaves stream; [`record`] keeps it; [`board`] knows what changed of nodes; [`bulk`]
//! asks many nodes; [`allocation`]
//! finds one for whoever wants one; [`once`] keeps requests from being carried out twice; [`witness`] tells what the
//! mesh does by itself; [`registry`] reads and changes
//! records, [`provision`] what clients ask of a node's life; [`grpc`] is the face, and [`rest`] the one for Ironic's clients, who are known by [`auth`]; [`access`] says
//! who may call what over gRPC; [`audit`] tells who changed
//! what, and [`outward`] asks servers that others run.

mod access;
mod allocation;
mod audit;
mod auth;
mod board;
mod bulk;
mod config;
mod effect;
mod error;
mod grpc;
mod hot;
mod lines;
mod metrics;
mod once;
mod outward;
mod peers;
mod provision;
mod record;
mod registry;
mod rest;
mod select;
mod stale;
mod witness;
mod work;

pub use config::{Config, Jwt, Keystone, RestTls, Scheduler};
pub use error::Error;

use std::sync::Arc;

use domain::service::Service;
use proto::api::v1::{
    allocation_service_server::AllocationServiceServer, bulk_service_server::BulkServiceServer,
    event_service_server::EventServiceServer, image_service_server::ImageServiceServer,
    lock_service_server::LockServiceServer, node_service_server::NodeServiceServer,
    operation_service_server::OperationServiceServer, rack_service_server::RackServiceServer,
    webhook_service_server::WebhookServiceServer,
};
use proto::scheduler::v1::scheduler_service_server::SchedulerServiceServer;
use service_kit::{Kit, serve};
use tonic::service::Routes;

/// Runs until the kit's host stops.
///
/// # Errors
/// It can not begin.
pub async fn run(config: Config, kit: Kit) -> Result<(), Error> {
    metrics::describe();
    let bound = kit.bind().await?;
    let endpoints = mesh::Endpoints { endpoint: bound.endpoint.clone(), ..mesh::Endpoints::default() };
    let joined = Box::pin(mesh::join(&kit, Service::Scheduler, endpoints)).await?;
    let shared = Arc::new(grpc::Shared {
        registry: registry::Registry::new(joined.mesh.clone(), joined.sealer.clone()),
        hot: hot::Hot::default(),
        unkept: record::Unkept::default(),
        board: Arc::new(board::Board::new(joined.mesh.view().clone())),
        shelf: Arc::new(rest::Shelf::new(joined.mesh.view().clone())),
        lines: lines::Lines::new(kit.tls.clone(), joined.mesh.view().clone()),
        limits: config.scheduler.limits(),
        host: kit.host.clone(),
    });
    kit.host.spawn_essential("listening to leaves", hot::listen(Arc::clone(&shared)));
    kit.host.spawn_essential("listening to the other schedulers", peers::listen(Arc::clone(&shared)));
    kit.host.spawn_essential("events of the mesh", witness::tell(Arc::clone(&shared)));
    kit.host.spawn_essential("work", work::run(Arc::clone(&shared)));
    kit.host.spawn_essential("keeping timelines", record::keep(Arc::clone(&shared)));
    kit.host.spawn_essential("what nodes become", Arc::clone(&shared.board).keep(kit.host.clone()));
    kit.host.spawn_essential("allocations", allocation::sweep(Arc::clone(&shared)));
    kit.host.spawn_essential("bulks", bulk::carry(Arc::clone(&shared)));
    kit.host.spawn_essential("forgetting requests", once::sweep(Arc::clone(&shared)));
    let rest = serve::bind("scheduler.rest", config.scheduler.rest).await?;
    service_kit::run::write_address_file(&kit.common.data, "rest", rest.local_addr().ok());
    let auth = auth::Auth::open(&config.scheduler).map_err(Error::Auth)?;
    let door = rest::Door::open(rest, &config.scheduler).map_err(Error::Auth)?;
    kit.host.spawn_essential("the REST API", rest::serve(kit.host.clone(), door, Arc::clone(&shared), auth));
    let routes = Routes::new(NodeServiceServer::from_arc(Arc::clone(&shared)))
        .add_service(AllocationServiceServer::from_arc(Arc::clone(&shared)))
        .add_service(BulkServiceServer::from_arc(Arc::clone(&shared)))
        .add_service(ImageServiceServer::from_arc(Arc::clone(&shared)))
        .add_service(RackServiceServer::from_arc(Arc::clone(&shared)))
        .add_service(OperationServiceServer::from_arc(Arc::clone(&shared)))
        .add_service(LockServiceServer::from_arc(Arc::clone(&shared)))
        .add_service(SchedulerServiceServer::from_arc(Arc::clone(&shared)))
        .add_service(WebhookServiceServer::from_arc(Arc::clone(&shared)))
        .add_service(EventServiceServer::from_arc(Arc::clone(&shared)));
    let routes = stale::marked(audit::recorded(routes), joined.mesh.clone());
    let health = kit.serve(bound, routes, access::RULES, proto::DESCRIPTORS).await;
    kit.host.spawn(joined.mesh.report_health(health, kit.host.clone()));
    kit.host.stopping().await;
    Ok(())
}
