//! Responses to clients: status, JSON body, and the headers that every response has.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::Value;
use wire_ironic::error::{Class, Error, Form};

use super::{pages::Page, request::VersionHeaders};
use api_auth::Denied;

/// Body of a response.
#[derive(Debug)]
enum ResponseBody {
    Nothing,
    Json(Value),
    /// Serialized while it is sent.
    Page(Box<Page>),
}

/// Response to an API request, independent of HTTP types.
#[derive(Debug)]
pub(super) struct ApiResponse {
    status: u16,
    body: ResponseBody,
    location: Option<String>,
    /// Entity tag of the resource in the body.
    tag: Option<String>,
}

impl ApiResponse {
    /// 200.
    pub(super) const fn ok(body: Value) -> Self {
        Self { status: 200, body: ResponseBody::Json(body), location: None, tag: None }
    }

    /// 200 with a page of a list.
    pub(super) fn page(page: Page) -> Self {
        Self { status: 200, body: ResponseBody::Page(Box::new(page)), location: None, tag: None }
    }

    /// 200 without a body.
    pub(super) const fn empty() -> Self {
        Self { status: 200, body: ResponseBody::Nothing, location: None, tag: None }
    }

    /// 201 with the location of the new resource.
    pub(super) const fn created(body: Value, location: String) -> Self {
        Self { status: 201, body: ResponseBody::Json(body), location: Some(location), tag: None }
    }

    /// 202 with the location where the client can follow the operation.
    pub(super) const fn accepted(location: Option<String>) -> Self {
        Self { status: 202, body: ResponseBody::Nothing, location, tag: None }
    }

    /// Response of another service, passed on.
    pub(super) fn relayed(status: u16, body: Option<Value>) -> Self {
        let body = body.map_or(ResponseBody::Nothing, ResponseBody::Json);
        Self { status, body, location: None, tag: None }
    }

    /// 304: the client's copy is current (RFC 9110 §15.4.5).
    pub(super) const fn not_modified() -> Self {
        Self { status: 304, body: ResponseBody::Nothing, location: None, tag: None }
    }

    /// Sets the entity tag.
    pub(super) fn with_etag(self, tag: String) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// 204.
    pub(super) const fn no_content() -> Self {
        Self { status: 204, body: ResponseBody::Nothing, location: None, tag: None }
    }

    /// HTTP status code.
    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// Location of the created resource. `None` unless the status is 201.
    pub(super) fn created_location(&self) -> Option<&str> {
        self.location.as_deref().filter(|_| self.status == 201)
    }

    /// Sets the `Location` header.
    pub(super) fn with_location(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }
}

/// Encodes the response to a request that was not authenticated.
pub(super) fn denied(denied: &Denied, request_id: &str) -> Response {
    let (body, challenges) = match denied {
        Denied::Unknown { body, challenges } => (body, challenges),
        Denied::Away(why) => {
            return into_http(&VersionHeaders::default(), Err(Class::Unavailable.error(why.as_str())), request_id);
        }
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for challenge in challenges.iter().filter_map(|challenge| HeaderValue::from_str(challenge).ok()) {
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    name(&mut response, request_id);
    response
}

/// Encodes a response for HTTP. A response without a body has no `Content-Type`: clients take that as "nothing to read".
pub(super) fn into_http(
    version_headers: &VersionHeaders,
    answer: Result<ApiResponse, Error>,
    request_id: &str,
) -> Response {
    let (answer, versions) = match answer {
        Ok(answer) => (answer, version_headers.versions.as_slice()),
        Err(error) => {
            // The router says nothing of versions, unless it refuses one.
            let says = error.form != Form::Router || error.status == 406;
            let body = ResponseBody::Json(error.body());
            let answer = ApiResponse { status: error.status, body, location: None, tag: None };
            (answer, if says { version_headers.versions.as_slice() } else { &[] })
        }
    };
    let has_body = !matches!(answer.body, ResponseBody::Nothing);
    let mut response = Response::new(match answer.body {
        ResponseBody::Nothing => Body::empty(),
        ResponseBody::Json(body) => Body::from(serde_json::to_vec(&body).unwrap_or_default()),
        ResponseBody::Page(page) => page.body(),
    });
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(location) = answer.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    if let Some(tag) = answer.tag.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        headers.insert(header::ETAG, tag);
    }
    finish(&mut response, versions, request_id);
    response
}

/// Adds the common headers to a stream of events.
pub(super) fn stream(mut response: Response, version_headers: &VersionHeaders, request_id: &str) -> Response {
    finish(&mut response, &version_headers.versions, request_id);
    response
}

fn finish(response: &mut Response, versions: &[(&'static str, String)], request_id: &str) {
    for (name, value) in versions {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    name(response, request_id);
}

/// Sets the request id, which also identifies the request in the log.
pub(super) fn name(response: &mut Response, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-openstack-request-id", id.clone());
        response.headers_mut().insert("openstack-request-id", id);
    }
}

#[cfg(test)]
mod tests {
    use wire_ironic::error::Class;

    use super::*;

    /// ironicclient's exceptions take that header for 413 alone, and end in a `TypeError` before they show the reason.
    #[test]
    fn an_error_has_no_header_on_which_the_stock_client_breaks() {
        for class in [Class::Conflict, Class::TooLarge, Class::Server, Class::Unavailable] {
            let response = into_http(&VersionHeaders::default(), Err(class.error("why")), "req-1");
            assert_eq!(response.status().as_u16(), class.status());
            assert!(!response.headers().contains_key(header::RETRY_AFTER), "{class:?}");
        }
    }
}
