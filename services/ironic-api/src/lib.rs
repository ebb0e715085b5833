//! Ironic's REST API v1, unchanged for its clients.
//!
//! What is a rule of the protocol stands in `wire_ironic`; here a request is read, the one call that it is about is
//! made, and the answer written. Reads come from [`scheduler_core::node_cache`], which the view feeds; writes are one transaction each.

mod agents;
mod allocations;
mod answer;
mod ask;
mod below;
mod bios;
mod condition;
mod config;
mod course;
mod deploy;
mod description;
mod door;
mod drivers;
mod events;
mod fetch;
mod gate;
mod hardware;
mod history;
mod hooks;
mod indicators;
mod list;
mod management;
mod nodes;
mod pages;
mod ports;
mod redfish;
mod said;
mod sheets;
mod states;
mod trail;
mod validate;
mod vendor;
mod verb;

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, body::Body, extract::State, http::Request, response::Response};
use serde_json::{Value, json};
use service_kit::Host;
use wire_ironic::{
    error::{Class, Error, text},
    links, path,
    query::{self, Shape},
    version,
};

use self::{
    answer::{Answer, response},
    ask::{Ask, Read},
};
pub use self::{
    config::RestTls,
    door::Door,
    hooks::{check as check_webhook, check_room as check_room_for_webhook},
};
use api_auth::Authenticator;
use scheduler_core::{AppState, kinds, node_cache::NodeCache, secret};

/// The face.
#[derive(Debug)]
pub(crate) struct Face {
    shared: Arc<AppState>,
    auth: Authenticator,
    node_cache: Arc<NodeCache>,
    host: Host,
    /// What links begin with.
    scheme: &'static str,
}

/// Answers until the host stops.
pub async fn serve(host: Host, door: Door, shared: Arc<AppState>, auth: Authenticator) {
    let face = face(shared, auth, door.scheme());
    host.spawn_essential("webhooks", hooks::carry(Arc::clone(&face)));
    if let Err(error) = door.serve(host, Router::new().fallback(handle).with_state(face)).await {
        tracing::error!(%error, "the REST API is not answered any more");
    }
}

/// The API without a listener and without webhooks.
pub fn router(app: Arc<AppState>, authenticator: Authenticator) -> Router {
    Router::new().fallback(handle).with_state(face(app, authenticator, "http"))
}

fn face(shared: Arc<AppState>, auth: Authenticator, scheme: &'static str) -> Arc<Face> {
    let (node_cache, host) = (Arc::clone(&shared.node_cache), shared.host.clone());
    Arc::new(Face { shared, auth, node_cache, host, scheme })
}

async fn handle(State(face): State<Arc<Face>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let origin = trail::origin(&parts);
    if let Some(response) = description::answer(&parts, &origin.request) {
        return response;
    }
    let path = parts.uri.path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let who = match face.auth.check(path, &parts.headers).await {
        Ok(who) => who,
        Err(denied) => {
            let response = answer::denied(&denied, &origin.request);
            trail::refused(&parts, &origin, response.status().as_u16());
            return response;
        }
    };
    let place = description::Place::of(&parts);
    let (edge, read) = ask::read(parts, body, who, face.scheme).await;
    let answer = match read {
        Read::Refused(error) => Err(error),
        Read::Root(base) => Ok(Answer::shows(version::root(&base))),
        Read::Options => Ok(Answer::nothing()),
        Read::Ask(ask) if ask.follows.is_some() && ask.is("GET", "nodes") => match face.follow(ask) {
            Ok(stream) => return answer::stream(stream, &edge, &origin.request),
            Err(error) => Err(error),
        },
        Read::Ask(mut ask) => face.answer_and_record(&mut ask, &origin).await,
    };
    let mut response = response(&edge, answer, &origin.request);
    place.name(&mut response);
    response
}

