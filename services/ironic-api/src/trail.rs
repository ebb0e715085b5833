//! What a change was about, so that there is a record of it ([`api_auth::audit`]).

use std::net::SocketAddr;

use axum::{extract::ConnectInfo, http::request::Parts};
use serde_json::{Map, Value};
use wire_ironic::{error::Error, fields};

use super::{Ask, Face, answer::Answer, ports};
use api_auth::audit::{self, Origin, Record};
use scheduler_core::{document, kinds, node_cache::parts, secret};

/// The most of a proxy's word that is kept, in characters.
const LONGEST_FORWARDED: usize = 100;

/// A thing and its place, whole, secrets sealed.
type Thing = (String, Map<String, Value>);

/// Where a request came from.
pub(super) fn origin(parts: &Parts) -> Origin {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let forwarded = parts.headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let forwarded = forwarded.map(|text| text.chars().take(LONGEST_FORWARDED).collect());
    Origin { peer, forwarded, request: format!("req-{}", uuid::Uuid::new_v4()) }
}

impl Face {
    /// Answers a request; where it may change something, there is a record of it. What others changed at the same time may
    /// be in it too.
    pub(super) async fn answer_and_record(&self, ask: &mut Ask, origin: &Origin) -> Result<Answer, Error> {
        if !audit::is_change(&ask.method) || is_agents(&ask.path) || !audit::is_on() {
            return self.answer(ask).await;
        }
        let before = self.thing(ask, &ask.path);
        let answer = self.answer(ask).await;
        let made = answer.as_ref().ok().and_then(|answer| answer.place()?.split_once("/v1/").map(|(_, path)| path));
        let place = before.as_ref().map(|(place, _)| place.as_str()).or(made);
        let after = place.filter(|_| answer.is_ok()).and_then(|place| self.thing(ask, place));
        let changes = match &answer {
            Ok(_) => {
                audit::changes(before.as_ref().map(|(_, whole)| whole), after.as_ref().map(|(_, whole)| whole), mask)
            }
            // What is wrong with a request may quote it, and with it what should be sealed.
            Err(error) if error.status == 400 => Value::Null,
            Err(error) => Value::from(error.text.as_str()),
        };
        let status = answer.as_ref().map_or_else(|error| error.status, Answer::status);
        let resource = place.unwrap_or(&ask.path);
        let (who, method, path) = (Some(ask.who.as_ref()), ask.method.as_str(), ask.path.as_str());
        Record { origin, who, method, path, resource, status, changes: &changes }.write();
        answer
    }

    /// The thing that a path begins with, if there is one.
    fn thing(&self, ask: &Ask, path: &str) -> Option<Thing> {
        let steps: Vec<&str> = path.split('/').collect();
        let view = self.shared.registry.view();
        match steps.as_slice() {
            ["nodes", ident, ..] => {
                let node = self.find(ident)?;
                Some((format!("nodes/{}", node.node), document::whole(&parts(view, node.rack, node.node)?)))
            }
            ["ports", ident, ..] => {
                let port = self.port(ask, ident).ok()?;
                Some((format!("ports/{}", port.port.value.id), ports::whole(&port)))
            }
            steps => {
                let (kind, depth) = kinds::of(steps)?;
                let (id, sheet) = self.shared.sheet(kind, steps.get(depth)?).ok()?;
                Some((format!("{}/{id}", kind.resource.path), sheet.value.fields))
            }
        }
    }
}

/// Hides every secret in the fields of a thing, sealed or not.
fn mask(fields: &mut Map<String, Value>) {
    secret::hide(fields);
    if let Value::Object(masked) = fields::masked(Value::Object(std::mem::take(fields))) {
        *fields = masked;
    }
}

/// The record of a change that was refused before anything of it was read.
pub(super) fn refused(parts: &Parts, origin: &Origin, status: u16) {
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    if audit::is_change(method) {
        let changes = Value::Null;
        Record { origin, who: None, method, path, resource: path, status, changes: &changes }.write();
    }
}

/// Agents say how they are every few seconds; what comes of it is in the node's own history.
fn is_agents(path: &str) -> bool {
    matches!(path.split('/').next(), Some("lookup" | "heartbeat" | "continue_inspection"))
}
