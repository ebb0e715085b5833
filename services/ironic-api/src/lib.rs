//! Ironic's REST API v1, unchanged for its clients.
//!
//! The rules of the protocol are in `wire_ironic`. This crate parses a request, authorizes it, makes one call and encodes
//! the response. Reads come from [`scheduler_core::node_cache`], which the view keeps up to date; each write is one
//! transaction.

mod agents;
mod allocations;
mod audit;
mod authz;
mod bios;
mod boot_mode;
mod checksum_fetch;
mod collections;
mod condition;
mod config;
mod config_drive_fetch;
mod deploy;
mod description;
mod dispatch;
mod drivers;
mod events;
mod fault;
mod hardware;
mod history;
mod indicators;
mod interfaces;
mod list;
mod listener;
mod management;
mod node_document;
mod node_subresources;
mod nodes;
mod pages;
mod ports;
mod records;
mod request;
mod resources;
mod response;
mod small_download;
mod states;
mod step_requests;
#[cfg(test)]
mod test_node;
mod validate;
mod vendor;
mod verb;
mod webhooks;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode},
    middleware,
    response::Response,
    routing::get,
};
use domain::policy::{Caller, Role};
use serde_json::{Value, json};
use service_kit::{
    Host,
    listener::{AddressKey, BodyBudget, Class, HttpLimits, Limits, Listener, ListenerKind, Peer, Reason},
    outbound_http::Outbound,
};
use wire_ironic::{documents, error::Class as ErrorClass, limits, links};

pub use self::{
    config::{RestAgents, RestTls},
    listener::{RestListener, RestTlsError},
    webhooks::IronicWebhooks,
};
use self::{
    events::EventStreams,
    request::{ApiRequest, ParsedRequest, Source, VersionHeaders},
    response::ApiResponse,
};
use api_auth::{Authenticator, SenderError};
use scheduler_core::{AppState, node_cache::NodeCache};

/// State that all handlers share.
#[derive(Debug)]
pub(crate) struct RestApi {
    app: Arc<AppState>,
    auth: Authenticator,
    /// Downloads config drives.
    outbound: Outbound,
    node_cache: Arc<NodeCache>,
    host: Host,
    /// URL scheme of links.
    scheme: &'static str,
    /// Which calls of agents are passed on to their rack.
    agents: RestAgents,
    /// Room for open event streams.
    event_streams: EventStreams,
}

/// Serves the API until the host stops. `agents`: which calls of agents this listener passes on to their rack.
pub async fn serve(
    host: Host,
    listener: RestListener,
    app: Arc<AppState>,
    auth: Authenticator,
    outbound: Outbound,
    agents: RestAgents,
) {
    let api = rest_api(app, auth, outbound, listener.scheme(), listener.limits(), agents);
    let refusing = middleware::from_fn_with_state(Arc::clone(&api), refuse_sender);
    // A load balancer names the host by its address.
    let routes = Router::new().fallback(handle).with_state(Arc::clone(&api)).layer(refusing).merge(health_route(api));
    listener.serve(host, routes).await;
}

fn health_route(api: Arc<RestApi>) -> Router {
    Router::new().route("/healthz", get(health)).with_state(api)
}

/// Says whether this replica should get requests: not while it stops, or is cut off from the store.
async fn health(State(api): State<Arc<RestApi>>) -> (StatusCode, String) {
    let why = match api.app.registry.mesh.island() {
        _ if api.host.is_stopping() => "stopping\n".to_owned(),
        Some(island) => format!("{}\n", island.why.word()),
        None => return (StatusCode::OK, "ok\n".to_owned()),
    };
    (StatusCode::SERVICE_UNAVAILABLE, why)
}

/// Refuses requests that name no server or, without authentication, an unknown one, or that browsers send for pages of other
/// sites.
async fn refuse_sender(State(api): State<Arc<RestApi>>, request: Request<Body>, next: middleware::Next) -> Response {
    let (parts, body) = request.into_parts();
    let error = match api.auth.check_sender(&parts) {
        Ok(()) => return next.run(Request::from_parts(parts, body)).await,
        Err(error @ SenderError::Host) => ErrorClass::Invalid.error(error.to_string()),
        Err(error @ (SenderError::UnknownHost | SenderError::CrossSite)) => {
            ErrorClass::Forbidden.error(error.to_string())
        }
    };
    let origin = audit::origin(&api.auth, &parts);
    audit::record_refused(&parts, &origin, error.status);
    response::into_http(&VersionHeaders::default(), Err(error), &origin.request)
}

/// Returns the API's routes, without a listener and without addresses that are allowed in addition to the usual ones.
pub fn router(app: Arc<AppState>, authenticator: Authenticator) -> Router {
    let limits = HttpLimits::default();
    let listener = Listener::new(ListenerKind::Rest, &limits, BodyBudget::new(&limits));
    let api = rest_api(app, authenticator, Outbound::default(), "http", &listener.limits, RestAgents::Always);
    let routes = Router::new().fallback(handle).with_state(Arc::clone(&api)).merge(health_route(api));
    routes.layer(Extension(Peer::without_connection(listener)))
}