impl Face {
    /// Opens a stream of events.
    fn follow(self: &Arc<Self>, mut ask: Ask) -> Result<Response, Error> {
        let found = path::find(ask.version, &ask.method, &ask.path)?;
        self.admit(&mut ask, found.route.path)?;
        let since = ask.follows.flatten();
        self.follow_nodes(ask, self.host.clone(), since)
    }

    async fn answer(&self, ask: &mut Ask) -> Result<Answer, Error> {
        if ask.path.is_empty() {
            let shown = || Answer::shows(version::v1(&ask.base, ask.version));
            return (ask.method == "GET").then(shown).ok_or_else(text::method_not_allowed);
        }
        let found = path::find(ask.version, &ask.method, &ask.path)?;
        if secret::is_forged(&ask.body) {
            return Err(Class::Invalid.says("A value must not have the shape of a sealed one: {\"sealed\": …}"));
        }
        self.admit(ask, found.route.path)?;
        if let Some(refused) = found.older() {
            self.node(ask, ask.steps().get(1).copied().unwrap_or_default())?;
            return Err(refused);
        }
        self.call(ask).await
    }

    /// Makes the one call that an admitted request is about.
    async fn call(&self, ask: &Ask) -> Result<Answer, Error> {
        let steps = ask.steps();
        match (ask.method.as_str(), steps.as_slice()) {
            ("GET", ["nodes"]) => self.list_nodes(ask, Shape::Plain),
            ("GET", ["nodes", "detail"]) => self.list_nodes(ask, Shape::Detail),
            ("POST", ["nodes"]) => self.create_node(ask).await,
            ("GET", ["nodes", "states"]) => Err(query::missing("node_ident")),
            ("GET", ["nodes", "states", "console", ident]) => self.below_node(ask, ident, &["states", "console"]).await,
            ("GET", ["nodes", ident]) => self.show_node(ask, ident),
            ("PATCH", ["nodes", ident]) => self.patch_node(ask, ident).await,
            ("DELETE", ["nodes", ident]) => self.delete_node(ask, ident).await,
            (_, ["nodes", ident, below @ ..]) => self.below_node(ask, ident, below).await,
            (_, ["ports", rest @ ..]) => self.ports(ask, rest).await,
            (_, ["drivers", _, "vendor_passthru"]) => self.driver_vendor(ask),
            (_, ["drivers", rest @ ..]) => self.drivers(ask, rest),
            ("GET", ["conductors", rest @ ..]) => self.conductors(ask, rest),
            (_, ["lookup" | "continue_inspection" | "heartbeat"] | ["heartbeat", _]) => self.agents(ask, &steps).await,
            ("GET", ["shards"]) => Ok(self.shards()),
            ("GET", ["volume"]) => Ok(Answer::shows(volume(ask, "volume"))),
            (_, steps) => match kinds::of(steps) {
                Some((kind, depth)) => self.sheets(ask, kind, steps.get(depth..).unwrap_or_default()).await,
                None => Err(text::no_such_path()),
            },
        }
    }

    /// How many nodes each shard has.
    fn shards(&self) -> Answer {
        let mut counts = BTreeMap::<String, usize>::new();
        for node in self.node_cache.all() {
            let shard = node.whole.get("shard").and_then(Value::as_str).unwrap_or("None");
            *counts.entry(shard.to_owned()).or_default() += 1;
        }
        let mut shards: Vec<_> = counts.into_iter().collect();
        shards.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shards: Vec<Value> =
            shards.into_iter().map(|(name, count)| json!({"name": name, "count": count})).collect();
        Answer::shows(json!({"shards": shards}))
    }
}

/// The document of `volume`, or of the volumes of one node; `path` is where they are.
fn volume(ask: &Ask, path: &str) -> Value {
    let below = links::below(links::VOLUME, ask.version, &ask.base, path);
    let own = ("links".to_owned(), links::resource(&ask.base, &format!("{path}/")));
    Value::Object([own].into_iter().chain(below.map(|(name, value)| (name.to_owned(), value))).collect())
}
