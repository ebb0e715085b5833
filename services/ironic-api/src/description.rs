//! The API's description for machines, and where it is named.

use std::sync::LazyLock;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use wire_ironic::{error::text, openapi};

use super::{request::VersionHeaders, response};

/// It is the same for everybody and until we end: written once.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(openapi::document().to_string()));

/// The answer to a request for the description; nothing where something else is asked for.
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

/// What the headers of an answer say that depends on the path alone.
#[derive(Debug)]
pub(super) struct Place {
    path: String,
    reads: bool,
}

impl Place {
    pub(super) fn of(parts: &Parts) -> Self {
        Self { path: parts.uri.path().to_owned(), reads: parts.method == Method::GET }
    }

    /// Says where the description is, in the documents by which clients find their way; and which methods there are, where
    /// it was not this one (RFC 9110 §15.5.6).
    pub(super) fn name(&self, response: &mut Response) {
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
