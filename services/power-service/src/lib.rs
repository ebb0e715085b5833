//! Controls the power of nodes over IPMI and Redfish.
//!
//! An instruction (`EnsurePower`) names an absolute target. The owner of the node claims it, closes the BMC sessions of
//! previous owners, reads the power state, and then reaches the target with one journalled command at a time (see
//! services/mesh/OWNERSHIP.md). The power state and the result of the instruction are stored in the node's power record.
//!
//! [`control`] decides, [`work`] executes, [`bmc`] defines the interface of a BMC, [`ipmi`], [`redfish`] and [`fake`]
//! implement it, and [`session`] selects the implementation for a node. [`retry`] decides which failures are repeated.
//! [`poll`] reads the power of idle nodes.

mod api;
mod bmc;
mod config;
mod control;
mod error;
mod fake;
mod ipmi;
mod metrics;
mod poll;
mod redfish;
mod retry;
mod session;
mod work;

pub use config::{Config, Power};
pub use error::Error;
#[cfg(any(test, fuzzing))]
pub use redfish::fuzzing;

use domain::service::Service;
use mesh::{Endpoints, SafetyParams};
use proto::power::v1::power_service_server::PowerServiceServer;
use service_kit::{
    Kit,
    outbound_http::Outbound,
    serve::{Rule, schedulers},
};
use tonic::service::Routes;

/// Which callers may call which methods.
const RULES: &[Rule] = &[
    Rule::new("/ironmesh.power.v1.PowerService/EnsurePower", schedulers),
    Rule::new("/ironmesh.power.v1.PowerService/GetPower", schedulers),
    Rule::new("/ironmesh.power.v1.PowerService/GetBootOrder", schedulers),
    Rule::new("/ironmesh.power.v1.PowerService/WatchTimeline", schedulers),
];

/// Runs the service until the host stops.
///
/// # Errors
/// [`Error`] if the service cannot start.
pub async fn run(config: Config, kit: Kit) -> Result<(), Error> {
    run_with(config, kit, SafetyParams::default()).await
}

/// Runs like [`run`], with the given safety parameters.
///
/// # Errors
/// [`Error`] if the service cannot start.
pub async fn run_with(config: Config, kit: Kit, safety: SafetyParams) -> Result<(), Error> {
    metrics::describe();
    let bound = kit.bind().await?;
    let endpoints = Endpoints { endpoint: bound.endpoint.clone(), ..Endpoints::default() };
    let joined = Box::pin(mesh::join_with(&kit, Service::Power, endpoints, safety)).await?;
    let membership = joined.mesh.clone();
    let ipmi = ipmi::Ipmi::bind(config.power.bind, kit.host.clone()).await?;
    let redfish =
        redfish::Redfish::new(membership.times().settle, &config.power.ca_folder, Outbound::new(&config.outbound)?);
    let drivers = session::BmcDrivers { ipmi, redfish };
    let timeline = service_kit::timeline::Timeline::new(format!("power-service at {}", bound.endpoint));
    let every = config.power.poll;
    let work = work::Work::new(joined.clone(), drivers, config.power, timeline.clone(), kit.host.clone())?;
    if !every.is_zero() {
        kit.host.spawn(poll::poll(work.clone(), every, kit.host.clone()));
    }
    let api = api::Api { work, timeline };
    let routes = Routes::new(PowerServiceServer::new(api));
    let health = kit.serve(bound, routes, RULES, proto::DESCRIPTORS).await;
    kit.host.spawn(membership.report_health(health, kit.host.clone()));
    kit.host.stopping().await;
    Ok(())
}
