//! Caches images and boot files of a rack: downloads each once, verifies it, and serves it by digest over HTTP with
//! ranges.
//!
//! [`image`] downloads, [`http`] serves. Files in the cache are also available on an island.

mod api;
mod config;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod image;
mod metrics;
mod qcow2;
mod range;

pub use config::{Config, Storage};
pub use error::Error;

use domain::service::Service;
use keyspace::{View, rack_networks};
use proto::storage::v1::storage_service_server::StorageServiceServer;
use service_kit::{
    Kit,
    listener::ListenerKind,
    outbound_http::{Outbound, OutboundConfig, OutboundError},
    serve::{self, Rule, schedulers},
};
use tonic::service::Routes;

/// Which callers may call which methods.
const RULES: &[Rule] = &[
    Rule::new("/ironmesh.storage.v1.StorageService/EnsureImage", schedulers),
    Rule::new("/ironmesh.storage.v1.StorageService/LearnImage", schedulers),
    Rule::new("/ironmesh.storage.v1.StorageService/ListImages", schedulers),
];

/// Runs the service until the host stops.
///
/// # Errors
/// [`Error`] if the service cannot start.
pub async fn run(config: Config, kit: Kit) -> Result<(), Error> {
    metrics::describe();
    let bound = kit.bind().await?;
    let files = serve::bind("storage.http", config.storage.http).await?;
    let address = files.local_addr().map_err(|source| Error::Folder { path: "storage.http".into(), source })?;
    service_kit::run::write_address_file(&kit.common.data, "http", Some(address));
    let endpoints = mesh::Endpoints {
        endpoint: bound.endpoint.clone(),
        data_endpoint: address.to_string(),
        ..mesh::Endpoints::default()
    };
    let joined = Box::pin(mesh::join(&kit, Service::Storage, endpoints)).await?;
    let membership = joined.mesh.clone();
    let Storage { files_from, reserve_bytes, max_cache_bytes, max_image_bytes, keep_used, .. } = config.storage;
    // A larger one would have no room.
    let max_image_bytes = if max_cache_bytes == 0 { max_image_bytes } else { max_image_bytes.min(max_cache_bytes) };
    let outbound = outbound(&config.outbound, joined.mesh.view().clone())?;
    let sources = image::Sources::new(files_from, &outbound, max_image_bytes)?;
    let limits = image::CacheLimits { max_bytes: max_cache_bytes, reserve_bytes, keep_used };
    let cache = image::Cache::open(kit.common.data.join("images"), sources, kit.host.clone(), limits)?;
    kit.host.spawn_essential(
        "files",
        http::serve(kit.host.clone(), files, kit.listener(ListenerKind::Images), cache.clone()),
    );
    let routes = Routes::new(StorageServiceServer::new(api::Api { cache }));
    let health = kit.serve(bound, routes, RULES, proto::DESCRIPTORS).await;
    kit.host.spawn(membership.report_health(health, kit.host.clone()));
    kit.host.stopping().await;
    Ok(())
}

/// The client for servers that users name. The provisioning network of the rack is internal. This service may not read the
/// records of other racks and of BMCs: their networks are configured.
fn outbound(config: &OutboundConfig, view: View) -> Result<Outbound, OutboundError> {
    Ok(Outbound::new(config)?.with_internal(move |address| rack_networks::contains(&view, address)))
}

#[cfg(test)]
mod tests {
    use domain::{id::RackId, net::Subnet};
    use keyspace::{
        key::{self, Scope},
        testing::MemoryEtcd,
        value::{Network, Rack},
        view,
    };
    use service_kit::outbound_http::Purpose;

    use super::*;

    fn rack(number: u8, subnet: &str) -> Rack {
        let id: RackId = format!("00000000-0000-0000-0000-00000000000{number}").parse().unwrap();
        let subnet: Subnet = subnet.parse().unwrap();
        let at = subnet.to_string().split('/').next().unwrap().parse().unwrap();
        let (router, name_servers) = (None, Vec::new());
        let network = Some(Network { subnet, first: at, last: at, router, name_servers, server_identifier: at });
        let kernel_arguments = "console=ttyS0".parse().unwrap();
        Rack { id, name: format!("r{number}"), network, kernel: None, ramdisk: None, kernel_arguments }
    }

    #[tokio::test]
    async fn users_do_not_reach_the_provisioning_network_unless_an_operator_allows_it() {
        let (etcd, folder) = (MemoryEtcd::new(), tempfile::tempdir().unwrap());
        let racks = [rack(1, "10.77.1.0/24"), rack(2, "10.77.2.0/24"), rack(3, "10.77.3.0/24")];
        for rack in &racks {
            etcd.put_json(&key::rack(rack.id), rack).unwrap();
        }
        // What a storage-service of the first rack follows.
        let prefixes = key::followed(Scope::Rack(racks[0].id), Service::Storage);
        let view = view::open(&etcd.client().store(), &prefixes, &folder.path().join("view.zst")).await.unwrap();
        let allow = vec!["10.77.1.9:8080".parse().unwrap()];
        let internal = vec!["10.77.2.0/24".parse().unwrap()];
        let config = OutboundConfig { allow, internal, ..OutboundConfig::default() };
        let outbound = outbound(&config, view).unwrap();
        for (address, port, source, is_allowed) in [
            ("10.77.1.5", 80, "its own rack's", false),
            ("10.77.1.9", 8080, "allowed by an operator", true),
            ("10.77.1.9", 80, "another port", false),
            ("::ffff:10.77.1.5", 80, "its own rack's, mapped", false),
            ("10.77.2.5", 80, "another rack's, which is configured", false),
            ("10.77.3.5", 80, "another rack's, which is not known", true),
            ("192.0.2.5", 80, "elsewhere", true),
        ] {
            for purpose in [Purpose::Image, Purpose::BootFile] {
                let checked = outbound.policy().check(purpose, address.parse().unwrap(), port);
                assert_eq!(checked.is_ok(), is_allowed, "{address}:{port}: {source}: {checked:?}");
            }
        }
    }
}
