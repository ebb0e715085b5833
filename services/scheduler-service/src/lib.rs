//! The gRPC API of the scheduler, and the wiring of its crates: [`scheduler_core`], [`ironic_api`] and [`api_auth`].

#[cfg(test)]
mod check_order;
mod config;
mod error;
mod grpc;
#[cfg(test)]
mod interfaces_agree;
mod internal;
#[cfg(test)]
mod load_balancer;
mod stale;

pub use api_auth::{Jwt, Keystone};
pub use config::{Config, Scheduler};
pub use error::Error;
pub use ironic_api::RestTls;

use std::sync::Arc;

use api_auth::{Authenticator, audit, role_table};
use domain::service::Service;
use ironic_api::IronicWebhooks;
use proto::api::v1::{
    allocation_service_server::AllocationServiceServer, bulk_service_server::BulkServiceServer,
    caller_service_server::CallerServiceServer, event_service_server::EventServiceServer,
    host_service_server::HostServiceServer, image_service_server::ImageServiceServer,
    lock_service_server::LockServiceServer, node_service_server::NodeServiceServer,
    operation_service_server::OperationServiceServer, rack_service_server::RackServiceServer,
    status_service_server::StatusServiceServer, webhook_service_server::WebhookServiceServer,
};
use proto::scheduler::v1::scheduler_service_server::SchedulerServiceServer;
use scheduler_core::AppState;
use service_kit::{Kit, listener::ListenerKind, outbound_http::Outbound, serve};
use tonic::service::Routes;

/// Runs until the kit's host stops.
///
/// # Errors
/// An address cannot be bound, the mesh cannot be joined, or a file that the configuration names is unusable.
pub async fn run(config: Config, kit: Kit) -> Result<(), Error> {
    scheduler_core::metrics::describe();
    let mut bound = kit.bind().await?;
    let endpoints = mesh::Endpoints { endpoint: bound.endpoint.clone(), ..mesh::Endpoints::default() };
    let joined = Box::pin(mesh::join(&kit, Service::Scheduler, endpoints)).await?;
    let app = Arc::new(AppState::new(&kit, &joined, config.scheduler.limits()));
    scheduler_core::spawn_loops(&app);
    let view = joined.mesh.view().clone();
    let outbound = Outbound::new(&config.outbound)?.with_internal(move |address| internal::contains(&view, address));
    let webhooks = scheduler_core::webhooks::deliver(Arc::clone(&app), Arc::new(IronicWebhooks), outbound.clone());
    kit.host.spawn_essential("webhooks", webhooks);
    let rest = serve::bind("scheduler.rest", config.scheduler.rest).await?;
    service_kit::run::write_address_file(&kit.common.data, "rest", rest.local_addr().ok());
    let agents = config.scheduler.rest_agents.at(config.scheduler.rest.ip());
    let authenticator = Authenticator::open(&config.scheduler.auth(config.outbound))?;
    bound.tokens = authenticator.grpc_tokens();
    let listener =
        ironic_api::RestListener::open(rest, kit.listener(ListenerKind::Rest), config.scheduler.rest_tls.clone())?;
    let api = ironic_api::serve(kit.host.clone(), listener, Arc::clone(&app), authenticator, outbound, agents);
    kit.host.spawn_essential("the REST API", api);
    let fleet = Arc::new(grpc::Fleet::new(Arc::clone(&app), kit.tls.clone()));
    let api = Arc::new(grpc::Shared::new(app));
    let routes = Routes::new(NodeServiceServer::from_arc(Arc::clone(&api)))
        .add_service(AllocationServiceServer::from_arc(Arc::clone(&api)))
        .add_service(CallerServiceServer::from_arc(Arc::clone(&api)))
        .add_service(BulkServiceServer::from_arc(Arc::clone(&api)))
        .add_service(ImageServiceServer::from_arc(Arc::clone(&api)))
        .add_service(RackServiceServer::from_arc(Arc::clone(&api)))
        .add_service(OperationServiceServer::from_arc(Arc::clone(&api)))
        .add_service(LockServiceServer::from_arc(Arc::clone(&api)))
        .add_service(SchedulerServiceServer::from_arc(Arc::clone(&api)))
        .add_service(WebhookServiceServer::from_arc(Arc::clone(&api)))
        .add_service(HostServiceServer::from_arc(Arc::clone(&fleet)))
        .add_service(StatusServiceServer::from_arc(fleet))
        .add_service(EventServiceServer::from_arc(Arc::clone(&api)));
    let routes = stale::marked(audit::recorded(routes), joined.mesh.clone());
    let health = kit.serve(bound, routes, role_table::RULES, proto::DESCRIPTORS).await;
    kit.host.spawn(joined.mesh.report_health(health, kit.host.clone()));
    kit.host.stopping().await;
    Ok(())
}
