//! Answers of a replica that may be behind say so (services/keyspace/README.md).

use axum::{extract::State, http::HeaderValue, middleware::map_response_with_state, response::Response};
use domain::{ring::fence::Times, time::Timestamp};
use mesh::{Island, Mesh};
use service_kit::clock;
use tonic::service::Routes;

/// On such an answer: since when, in milliseconds since 1970, what is read here may be old.
const STALE: &str = "ironmesh-stale-since";

/// Marks every answer that is given while this replica is cut off from the store.
pub(crate) fn marked(routes: Routes, mesh: Mesh) -> Routes {
    routes.into_axum_router().layer(map_response_with_state(mesh, mark)).into()
}

async fn mark(State(mesh): State<Mesh>, mut response: Response) -> Response {
    if let Some(since) = stale(&mesh) {
        response.headers_mut().insert(STALE, HeaderValue::from(since.millis()));
    }
    response
}

/// Since when this replica's reads may be old: it is no member, or etcd has been silent for F.
fn stale(mesh: &Mesh) -> Option<Timestamp> {
    if let Some(Island { since, .. }) = mesh.island() {
        return Some(since);
    }
    let now = clock::now();
    let silent = mesh.view().freshness().heard.map(|heard| heard.elapsed());
    let silent = silent.filter(|silent| *silent >= Times::default().fence)?;
    Some(Timestamp::from_millis(now.millis().saturating_sub(i64::try_from(silent.as_millis()).unwrap_or(i64::MAX))))
}
