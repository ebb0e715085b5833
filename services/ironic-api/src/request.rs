//! Parses a request as far as possible without looking up a node.

use std::sync::Arc;

use super::condition::Condition;
use axum::{
    body::Body,
    extract::Query,
    http::{HeaderMap, Method, header, request::Parts},
};
use domain::policy::Caller;
use percent_encoding::percent_decode_str;
use scheduler_core::RequestContext;
use serde_json::{Map, Value};
use service_kit::listener::{BodySender, Charge, Class, ParseError, Peer};
use wire_ironic::{
    error::{Class as ErrorClass, Error, text},
    fields::{self, Columns, Resource},
    limits,
    version::{self, Collection, Version, negotiate},
};

/// Parsed request.
#[derive(Debug)]
pub(super) struct ApiRequest {
    /// Negotiated API version.
    pub(super) version: Version,
    /// HTTP method.
    pub(super) method: String,
    /// Path below `/v1`, without leading and trailing slashes.
    pub(super) path: String,
    /// Query parameters, in order.
    pub(super) pairs: Vec<(String, String)>,
    /// JSON body; null if there is none.
    pub(super) body: Value,
    /// Scheme and host for links.
    pub(super) base: String,
    /// Authenticated sender.
    pub(super) caller: Arc<Caller>,
    /// Project that owns the resources that this request creates, if the caller is restricted to one.
    pub(super) owner: Option<String>,
    /// Whether a proxy passed the call of an agent on, by the headers that proxies add. True for other calls, which are never
    /// taken for those of an agent on this host.
    pub(super) is_forwarded: bool,
    /// Preconditions (`If-Match`, `If-None-Match`).
    pub(super) condition: Condition,
    /// Set if the client requests a stream of changes; the inner value is the store revision after which it starts.
    pub(super) follows: Option<Option<i64>>,
}

/// Headers by which a proxy shows that it passed a request on (RFC 7239, RFC 9110 §7.6.3), in lower case.
const PROXY_HEADERS: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// First segments of the paths of agents' calls.
const AGENT_CALLS: [&str; 3] = ["lookup", "heartbeat", "continue_inspection"];

/// Where a request comes from.
#[derive(Debug)]
pub(super) struct Source<'r> {
    /// Authenticated sender.
    pub(super) caller: Arc<Caller>,
    /// How far it is trusted with memory.
    pub(super) class: Class,
    /// Its connection.
    pub(super) peer: &'r Peer,
    /// URL scheme of links.
    pub(super) scheme: &'r str,
}

/// Version headers of the response, also of a refusal.
#[derive(Debug, Clone, Default)]
pub(super) struct VersionHeaders {
    /// Header names and values.
    pub(super) versions: Vec<(&'static str, String)>,
}

/// Outcome of parsing a request.
pub(super) enum ParsedRequest {
    /// Request for one of the API's resources, and the memory that its body takes.
    Api(Box<ApiRequest>, Charge),
    /// Request for the version document at `/`; contains the base of its links.
    Root(String),
    /// `OPTIONS` of any path.
    Options,
    /// Invalid request.
    Refused(Error),
}

/// Parses a request.
pub(super) async fn parse(parts: Parts, body: Body, source: Source<'_>) -> (VersionHeaders, ParsedRequest) {
    let Source { caller, class, peer, scheme } = source;
    let raw = parts.uri.path();
    let decoded = percent_decode_str(raw).decode_utf8_lossy();
    let path = decoded.strip_prefix("/v1").filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(&decoded);
    let limit = limits::body_limit(parts.method.as_str(), path);
    let (body, charge) = match read(peer, body, limit, BodySender { class, account: &caller.account }).await {
        Ok(read) => read,
        Err(error) => return (VersionHeaders::default(), ParsedRequest::Refused(error)),
    };
    match parts.method.as_str() {
        "HEAD" => return (VersionHeaders::default(), ParsedRequest::Refused(text::method_not_allowed())),
        "OPTIONS" => return (VersionHeaders::default(), ParsedRequest::Options),
        _ => {}
    }
    let base = base(&parts, scheme);
    let (ironic_version, shared_version) =
        (word(&parts.headers, version::HEADER), word(&parts.headers, version::SHARED_HEADER));
    let version = match negotiate(ironic_version, shared_version) {
        Ok(version) => version,
        Err(refused) => return (VersionHeaders { versions: refused.headers }, ParsedRequest::Refused(refused.error)),
    };
    let versions = VersionHeaders { versions: version.headers().to_vec() };
    if raw == "/" {
        let parsed = if parts.method == Method::GET {
            ParsedRequest::Root(base)
        } else {
            ParsedRequest::Refused(text::method_not_allowed())
        };
        return (versions, parsed);
    }
    let path = path.trim_matches('/');
    let named = ironic_version.or(shared_version).map(|_| version);
    let path = version::without_suffix(named, path).to_owned();
    let first = path.split('/').next().unwrap_or_default();
    let version_headers =
        if path.is_empty() || Collection::named(first).is_some() { versions } else { VersionHeaders::default() };
    if !takes_json(&parts.headers) {
        return (version_headers, ParsedRequest::Refused(ErrorClass::NotAcceptable.router_error("")));
    }
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|Query(pairs)| pairs).unwrap_or_default();
    let body = match body {
        Ok(body) => body,
        Err(error) => return (version_headers, ParsedRequest::Refused(error)),
    };
    let method = parts.method.as_str().to_owned();
    let is_of_agent = path.split('/').next().is_some_and(|first| AGENT_CALLS.contains(&first));
    let is_forwarded = !is_of_agent || PROXY_HEADERS.iter().any(|name| parts.headers.contains_key(*name));
    let request = ApiRequest {
        version,
        method,
        path,
        pairs,
        body,
        base,
        caller,
        owner: None,
        is_forwarded,
        condition: Condition::of(&parts.headers),
        follows: follows(&parts.headers),
    };
    (version_headers, ParsedRequest::Api(Box::new(request), charge))
}

