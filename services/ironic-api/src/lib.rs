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
mod dispatch;
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
    documents,
    error::{Class, Error, text},
    links, route,
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
use scheduler_core::{AppState, node_cache::NodeCache, secret};

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
        Read::Root(base) => Ok(Answer::shows(documents::root(&base))),
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
        let path = ask.path.clone();
        let found = route::find(ask.version, &ask.method, &path)?;
        self.admit(&mut ask, &found)?;
        let since = ask.follows.flatten();
        self.follow_nodes(ask, self.host.clone(), since)
    }

    async fn answer(&self, ask: &mut Ask) -> Result<Answer, Error> {
        if ask.path.is_empty() {
            let shown = || Answer::shows(documents::v1(&ask.base, ask.version));
            return (ask.method == "GET").then(shown).ok_or_else(text::method_not_allowed);
        }
        let path = ask.path.clone();
        let found = route::find(ask.version, &ask.method, &path)?;
        if secret::is_forged(&ask.body) {
            return Err(Class::Invalid.says("A value must not have the shape of a sealed one: {\"sealed\": …}"));
        }
        self.admit(ask, &found)?;
        if let Some(refused) = found.older() {
            self.node(ask, found.ident)?;
            return Err(refused);
        }
        self.dispatch(ask, found.call).await
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
