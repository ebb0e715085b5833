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
use proto::storage::v1::storage_service_server::StorageServiceServer;
use service_kit::{
    Kit,
    listener::ListenerKind,
    outbound_http::Outbound,
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
    let sources = image::Sources::new(files_from, &Outbound::new(&config.outbound)?, max_image_bytes)?;
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