/// Reads and parses a body. Returns it with the memory that it takes. That it is not JSON is reported after other errors.
async fn read(
    peer: &Peer,
    body: Body,
    limit: usize,
    sender: BodySender<'_>,
) -> Result<(Result<Value, Error>, Charge), Error> {
    let received = peer.read_body(body, limit, sender).await;
    let received = received.map_err(|error| limits::unread(error.status(), &error.to_string()))?;
    received.parse(limits::check_shape, limits::parse).await.map_err(|error| match error {
        ParseError::Shape(error) => error,
        ParseError::Busy(busy) => limits::unread(503, &busy.to_string()),
    })
}

fn word<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Returns the base of links: `scheme`, unless a proxy's header says HTTPS, and the host.
fn base(parts: &Parts, scheme: &str) -> String {
    let scheme = word(&parts.headers, "x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or(scheme);
    let host = api_auth::host(parts).ok().flatten();
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

/// Returns whether the client accepts JSON. Only a client that accepts nothing but HTML does not.
fn takes_json(headers: &HeaderMap) -> bool {
    let accepts = word(headers, header::ACCEPT.as_str()).unwrap_or("*/*");
    accepts.split(',').map(|one| one.split(';').next().unwrap_or_default().trim()).any(|one| one != "text/html")
}

/// Returns `Some` if the client requests a stream of events (WHATWG HTML §9.2), with the id of the last one that it received.
fn follows(headers: &HeaderMap) -> Option<Option<i64>> {
    let accepts = word(headers, header::ACCEPT.as_str())?.split(',');
    let mut kinds = accepts.map(|one| one.split(';').next().unwrap_or_default().trim());
    kinds.any(|kind| kind == "text/event-stream").then(|| word(headers, "last-event-id")?.parse().ok())
}

impl ApiRequest {
    /// The context in which the scheduler carries the request out.
    pub(super) fn context(&self) -> RequestContext {
        RequestContext::of(self.caller.name.clone())
    }

    /// Returns whether the request has this method and path.
    pub(super) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }

    /// Value of a query parameter. The last one wins.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Fields of a single resource to return: all, unless the request has a `fields` parameter.
    pub(super) fn columns(&self, resource: &Resource) -> Result<Columns, Error> {
        match self.parameter("fields") {
            Some(asked) => fields::columns(resource, self.version, Some(asked), None),
            None => Ok(Columns::All),
        }
    }

    /// Sets the owner of a new resource, if the caller is restricted to a project.
    pub(super) fn set_owner(&self, attributes: &mut Map<String, Value>) {
        if let Some(owner) = &self.owner {
            attributes.insert("owner".to_owned(), Value::from(owner.as_str()));
        }
    }

    /// Rejects unknown query parameters.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Error> {
        wire_ironic::query::unexpected(
            self.pairs.iter().map(|(name, _)| name.as_str()).filter(|name| !known.contains(name)),
        )
    }

    /// Merges the members of the body with the query parameters. The body takes precedence.
    pub(super) fn arguments(&self) -> Result<Map<String, Value>, Error> {
        let mut arguments = match &self.body {
            Value::Null => Map::new(),
            Value::Object(members) => members.clone(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(ErrorClass::Invalid.error("The body of this call must be a JSON object"));
            }
        };
        for (name, value) in &self.pairs {
            arguments.entry(name.clone()).or_insert_with(|| Value::from(value.as_str()));
        }
        Ok(arguments)
    }
}
