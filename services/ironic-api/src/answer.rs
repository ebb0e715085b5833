//! What goes back to a client: a status, perhaps JSON, and the headers that every answer has.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::Value;
use wire_ironic::error::{Class, Error, Form};

use super::{ask::Edge, pages::Page};
use api_auth::Denied;

/// What is in an answer.
#[derive(Debug)]
enum Said {
    Nothing,
    Json(Value),
    /// Written as it goes out.
    Page(Box<Page>),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    body: Said,
    location: Option<String>,
    /// The entity tag of what is shown.
    tag: Option<String>,
}

impl Answer {
    /// 200.
    pub(super) const fn shows(body: Value) -> Self {
        Self { status: 200, body: Said::Json(body), location: None, tag: None }
    }

    /// 200 with a page of a list.
    pub(super) fn page(page: Page) -> Self {
        Self { status: 200, body: Said::Page(Box::new(page)), location: None, tag: None }
    }

    /// 200 without a body.
    pub(super) const fn nothing() -> Self {
        Self { status: 200, body: Said::Nothing, location: None, tag: None }
    }

    /// 201, and where the new resource is.
    pub(super) const fn created(body: Value, location: String) -> Self {
        Self { status: 201, body: Said::Json(body), location: Some(location), tag: None }
    }

    /// 202, and where it can be seen what comes of it.
    pub(super) const fn accepted(location: Option<String>) -> Self {
        Self { status: 202, body: Said::Nothing, location, tag: None }
    }

    /// What another service answered.
    pub(super) fn relayed(status: u16, body: Option<Value>) -> Self {
        let body = body.map_or(Said::Nothing, Said::Json);
        Self { status, body, location: None, tag: None }
    }

    /// 304: the client has what it asks for (RFC 9110 §15.4.5).
    pub(super) const fn unchanged() -> Self {
        Self { status: 304, body: Said::Nothing, location: None, tag: None }
    }

    /// The same, with the entity tag of what is shown.
    pub(super) fn tagged(self, tag: String) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// 204.
    pub(super) const fn done() -> Self {
        Self { status: 204, body: Said::Nothing, location: None, tag: None }
    }

    /// Its status.
    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// Where what it made is.
    pub(super) fn place(&self) -> Option<&str> {
        self.location.as_deref().filter(|_| self.status == 201)
    }

    /// The same, with a place.
    pub(super) fn at(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }
}

/// The refusal of who did not say who he is, or whose word can not be looked into now.
pub(super) fn denied(denied: &Denied, request: &str) -> Response {
    let (body, challenges) = match denied {
        Denied::Unknown { body, challenges } => (body, challenges),
        Denied::Away(why) => return response(&Edge::default(), Err(Class::Unavailable.says(why.as_str())), request),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for challenge in challenges.iter().filter_map(|challenge| HeaderValue::from_str(challenge).ok()) {
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    name(&mut response, request);
    response
}

/// The answer as it goes out. What has no body has no type: clients tell by it that there is nothing to read.
pub(super) fn response(edge: &Edge, answer: Result<Answer, Error>, request: &str) -> Response {
    let (answer, versions) = match answer {
        Ok(answer) => (answer, edge.versions.as_slice()),
        Err(error) => {
            // The router says nothing of versions, unless it refuses one.
            let says = error.form != Form::Router || error.status == 406;
            let body = Said::Json(error.body());
            let answer = Answer { status: error.status, body, location: None, tag: None };
            (answer, if says { edge.versions.as_slice() } else { &[] })
        }
    };
    let has_body = !matches!(answer.body, Said::Nothing);
    let mut response = Response::new(match answer.body {
        Said::Nothing => Body::empty(),
        Said::Json(body) => Body::from(serde_json::to_vec(&body).unwrap_or_default()),
        Said::Page(page) => page.body(),
    });
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if answer.status == 503 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    if let Some(location) = answer.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    if let Some(tag) = answer.tag.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        headers.insert(header::ETAG, tag);
    }
    finish(&mut response, versions, request);
    response
}

/// A stream of events as it goes out.
pub(super) fn stream(mut response: Response, edge: &Edge, request: &str) -> Response {
    finish(&mut response, &edge.versions, request);
    response
}

fn finish(response: &mut Response, versions: &[(&'static str, String)], request: &str) {
    for (name, value) in versions {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    name(response, request);
}

/// Every answer says what its request is called in the log.
pub(super) fn name(response: &mut Response, request: &str) {
    if let Ok(id) = HeaderValue::from_str(request) {
        response.headers_mut().insert("x-openstack-request-id", id.clone());
        response.headers_mut().insert("openstack-request-id", id);
    }
}
