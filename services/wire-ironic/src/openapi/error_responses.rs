//! Error responses of the calls, and the schemas of their bodies.

use serde_json::{Map, Value, json};

use super::path_kind::{self, PathKind, path_kind};
use super::responses;
use super::schema;
use crate::error::{Class, Form, title};
use crate::route::find;
use crate::version::Version;

/// Name of a class among the components.
fn component_name(class: Class) -> String {
    format!("{class:?}")
}

/// Returns the error responses of a call, by status.
pub(super) fn error_responses(method: &str, path: &str) -> Map<String, Value> {
    // A request without a version header has the oldest version, which may not have the call.
    let oldest = find(Version::MIN, method, &path.replace('*', "x")).err().map(|error| error.status);
    let classes =
        Class::ALL.into_iter().filter(|class| can_fail(*class, method, path) || oldest == Some(class.status()));
    classes.map(reference).collect()
}

/// Returns a reference to the response of a class, with its status.
pub(super) fn reference(class: Class) -> (String, Value) {
    (class.status().to_string(), json!({"$ref": format!("#/components/responses/{}", component_name(class))}))
}

/// Returns whether a call can fail with an error of a class.
fn can_fail(class: Class, method: &str, path: &str) -> bool {
    let (reads, public) = (method == "GET", path_kind::is_public(path));
    match class {
        // Malformed JSON and unknown versions are rejected before any other check.
        Class::Invalid | Class::NotAcceptable | Class::Unavailable => true,
        Class::Unauthenticated | Class::Forbidden => !public,
        // Resources in a path, a filter, a marker or a body may not exist.
        Class::NotFound => !reads || path.contains('*') || public || matches!(path_kind(path), PathKind::List(..)),
        // The document describes only calls that exist in its version.
        Class::MethodNotAllowed => false,
        // Changes may have preconditions (RFC 9110 §13.1.1).
        Class::Conflict | Class::PreconditionFailed => !reads,
        Class::TooLarge => super::request_body::request_body(method, path).is_some(),
        // Only writes and the calls of agents, which another service handles, can fail internally.
        Class::Server => !reads || public,
    }
}

/// Returns the response component of a class, with its name.
pub(super) fn component(class: Class) -> (String, Value) {
    let mut headers = responses::request_id_headers();
    match class {
        Class::Unauthenticated => {
            headers.insert("WWW-Authenticate".to_owned(), json!({"schema": {"type": "string"}, "required": true}));
        }
        Class::MethodNotAllowed => {
            headers.insert("Allow".to_owned(), json!({"schema": {"type": "string"}, "required": true}));
            headers.extend(responses::version_headers());
        }
        Class::Unavailable => {}
        Class::Invalid
        | Class::Forbidden
        | Class::NotFound
        | Class::NotAcceptable
        | Class::Conflict
        | Class::PreconditionFailed
        | Class::TooLarge
        | Class::Server => headers.extend(responses::version_headers()),
    }
    let schemas: Vec<Value> =
        schema_names(class).iter().map(|name| json!({"$ref": format!("#/components/schemas/{name}")})).collect();
    let response = json!({
        "description": title(class.status()),
        "headers": headers,
        "content": {"application/json": {"schema": {"anyOf": schemas}}},
    });
    (component_name(class), response)
}

/// Names of the schemas that an error of a class can have.
const fn schema_names(class: Class) -> &'static [&'static str] {
    match class {
        Class::Unauthenticated => &["Unauthenticated"],
        Class::TooLarge => &["FlatFault"],
        Class::Invalid => &["Fault", "RouterFault", "FlatFault"],
        Class::NotFound | Class::MethodNotAllowed | Class::NotAcceptable => &["Fault", "RouterFault"],
        Class::Forbidden | Class::Conflict | Class::PreconditionFailed | Class::Server | Class::Unavailable => {
            &["Fault"]
        }
    }
}

/// Returns the schemas of error bodies, with their names.
pub(super) fn schemas() -> [(String, Value); 4] {
    let text = json!({"type": "string"});
    let message = json!({"message": text, "code": {"const": 401}, "title": text});
    let unauthenticated = schema::object(&message, &["message", "code", "title"]);
    [
        ("Fault".to_owned(), body_schema(Form::Fault)),
        ("RouterFault".to_owned(), body_schema(Form::Router)),
        ("FlatFault".to_owned(), body_schema(Form::Flat)),
        ("Unauthenticated".to_owned(), schema::object(&json!({"error": unauthenticated}), &["error"])),
    ]
}

/// Returns the schema of a body. The protocol requires JSON inside a JSON string.
fn body_schema(form: Form) -> Value {
    let text = json!({"type": "string"});
    let code = schema::one_of(&["Client", "Server"]);
    let inside = match form {
        Form::Flat => {
            return schema::object(&json!({"faultcode": code, "faultstring": text}), &["faultcode", "faultstring"]);
        }
        Form::Fault => schema::object(
            &json!({"faultcode": code, "faultstring": text, "debuginfo": {"type": ["string", "null"]}}),
            &["faultcode", "faultstring", "debuginfo"],
        ),
        Form::Router => schema::object(
            &json!({"code": {"type": "integer"}, "title": text, "description": text}),
            &["code", "title", "description"],
        ),
    };
    let message = json!({"type": "string", "contentMediaType": "application/json", "contentSchema": inside});
    schema::object(&json!({"error_message": message}), &["error_message"])
}
