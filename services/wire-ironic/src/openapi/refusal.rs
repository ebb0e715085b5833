//! What can be refused, and in which shape.

use serde_json::{Map, Value, json};

use super::answer;
use super::place::{self, Place, place};
use super::word;
use crate::error::{Class, Form, title};
use crate::route::find;
use crate::version::Version;

/// What a class is called among the components.
fn name(class: Class) -> String {
    format!("{class:?}")
}

/// The refusals of a call, by status.
pub(super) fn responses(method: &str, path: &str) -> Map<String, Value> {
    // A request that names no version is of the oldest, which may not have the call.
    let old = find(Version::MIN, method, &path.replace('*', "x")).err().map(|error| error.status);
    let can = Class::ALL.into_iter().filter(|class| can_be(*class, method, path) || old == Some(class.status()));
    can.map(reference).collect()
}

/// One of them, by status.
pub(super) fn reference(class: Class) -> (String, Value) {
    (class.status().to_string(), json!({"$ref": format!("#/components/responses/{}", name(class))}))
}

/// Whether a call can be refused so.
fn can_be(class: Class, method: &str, path: &str) -> bool {
    let (reads, public) = (method == "GET", place::is_public(path));
    match class {
        // A body that is no JSON, and an unknown version, are refused before anything else is looked at.
        Class::Invalid | Class::NotAcceptable | Class::Unavailable => true,
        Class::Unauthenticated | Class::Forbidden => !public,
        // What a path, a filter, a marker or a body names.
        Class::NotFound => !reads || path.contains('*') || public || matches!(place(path), Place::List(..)),
        // What is described here is there, in the version that is described.
        Class::MethodNotAllowed => false,
        // A change can be asked for on a condition (RFC 9110 section 13.1.1).
        Class::Conflict | Class::PreconditionFailed => !reads,
        Class::TooLarge => super::body::body(method, path).is_some(),
        // What is written is written by us, and what agents ask is answered by another service.
        Class::Server => !reads || public,
    }
}

/// The response of a class, with its name.
pub(super) fn component(class: Class) -> (String, Value) {
    let mut headers = answer::request_ids();
    match class {
        Class::Unauthenticated => {
            headers.insert("WWW-Authenticate".to_owned(), json!({"schema": {"type": "string"}, "required": true}));
        }
        Class::MethodNotAllowed => {
            headers.insert("Allow".to_owned(), json!({"schema": {"type": "string"}, "required": true}));
            headers.extend(answer::versions());
        }
        Class::Unavailable => {
            headers.insert("Retry-After".to_owned(), json!({"schema": {"type": "integer"}, "required": true}));
        }
        Class::Invalid
        | Class::Forbidden
        | Class::NotFound
        | Class::NotAcceptable
        | Class::Conflict
        | Class::PreconditionFailed
        | Class::TooLarge
        | Class::Server => headers.extend(answer::versions()),
    }
    let shapes: Vec<Value> =
        shapes(class).iter().map(|name| json!({"$ref": format!("#/components/schemas/{name}")})).collect();
    let response = json!({
        "description": title(class.status()),
        "headers": headers,
        "content": {"application/json": {"schema": {"anyOf": shapes}}},
    });
    (name(class), response)
}

/// The shapes that a refusal of a class can have.
const fn shapes(class: Class) -> &'static [&'static str] {
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

/// The schemas of the shapes.
pub(super) fn schemas() -> [(String, Value); 4] {
    let text = json!({"type": "string"});
    let message = json!({"message": text, "code": {"const": 401}, "title": text});
    let unauthenticated = word::object(&message, &["message", "code", "title"]);
    [
        ("Fault".to_owned(), shape(Form::Fault)),
        ("RouterFault".to_owned(), shape(Form::Router)),
        ("FlatFault".to_owned(), shape(Form::Flat)),
        ("Unauthenticated".to_owned(), word::object(&json!({"error": unauthenticated}), &["error"])),
    ]
}

/// The schema of a body of this form. JSON inside a JSON string is the protocol's.
fn shape(form: Form) -> Value {
    let text = json!({"type": "string"});
    let code = word::one_of(&["Client", "Server"]);
    let inside = match form {
        Form::Flat => {
            return word::object(&json!({"faultcode": code, "faultstring": text}), &["faultcode", "faultstring"]);
        }
        Form::Fault => word::object(
            &json!({"faultcode": code, "faultstring": text, "debuginfo": {"type": ["string", "null"]}}),
            &["faultcode", "faultstring", "debuginfo"],
        ),
        Form::Router => word::object(
            &json!({"code": {"type": "integer"}, "title": text, "description": text}),
            &["code", "title", "description"],
        ),
    };
    let message = json!({"type": "string", "contentMediaType": "application/json", "contentSchema": inside});
    word::object(&json!({"error_message": message}), &["error_message"])
}
