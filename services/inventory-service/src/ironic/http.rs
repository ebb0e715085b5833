//! HTTP handlers for agents that use Ironic's protocol: parse the request, make one call, encode the response.

use axum::{
    Extension, Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header},
    response::Response,
};
use serde_json::Value;
use service_kit::{
    Host,
    listener::{self, BodySender, Charge, Listener, ParseError, Peer},
};
use tokio::net::TcpListener;
use wire_ironic::{
    documents,
    error::Error as Wire,
    limits,
    version::{self, Version, negotiate},
};

use super::{AgentCall, AgentResponse, CallError, Ironic, Origin};

/// Serves agents until the host stops.
pub(crate) async fn serve(host: Host, socket: TcpListener, listener: Listener, ironic: Ironic) {
    let routes = Router::new().fallback(handle).with_state(ironic);
    listener::serve(host, socket, listener, move |_| routes.clone()).await;
}

async fn handle(State(ironic): State<Ironic>, Extension(peer): Extension<Peer>, request: Request<Body>) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let (version, answer) = match read(&peer, request).await {
        Ok(Read::Document(document)) => (None, Ok(AgentResponse { status: 200, body: Some(document) })),
        Ok(Read::Call(call, _charge)) => (Some(call.version), ironic.answer(&call).await),
        Err(refused) => (None, Err(CallError::Refused(refused))),
    };
    match answer {
        Ok(said) => response(said.status, said.body.as_ref(), version),
        Err(CallError::Refused(error)) => response(error.status, Some(&error.body()), version),
        // The agent repeats the request there (RFC 9110 §15.4.8).
        Err(CallError::Redirect(endpoint)) => {
            let mut response = response(307, None, version);
            if let Ok(place) = HeaderValue::from_str(&format!("http://{endpoint}{path}")) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            response
        }
    }
}

enum Read {
    /// A request for a version document.
    Document(Value),
    /// A call of an agent, and the memory that its body takes.
    Call(Box<AgentCall>, Charge),
}

async fn read(peer: &Peer, request: Request<Body>) -> Result<Read, Wire> {
    let (parts, body) = request.into_parts();
    let raw = parts.uri.path();
    let path = raw.strip_prefix("/v1").filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(raw);
    let limit = limits::body_limit(parts.method.as_str(), path);
    // An agent proves itself by the token in its body.
    let received = peer.read_body(body, limit, BodySender::STRANGER).await;
    let received = received.map_err(|error| limits::unread(error.status(), &error.to_string()))?;
    let (body, charge) = received.parse(limits::check_shape, limits::parse).await.map_err(|error| match error {
        ParseError::Shape(error) => error,
        ParseError::Busy(busy) => limits::unread(503, &busy.to_string()),
    })?;
    let base = format!("http://{}", header_text(&parts.headers, header::HOST.as_str()).unwrap_or("localhost"));
    let (own, shared) =
        (header_text(&parts.headers, version::HEADER), header_text(&parts.headers, version::SHARED_HEADER));
    let version = negotiate(own, shared).map_err(|refused| refused.error)?;
    let path = path.trim_matches('/').to_owned();
    if raw == "/" {
        return Ok(Read::Document(documents::root(&base)));
    }
    if path.is_empty() {
        return Ok(Read::Document(documents::v1(&base, version)));
    }
    wire_ironic::route::find(version, parts.method.as_str(), &path)?;
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|Query(pairs)| pairs).unwrap_or_default();
    let origin = Origin::Network(peer.address().ip());
    Ok(Read::Call(Box::new(AgentCall { origin, version, path, pairs, body: body?, base }), charge))
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn response(status: u16, body: Option<&Value>, version: Option<Version>) -> Response {
    let json = body.map(|body| serde_json::to_vec(body).unwrap_or_default());
    let has_body = json.is_some();
    let mut response = Response::new(json.map_or_else(Body::empty, Body::from));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in version.into_iter().flat_map(Version::headers) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    response
}
