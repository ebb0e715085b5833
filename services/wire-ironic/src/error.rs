//! Error responses: a status and a text, in one of three formats.
//!
//! Clients of thirty releases parse these formats, so formats and texts are part of the protocol. The most frequent one
//! contains JSON in a JSON string.

pub mod text;

use serde_json::{Value, json};

/// Format of an error's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// From a resource: `error_message` is a string that contains JSON with `faultcode`, `faultstring` and `debuginfo`.
    Fault,
    /// From the router, such as for an unknown path: `error_message` is a string that contains JSON with `code`, `title` and
    /// `description`. Only the error of an unsupported version has version headers.
    Router,
    /// From body limits and agent calls: `faultcode` and `faultstring` are members of the body.
    Flat,
}

/// Error response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {text}")]
pub struct Error {
    /// HTTP status.
    pub status: u16,
    /// Format of the body.
    pub form: Form,
    /// Text that clients show, in Ironic's wording.
    pub text: String,
}

/// Class of an error, which determines its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The request is invalid.
    Invalid,
    /// The credentials are missing or wrong.
    Unauthenticated,
    /// The caller lacks a permission, or the node is protected.
    Forbidden,
    /// The resource does not exist or is hidden from the caller.
    NotFound,
    /// The path does not support the method.
    MethodNotAllowed,
    /// The request's version does not support this.
    NotAcceptable,
    /// The state of the resource conflicts with the request: locked, associated, existing already, wrong power state.
    Conflict,
    /// A precondition failed (RFC 9110 §13.1.1); Ironic has no preconditions.
    PreconditionFailed,
    /// The body is larger than the path accepts.
    TooLarge,
    /// Internal error, or hardware error in a call that waits for the hardware.
    Server,
    /// No service can handle the request now.
    Unavailable,
}

impl Class {
    /// All classes, in the order of their statuses.
    pub const ALL: [Self; 11] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::Server,
        Self::Unavailable,
    ];

    /// HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::Conflict => 409,
            Self::PreconditionFailed => 412,
            Self::TooLarge => 413,
            Self::Server => 500,
            Self::Unavailable => 503,
        }
    }

    /// Returns an error in the format of a resource.
    #[must_use]
    pub fn error(self, text: impl Into<String>) -> Error {
        Error { status: self.status(), form: Form::Fault, text: text.into() }
    }

    /// Returns an error in the format of the router.
    #[must_use]
    pub fn router_error(self, text: impl Into<String>) -> Error {
        Error { status: self.status(), form: Form::Router, text: text.into() }
    }

    /// Returns an error in the format of body limits and agent calls.
    #[must_use]
    pub fn flat_error(self, text: impl Into<String>) -> Error {
        Error { status: self.status(), form: Form::Flat, text: text.into() }
    }
}

impl Error {
    /// JSON body of the response.
    #[must_use]
    pub fn body(&self) -> Value {
        let faultcode = if self.status >= 500 { "Server" } else { "Client" };
        match self.form {
            Form::Fault => wrap(&json!({"faultcode": faultcode, "faultstring": self.text, "debuginfo": null})),
            Form::Router => wrap(&json!({"code": self.status, "title": title(self.status), "description": self.text})),
            Form::Flat => json!({"faultcode": faultcode, "faultstring": self.text}),
        }
    }
}

fn wrap(inner: &Value) -> Value {
    json!({"error_message": inner.to_string()})
}

/// Reason phrase of a status, in Ironic's spelling (RFC 9110 §15).
#[must_use]
pub const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner_json(error: &Error) -> Value {
        serde_json::from_str(error.body().get("error_message").unwrap().as_str().unwrap()).unwrap()
    }

    #[test]
    fn an_error_of_a_resource_is_json_in_a_string() {
        let inner = inner_json(&Class::NotFound.error("Node x could not be found."));
        assert_eq!(
            inner,
            json!({"faultcode": "Client", "faultstring": "Node x could not be found.", "debuginfo": null})
        );
    }

    #[test]
    fn the_faultcode_of_a_5xx_is_server() {
        for class in Class::ALL {
            let expected = if class.status() < 500 { "Client" } else { "Server" };
            assert_eq!(inner_json(&class.error("x")).get("faultcode").unwrap(), expected);
            assert_eq!(class.flat_error("x").body().get("faultcode").unwrap(), expected);
        }
    }

    #[test]
    fn an_error_of_the_router_has_a_code_and_a_title() {
        assert_eq!(
            inner_json(&Class::MethodNotAllowed.router_error("")),
            json!({"code": 405, "title": "Method Not Allowed", "description": ""})
        );
    }
}
