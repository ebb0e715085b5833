//! The order in which the REST API checks a request that is wrong in more than one way, over one scheduler and an
//! in-memory store.

use std::sync::Arc;

use api_auth::{AuthConfig, Authenticator};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use domain::provision::State;
use scheduler_testing::{TestNode, World};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Maximum size of a response body, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Number of webhooks that can exist.
const MAX_WEBHOOKS: usize = 64;
/// Id of a volume.
const ID: &str = "11111111-1111-4111-8111-111111111111";

async fn rest() -> (World, Router) {
    let world = World::up().await.unwrap();
    let router = ironic_api::router(Arc::clone(&world.app), Authenticator::open(&AuthConfig::default()).unwrap());
    (world, router)
}

async fn send(rest: &Router, method: &str, path: &str, body: &Value) -> (u16, String) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/v1/{path}"))
        .header("X-OpenStack-Ironic-API-Version", "1.115")
        .header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = rest.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), MAX_BODY_BYTES).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[track_caller]
fn assert_response((status, text): (u16, String), expected: u16, words: &str) {
    assert!(status == expected && text.contains(words), "{status}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_of_a_volume_is_checked_before_the_power_of_its_node() {
    let (world, rest) = rest().await;
    let node = TestNode::new(7, State::Available);
    world.put(&node).await.unwrap();
    let volume = json!({
        "uuid": ID, "node_uuid": node.id.to_string(), "volume_type": "iscsi", "volume_id": "v", "boot_index": 0,
    });
    assert_response(send(&rest, "POST", "volume/targets", &volume).await, 201, "");
    let path = format!("volume/targets/{ID}");
    let patched = async |op: Value| send(&rest, "PATCH", &path, &json!([op])).await;
    let invalid = json!({"op": "remove", "path": "/extra/none"});
    assert_response(patched(invalid).await, 400, "none");
    let valid = json!({"op": "replace", "path": "/volume_id", "value": "w"});
    assert_response(patched(valid).await, 400, "volume target update");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_webhook_is_checked_by_its_body_then_its_id_then_its_config_then_the_limit() {
    let (_world, rest) = rest().await;
    let webhook = |number: usize, secret: &str| {
        let uuid = format!("11111111-1111-4111-8111-{number:012}");
        json!({"uuid": uuid, "name": format!("w{number}"), "url": "https://h/", "delivery_info": {"secret": secret}})
    };
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let create = async |webhook: Value| send(&rest, "POST", "webhooks", &webhook).await;
    for number in 0..MAX_WEBHOOKS {
        assert_response(create(webhook(number, SECRET)).await, 201, "");
    }
    let mut unknown_field = webhook(0, "short");
    unknown_field["colour"] = json!("red");
    assert_response(create(unknown_field).await, 400, "colour");
    assert_response(create(webhook(0, "short")).await, 409, "already exists");
    assert_response(create(webhook(MAX_WEBHOOKS, "short")).await, 400, "secret");
    assert_response(create(webhook(MAX_WEBHOOKS, SECRET)).await, 409, "webhooks already");
}
