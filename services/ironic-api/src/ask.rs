//! A request, read as far as it can be without knowing a node.

use std::sync::Arc;

use super::condition::Condition;
use axum::{
    body::{Body, to_bytes},
    extract::Query,
    http::{HeaderMap, Method, header, request::Parts, uri::Authority},
};
use domain::policy::Caller;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use wire_ironic::{
    error::{Class, Error, text},
    fields::{self, Columns, Resource},
    limits,
    version::{self, Collection, Version, negotiate},
};

/// A request.
#[derive(Debug)]
pub(super) struct Ask {
    /// The version that it speaks.
    pub(super) version: Version,
    /// Its method.
    pub(super) method: String,
    /// Its path below `/v1`, without slashes at its ends.
    pub(super) path: String,
    /// What stands behind the question mark, in order.
    pub(super) pairs: Vec<(String, String)>,
    /// Its body; null: none.
    pub(super) body: Value,
    /// Scheme and host that links begin with.
    pub(super) base: String,
    /// Who sent it.
    pub(super) who: Arc<Caller>,
    /// The project that must own what it makes.
    pub(super) owner: Option<String>,
    /// What must be, or must not be, the present state of what it is about.
    pub(super) condition: Condition,
    /// It wants to be told of changes, from behind this revision of the store on where that is given.
    pub(super) follows: Option<Option<i64>>,
}

/// What is known of a request even if it is refused.
#[derive(Debug, Clone, Default)]
pub(super) struct Edge {
    /// The headers that say which versions there are.
    pub(super) versions: Vec<(&'static str, String)>,
}

/// What came of reading.
pub(super) enum Read {
    /// It can be asked.
    Ask(Ask),
    /// The document at `/`.
    Root(String),
    /// What every path answers to this method.
    Options,
    /// No more than this.
    Refused(Error),
}

/// Reads a request.
pub(super) async fn read(parts: Parts, body: Body, who: Arc<Caller>, scheme: &str) -> (Edge, Read) {
    let raw = parts.uri.path();
    let decoded = percent_decode_str(raw).decode_utf8_lossy();
    let path = decoded.strip_prefix("/v1").filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(&decoded);
    let Ok(octets) = to_bytes(body, limits::body_limit(path)).await else {
        return (Edge::default(), Read::Refused(limits::too_large()));
    };
    if let Err(error) = limits::check_levels(&octets) {
        return (Edge::default(), Read::Refused(error));
    }
    match parts.method.as_str() {
        "HEAD" => return (Edge::default(), Read::Refused(text::method_not_allowed())),
        "OPTIONS" => return (Edge::default(), Read::Options),
        _ => {}
    }
    let base = base(&parts, scheme);
    let (own, shared) = (word(&parts.headers, version::HEADER), word(&parts.headers, version::SHARED_HEADER));
    let version = match negotiate(own, shared) {
        Ok(version) => version,
        Err(refused) => return (Edge { versions: refused.headers }, Read::Refused(refused.error)),
    };
    let versions = Edge { versions: version.headers().to_vec() };
    if raw == "/" {
        let read =
            if parts.method == Method::GET { Read::Root(base) } else { Read::Refused(text::method_not_allowed()) };
        return (versions, read);
    }
    let path = path.trim_matches('/');
    let named = own.or(shared).map(|_| version);
    let path = version::without_suffix(named, path).to_owned();
    let first = path.split('/').next().unwrap_or_default();
    let edge = if path.is_empty() || Collection::named(first).is_some() { versions } else { Edge::default() };
    if !takes_json(&parts.headers) {
        return (edge, Read::Refused(Class::NotAcceptable.routed("")));
    }
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|Query(pairs)| pairs).unwrap_or_default();
    let body = match octets.iter().all(u8::is_ascii_whitespace) {
        true => Value::Null,
        false => match serde_json::from_slice(&octets) {
            Ok(body) => body,
            Err(_) => return (edge, Read::Refused(text::malformed_json())),
        },
    };
    let method = parts.method.as_str().to_owned();
    let (condition, follows) = (Condition::of(&parts.headers), follows(&parts.headers));
    (edge, Read::Ask(Ask { version, method, path, pairs, body, base, who, owner: None, condition, follows }))
}

fn word<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What links begin with: `scheme`, unless a proxy says that it speaks HTTPS. Over HTTP/2 the host stands in the request's
/// own line (RFC 9113 §8.3.1).
fn base(parts: &Parts, scheme: &str) -> String {
    let scheme = word(&parts.headers, "x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or(scheme);
    let host = parts.uri.authority().map(Authority::as_str).or_else(|| word(&parts.headers, header::HOST.as_str()));
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

/// Whether the client takes what we have: only one that wants nothing but HTML does not.
fn takes_json(headers: &HeaderMap) -> bool {
    let accepts = word(headers, header::ACCEPT.as_str()).unwrap_or("*/*");
    accepts.split(',').map(|one| one.split(';').next().unwrap_or_default().trim()).any(|one| one != "text/html")
}

/// Whether the client wants a stream of events (WHATWG HTML §9.2), and which one it had last.
fn follows(headers: &HeaderMap) -> Option<Option<i64>> {
    let accepts = word(headers, header::ACCEPT.as_str())?.split(',');
    let mut kinds = accepts.map(|one| one.split(';').next().unwrap_or_default().trim());
    kinds.any(|kind| kind == "text/event-stream").then(|| word(headers, "last-event-id")?.parse().ok())
}

impl Ask {
    /// Whether it is this call.
    pub(super) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }

    /// The value of a parameter; of several the last.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What of one resource is to be shown: all of it, unless `fields` says otherwise.
    pub(super) fn columns(&self, resource: &Resource) -> Result<Columns, Error> {
        match self.parameter("fields") {
            Some(asked) => fields::columns(resource, self.version, Some(asked), None),
            None => Ok(Columns::All),
        }
    }

    /// Has what is made belong to whom it must belong to.
    pub(super) fn own(&self, said: &mut Map<String, Value>) {
        if let Some(owner) = &self.owner {
            said.insert("owner".to_owned(), Value::from(owner.as_str()));
        }
    }

    /// Refuses parameters other than these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Error> {
        wire_ironic::query::unexpected(
            self.pairs.iter().map(|(name, _)| name.as_str()).filter(|name| !known.contains(name)),
        )
    }

    /// The arguments of a call: those of the body, and those behind the question mark, which count where the body has
    /// none.
    pub(super) fn arguments(&self) -> Result<Map<String, Value>, Error> {
        let mut arguments = match &self.body {
            Value::Null => Map::new(),
            Value::Object(members) => members.clone(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(Class::Invalid.says("The body of this call must be a JSON object"));
            }
        };
        for (name, value) in &self.pairs {
            arguments.entry(name.clone()).or_insert_with(|| Value::from(value.as_str()));
        }
        Ok(arguments)
    }
}