fn rest_api(
    app: Arc<AppState>,
    auth: Authenticator,
    outbound: Outbound,
    scheme: &'static str,
    limits: &Limits,
    agents: RestAgents,
) -> Arc<RestApi> {
    let (node_cache, host) = (Arc::clone(&app.node_cache), app.host.clone());
    let event_streams = EventStreams::new(limits.event_streams);
    Arc::new(RestApi { app, auth, outbound, node_cache, host, scheme, agents, event_streams })
}

async fn handle(State(api): State<Arc<RestApi>>, Extension(peer): Extension<Peer>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let origin = audit::origin(&api.auth, &parts);
    if let Some(response) = description::answer(&parts, &origin.request) {
        return response;
    }
    let path = parts.uri.path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let client = api.auth.client(peer.address().ip(), &parts.headers);
    let caller = match api.auth.check(path, &parts.headers, AddressKey::of(client)).await {
        Ok(caller) => caller,
        Err(denied) => {
            let response = response::denied(&denied, &origin.request);
            audit::record_refused(&parts, &origin, response.status().as_u16());
            return response;
        }
    };
    let class = class_of(&caller);
    let slot = match peer.begin(&caller.account, class) {
        Ok(slot) => slot,
        Err(refusal) => {
            let error = limits::unread(refusal.status(), &refusal.to_string());
            return response::into_http(&VersionHeaders::default(), Err(error), &origin.request);
        }
    };
    let path_headers = description::PathHeaders::of(&parts);
    let (version_headers, parsed) =
        request::parse(parts, body, Source { caller, class, peer: &peer, scheme: api.scheme }).await;
    let answer = match parsed {
        ParsedRequest::Refused(error) => Err(error),
        ParsedRequest::Root(base) => Ok(ApiResponse::ok(documents::root(&base))),
        ParsedRequest::Options => Ok(ApiResponse::empty()),
        ParsedRequest::Api(request, _) if request.follows.is_some() && request.is("GET", "nodes") => {
            match api.follow(*request, class) {
                Ok(mut stream) => {
                    slot.last_as_long_as(&mut stream);
                    return response::stream(stream, &version_headers, &origin.request);
                }
                Err(error) => {
                    if matches!(error.status, 429 | 503) {
                        peer.refused(Reason::EventStreams);
                    }
                    Err(error)
                }
            }
        }
        ParsedRequest::Api(mut request, _charge) => api.answer_and_record(&mut request, &origin).await,
    };
    let mut response = response::into_http(&version_headers, answer, &origin.request);
    path_headers.set(&mut response);
    slot.last_as_long_as(&mut response);
    response
}

/// Returns how far a caller is trusted with what is scarce.
fn class_of(caller: &Caller) -> Class {
    if caller.is_unrestricted() || caller.roles.with(Role::Service) == caller.roles {
        Class::Privileged
    } else if caller.roles.is_empty() {
        Class::Stranger
    } else {
        Class::Ordinary
    }
}

impl RestApi {
    /// Counts the nodes of each shard.
    fn shards(&self) -> ApiResponse {
        let mut counts = BTreeMap::<String, usize>::new();
        for node in self.node_cache.all() {
            let shard = node.spec().shard.as_deref().unwrap_or("None");
            *counts.entry(shard.to_owned()).or_default() += 1;
        }
        let mut shards: Vec<_> = counts.into_iter().collect();
        shards.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shards: Vec<Value> =
            shards.into_iter().map(|(name, count)| json!({"name": name, "count": count})).collect();
        ApiResponse::ok(json!({"shards": shards}))
    }
}

/// Document of `volume`, or of the volumes of one node, at `path`.
fn volume(request: &ApiRequest, path: &str) -> Value {
    let below = links::below(links::VOLUME, request.version, &request.base, path);
    let own = ("links".to_owned(), links::resource(&request.base, &format!("{path}/")));
    Value::Object([own].into_iter().chain(below.map(|(name, value)| (name.to_owned(), value))).collect())
}

#[cfg(test)]
mod tests {
    use domain::policy::{Roles, Scope};

    use super::*;

    #[test]
    fn administrators_and_services_have_reserved_room() {
        let project = || Scope::Project { id: "p".to_owned(), is_services: false };
        for (roles, scope, class) in [
            (&["admin"][..], Scope::System, Class::Privileged),
            (&["service"], project(), Class::Privileged),
            (&["member", "service"], Scope::System, Class::Privileged),
            (&["admin"], project(), Class::Ordinary),
            (&["member"], Scope::System, Class::Ordinary),
            (&["reader"], project(), Class::Ordinary),
            (&[], Scope::None, Class::Stranger),
        ] {
            let roles_of = Roles::named(roles.iter().copied());
            let caller = Caller { name: "c".to_owned(), account: String::new(), roles: roles_of, scope };
            assert_eq!(class_of(&caller), class, "{roles:?} {:?}", caller.scope);
        }
    }
}
