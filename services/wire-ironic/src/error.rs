//! What a refused request is told: a status and a text, in one of three shapes.
//!
//! Clients of thirty releases pick the text out of these shapes, so the shapes and the texts are part of the protocol.
//! The one that most calls use carries JSON inside a JSON string.

pub mod text;

use serde_json::{Value, json};

/// The shape of an error's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// From a resource: `error_message` is a string with `faultcode`, `faultstring` and `debuginfo` in it.
    Fault,
    /// From before any resource, such as an unknown path: `error_message` is a string with `code`, `title` and
    /// `description` in it. No version headers go along, but with the refusal of a version.
    Router,
    /// From the limits on a body, and from the agent: `faultcode` and `faultstring` at the top.
    Flat,
}

/// A refusal, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {text}")]
pub struct Error {
    /// The HTTP status.
    pub status: u16,
    /// The shape of the body.
    pub form: Form,
    /// What clients show; lower-case or not, it is the protocol's.
    pub text: String,
}

/// What can be wrong, and with it the status; the API reference calls these the normal response codes of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Fix the request.
    Invalid,
    /// No credentials, or wrong ones.
    Unauthenticated,
    /// Known, and not allowed; also a protected node.
    Forbidden,
    /// The thing named is not there, or must not be seen.
    NotFound,
    /// The path is known, the method is not.
    MethodNotAllowed,
    /// The request's version does not have this.
    NotAcceptable,
    /// Change the thing's state first, or come again: locked, associated, exists already, wrong power state.
    Conflict,
    /// It is not as the request demands (RFC 9110 §13.1.1); Ironic has no such condition.
    PreconditionFailed,
    /// The body is longer than the path takes.
    TooLarge,
    /// Ours, or the hardware's in a call that waits for it.
    Server,
    /// No service can handle the request now.
    Unavailable,
}

impl Class {
    /// All of them, in the order of their statuses.
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

    /// The HTTP status.
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

    /// A refusal by a resource.
    #[must_use]
    pub fn says(self, text: impl Into<String>) -> Error {
        Error { status: self.status(), form: Form::Fault, text: text.into() }
    }

    /// A refusal from before any resource.
    #[must_use]
    pub fn routed(self, text: impl Into<String>) -> Error {
        Error { status: self.status(), form: Form::Router, text: text.into() }
    }

    /// A refusal of a body, or by the agent.
    #[must_use]
    pub fn flat(self, text: impl Into<String>) -> Error {
        Error { status: self.status(), form: Form::Flat, text: text.into() }
    }
}

impl Error {
    /// The JSON that goes out.
    #[must_use]
    pub fn body(&self) -> Value {
        let faultcode = if self.status >= 500 { "Server" } else { "Client" };
        match self.form {
            Form::Fault => wrapped(&json!({"faultcode": faultcode, "faultstring": self.text, "debuginfo": null})),
            Form::Router => {
                wrapped(&json!({"code": self.status, "title": title(self.status), "description": self.text}))
            }
            Form::Flat => json!({"faultcode": faultcode, "faultstring": self.text}),
        }
    }
}

fn wrapped(inner: &Value) -> Value {
    json!({"error_message": inner.to_string()})
}

/// The reason phrase of a status, RFC 9110 §15 as the protocol spells it.
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

    fn inside(error: &Error) -> Value {
        serde_json::from_str(error.body().get("error_message").unwrap().as_str().unwrap()).unwrap()
    }

    #[test]
    fn a_resource_puts_json_into_a_string() {
        let inner = inside(&Class::NotFound.says("Node x could not be found."));
        assert_eq!(
            inner,
            json!({"faultcode": "Client", "faultstring": "Node x could not be found.", "debuginfo": null})
        );
    }

    #[test]
    fn from_500_on_the_fault_is_the_servers() {
        for class in Class::ALL {
            let expected = if class.status() < 500 { "Client" } else { "Server" };
            assert_eq!(inside(&class.says("x")).get("faultcode").unwrap(), expected);
            assert_eq!(class.flat("x").body().get("faultcode").unwrap(), expected);
        }
    }

    #[test]
    fn the_router_says_code_and_title() {
        assert_eq!(
            inside(&Class::MethodNotAllowed.routed("")),
            json!({"code": 405, "title": "Method Not Allowed", "description": ""})
        );
    }
}
