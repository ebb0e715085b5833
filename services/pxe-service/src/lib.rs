//! Answers machines that boot from the network.
//!
//! What a machine boots was decided by its scheduler owner and stands in the store; every replica answers alike from
//! its own view of it, also while etcd is away. [`boot`] decides who gets what; [`dhcp`], [`tftp`] and [`http`] are the
//! three doors; [`files`] has what goes through them; [`seen`] keeps the timeline and writes what must be remembered;
//! [`address`] holds the rack's server identifier where this replica leads.

mod address;
mod advertise;
mod api;
mod arp;
mod boot;
mod config;
mod dhcp;
mod error;
mod files;
mod http;
mod metrics;
mod rack;
mod seen;
mod tftp;

pub use config::{Config, Pxe};
pub use error::Error;

use std::sync::Arc;

use domain::service::Service;
use proto::pxe::v1::pxe_service_server::PxeServiceServer;
use service_kit::{
    Kit,
    serve::{self, Rule, schedulers},
    timeline::Timeline,
};
use tonic::service::Routes;

/// Who may call what.
const RULES: &[Rule] = &[Rule { path: "/ironmesh.pxe.v1.PxeService/", allows: schedulers }];

/// Runs until the kit's host stops.
///
/// # Errors
/// It can not begin.
pub async fn run(config: Config, kit: Kit) -> Result<(), Error> {
    metrics::describe();
    let bound = kit.bind().await?;
    let pxe = config.pxe;
    let pages = serve::bind("pxe.http", pxe.http_address()).await?;
    let http_address = pages.local_addr().map_err(|source| Error::Socket { what: "pxe.http", source })?;
    service_kit::run::write_address_file(&kit.common.data, "http", Some(http_address));
    let endpoints = mesh::Endpoints {
        endpoint: bound.endpoint.clone(),
        data_endpoint: http_address.to_string(),
        ..mesh::Endpoints::default()
    };
    let joined = Box::pin(mesh::join(&kit, Service::Pxe, endpoints)).await?;
    let membership = joined.mesh.clone();
    let timeline = Timeline::new(format!("pxe-service at {}", pxe.address));
    let rack = rack::Rack::new(&joined)?;
    let files = files::Files::new(rack.clone(), pxe.loaders.clone(), kit.common.data.join("boot-files"))?;
    let doors = Arc::new(rack::Doors {
        seen: seen::Watcher::new(rack.clone(), timeline.clone(), kit.host.clone()),
        rack,
        files,
        timeline: timeline.clone(),
        sealer: joined.sealer.clone(),
        ca: kit.tls.pem()[0].clone(),
        rack_name: kit.common.rack.clone(),
        http: http_address,
        pxe,
    });
    kit.host.spawn_essential("boot files", doors.files.clone().prepare(kit.host.clone()));
    kit.host.spawn_essential("http", http::serve(kit.host.clone(), pages, Arc::clone(&doors)));
    if !doors.pxe.device.is_empty() {
        let tftp = tftp::Tftp::bind(&doors)?;
        kit.host.spawn_essential("tftp", tftp.serve(kit.host.clone(), Arc::clone(&doors)));
        if let Some(advertiser) = advertise::Advertiser::bind(&doors)? {
            kit.host.spawn_essential("advertisements", advertiser.serve(kit.host.clone()));
        }
        let keeper =
            address::Keeper::open(&kit.host, &doors).map_err(|source| Error::Socket { what: "ARP", source })?;
        kit.host.spawn_essential("server identifier", keeper.serve(kit.host.clone(), Arc::clone(&doors)));
        let dhcp = dhcp::Dhcp::bind(&doors)?;
        kit.host.spawn_essential("dhcp", dhcp.serve(kit.host.clone(), Arc::clone(&doors)));
    }
    let routes = Routes::new(PxeServiceServer::new(api::Api { doors, timeline }));
    let health = kit.serve(bound, routes, RULES, proto::DESCRIPTORS).await;
    kit.host.spawn(membership.tell(health, kit.host.clone()));
    kit.host.stopping().await;
    Ok(())
}
