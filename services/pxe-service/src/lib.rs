//! Serves machines that boot from the network.
//!
//! The scheduler owner of a node decides what it boots and writes that to the store. Every replica serves it from its
//! own view, also while etcd is unavailable. [`boot`] decides what a machine receives; [`dhcp`], [`tftp`] and [`http`]
//! serve it; [`files`] provides boot files; [`observations`] keeps the timeline and stores what must be remembered,
//! [`unknown_macs`] the machines without a node;
//! [`address`] holds the rack's DHCP server identifier while this replica is the leader.

mod address;
mod advertise;
mod api;
mod arp;
mod boot;
mod config;
mod context;
mod dhcp;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod metrics;
mod observations;
mod rack;
mod tftp;
mod unanswered;
mod unknown_macs;

pub use config::{Config, Pxe};
pub use error::Error;

use std::sync::Arc;

use domain::service::Service;
use proto::pxe::v1::pxe_service_server::PxeServiceServer;
use service_kit::{
    Host, Kit,
    listener::ListenerKind,
    serve::{self, Rule, schedulers},
    timeline::Timeline,
};
use tonic::service::Routes;

/// Which callers may call which methods.
const RULES: &[Rule] = &[
    Rule::new("/ironmesh.pxe.v1.PxeService/EnsureBoot", schedulers),
    Rule::new("/ironmesh.pxe.v1.PxeService/WatchTimeline", schedulers),
];

/// Runs the service until the host stops.
///
/// # Errors
/// [`Error`] if the service cannot start.
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
    // Before it joins: a replica that cannot serve the provisioning network must not own nodes.
    let provisioning = if pxe.device.is_empty() { None } else { Some(Provisioning::bind(&kit.host, &pxe)?) };
    let joined = Box::pin(mesh::join(&kit, Service::Pxe, endpoints)).await?;
    let membership = joined.mesh.clone();
    let timeline = Timeline::new(format!("pxe-service at {}", pxe.address));
    let rack = rack::Rack::new(&joined)?;
    let files = files::Files::new(rack.clone(), pxe.loaders.clone(), kit.common.data.join("boot-files"))?;
    let context = Arc::new(context::PxeContext {
        observations: observations::Observations::new(rack.clone(), timeline.clone(), kit.host.clone()),
        unknown_macs: unknown_macs::UnknownMacs::default(),
        rack,
        files,
        timeline: timeline.clone(),
        sealer: joined.sealer.clone(),
        ca: kit.tls.pem()[0].clone(),
        rack_name: kit.common.rack.clone(),
        http: http_address,
        pxe,
    });
    let unknown_macs = context.unknown_macs.clone().store(context.rack.clone(), kit.host.clone());
    kit.host.spawn_essential("unknown MAC addresses", unknown_macs);
    kit.host.spawn_essential("boot files", context.files.clone().prefetch(kit.host.clone()));
    kit.host.spawn_essential(
        "http",
        http::serve(kit.host.clone(), pages, kit.listener(ListenerKind::BootFiles), Arc::clone(&context)),
    );
    if let Some(provisioning) = provisioning {
        provisioning.serve(&kit.host, &context);
    }
    let routes = Routes::new(PxeServiceServer::new(api::Api { context, timeline }));
    let health = kit.serve(bound, routes, RULES, proto::DESCRIPTORS).await;
    kit.host.spawn(membership.report_health(health, kit.host.clone()));
    kit.host.stopping().await;
    Ok(())
}

/// The servers on the provisioning network, with their sockets bound.
struct Provisioning {
    tftp: tftp::Tftp,
    advertiser: Option<advertise::Advertiser>,
    identifier: address::IdentifierHolder,
    dhcp: dhcp::Dhcp,
}

impl Provisioning {
    /// Binds all sockets. The advertiser comes first, because its error names an interface that does not exist.
    fn bind(host: &Host, pxe: &Pxe) -> Result<Self, Error> {
        let advertiser = advertise::Advertiser::bind(pxe)?;
        let tftp = tftp::Tftp::bind(pxe)?;
        let identifier =
            address::IdentifierHolder::open(host, pxe).map_err(|source| Error::Socket { what: "ARP", source })?;
        Ok(Self { tftp, advertiser, identifier, dhcp: dhcp::Dhcp::bind(pxe)? })
    }

    /// Serves until the host stops.
    fn serve(self, host: &Host, context: &Arc<context::PxeContext>) {
        host.spawn_essential("tftp", self.tftp.serve(host.clone(), Arc::clone(context)));
        if let Some(advertiser) = self.advertiser {
            host.spawn_essential("advertisements", advertiser.serve(host.clone()));
        }
        host.spawn_essential("server identifier", self.identifier.serve(host.clone(), Arc::clone(context)));
        host.spawn_essential("dhcp", self.dhcp.serve(host.clone(), Arc::clone(context)));
    }
}
