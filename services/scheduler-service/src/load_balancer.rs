//! What a load balancer in front of the REST API is told, over one scheduler and an in-memory store.

use std::{fs, sync::Arc, time::Duration};

use api_auth::{AuthConfig, Authenticator};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use scheduler_testing::World;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

/// How long a state is waited for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

async fn get(rest: &Router, path: &str) -> (u16, String) {
    let response = rest.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn becomes(rest: &Router, wanted: (u16, &str)) {
    let waiting = async {
        while get(rest, "/healthz").await != (wanted.0, wanted.1.to_owned()) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(WAIT_TIMEOUT, waiting).await.is_ok(), "{wanted:?}: {:?}", get(rest, "/healthz").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_is_told_without_credentials_whether_a_replica_is_ready() {
    let world = World::up().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, "ann:$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n").unwrap();
    let authenticator = Authenticator::open(&AuthConfig { users, ..AuthConfig::default() }).unwrap();
    let rest = ironic_api::router(Arc::clone(&world.app), authenticator);
    becomes(&rest, (200, "ok\n")).await;
    assert_eq!(get(&rest, "/v1/nodes").await.0, 401, "everything else needs credentials");
    world.client.partition();
    becomes(&rest, (503, "STORE_AWAY\n")).await;
    world.client.heal();
    becomes(&rest, (200, "ok\n")).await;
    world.app.host.stop();
    becomes(&rest, (503, "stopping\n")).await;
}
