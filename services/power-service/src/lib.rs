//! Turns nodes on and off.
//!
//! An instruction (`EnsurePower`) names a target that is absolute. The node's owner claims it, closes the BMC sessions
//! of those before, reads, and then brings power to the target one journalled command at a time (DESIGN §5). What it
//! read and how the instruction ended is the node's power record in the store.
//!
//! [`control`] decides, [`work`] carries out, [`bmc`] is the seam, [`ipmi`], [`redfish`] and [`fake`] its hands, [`session`] any
//! of them. [`poll`] looks at power unasked.

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
mod session;
mod work;

pub use config::{Config, Power};
pub use error::Error;

use domain::service::Service;
use mesh::{Endpoints, SafetyParams};
use proto::power::v1::power_service_server::PowerServiceServer;
use service_kit::{
    Kit,
    serve::{Rule, schedulers},
};
use tonic::service::Routes;

/// Who may call what.
const RULES: &[Rule] = &[Rule { path: "/ironmesh.power.v1.PowerService/", allows: schedulers }];

/// Runs until the kit's host stops.
///
/// # Errors
/// It can not begin.
pub async fn run(config: Config, kit: Kit) -> Result<(), Error> {
    run_with(config, kit, SafetyParams::default()).await
}

/// Runs as [`run`] does, with safety parameters other than the default.
///
/// # Errors
/// It can not begin.
pub async fn run_with(config: Config, kit: Kit, safety: SafetyParams) -> Result<(), Error> {
    metrics::describe();
    let bound = kit.bind().await?;
    let endpoints = Endpoints { endpoint: bound.endpoint.clone(), ..Endpoints::default() };
    let joined = Box::pin(mesh::join_with(&kit, Service::Power, endpoints, safety)).await?;
    let membership = joined.mesh.clone();
    let ipmi = ipmi::Ipmi::bind(config.power.bind, kit.host.clone()).await?;
    let hands = session::Hands { ipmi, redfish: redfish::Redfish::new(membership.times().settle) };
    let timeline = service_kit::timeline::Timeline::new(format!("power-service at {}", bound.endpoint));
    let every = config.power.poll;
    let work = work::Work::new(joined.clone(), hands, config.power, timeline.clone(), kit.host.clone())?;
    if !every.is_zero() {
        kit.host.spawn(poll::poll(work.clone(), every, kit.host.clone()));
    }
    let api = api::Api { work, timeline };
    let routes = Routes::new(PowerServiceServer::new(api));
    let health = kit.serve(bound, routes, RULES, proto::DESCRIPTORS).await;
    kit.host.spawn(membership.tell(health, kit.host.clone()));
    kit.host.stopping().await;
    Ok(())
}
