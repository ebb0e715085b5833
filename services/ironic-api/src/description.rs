//! OpenAPI document, and the links to it.

use std::sync::LazyLock;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use wire_ironic::{error::text, openapi};

use super::{request::VersionHeaders, response};

/// Serialized document.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(openapi::document().to_string()));

/// Answers a request for the document. `None` if the request has another path.
pub(super) fn answer(parts: &Parts, request_id: &str) -> Option<Response> {
    if parts.uri.path() != openapi::PATH || parts.method == Method::OPTIONS {
        return None;
    }
    if parts.method != Method::GET {
        let mut refused = response::into_http(&VersionHeaders::default(), Err(text::method_not_allowed()), request_id);
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return Some(refused);
    }
    let mut response = Response::new(Body::from(DOCUMENT.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response::name(&mut response, request_id);
    Some(response)
}

/// Headers of a response that depend on the path only.
#[derive(Debug)]
pub(super) struct PathHeaders {
    path: String,
    reads: bool,
}

impl PathHeaders {
    pub(super) fn of(parts: &Parts) -> Self {
        Self { path: parts.uri.path().to_owned(), reads: parts.method == Method::GET }
    }

    /// Links to the OpenAPI document from the root documents, and lists the methods of the path on a 405 (RFC 9110
    /// §15.5.6).
    pub(super) fn set(&self, response: &mut Response) {
        let path = self.path.trim_matches('/');
        let below = path.strip_prefix("v1").filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let below = below.unwrap_or(path).trim_matches('/');
        if self.reads && below.is_empty() && response.status().is_success() {
            response.headers_mut().insert(header::LINK, HeaderValue::from_static(openapi::LINK));
        }
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            let methods: Vec<&str> =
                if below.is_empty() { vec!["GET"] } else { wire_ironic::route::methods(below).collect() };
            if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
                response.headers_mut().insert(header::ALLOW, methods);
            }
        }
    }
}
