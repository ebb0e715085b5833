//! Operations for discovery: the version documents and the OpenAPI document. They need no credentials.

use serde_json::{Map, Value, json};

use super::error_responses;
use super::responses::{exactly, response};
use super::{PATH, schema};
use crate::error::Class;
use crate::version::{Version, collections};

/// Returns the operations, by path.
pub(super) fn paths() -> [(String, Value); 3] {
    [
        ("/".to_owned(), document("get_root", "Supported versions of the API.", &root())),
        ("/v1".to_owned(), document("get_v1", "Collections of the version.", &v1())),
        (PATH.to_owned(), document("get_description", "This OpenAPI document.", &json!({"type": "object"}))),
    ]
}

fn document(name: &str, description: &str, schema: &Value) -> Value {
    let mut responses = Map::from_iter([("200".to_owned(), response(200, Some(schema.clone())))]);
    if name != "get_description" {
        responses.extend([Class::Invalid, Class::NotAcceptable].map(error_responses::reference));
        let link = json!({"schema": {"type": "string"}, "required": true});
        if let Some(headers) = responses.get_mut("200").and_then(|response| response.get_mut("headers")) {
            headers.as_object_mut().map(|headers| headers.insert("Link".to_owned(), link));
        }
    }
    let version = json!({"$ref": "#/components/parameters/Version"});
    let parameters = if name == "get_v1" { vec![version] } else { vec![] };
    json!({"get": {
        "operationId": name,
        "tags": ["documents"],
        "description": description,
        "parameters": parameters,
        "responses": responses,
        "security": [],
    }})
}

fn version() -> Value {
    let text = json!({"type": "string"});
    exactly(&json!({"id": text, "links": links(), "status": text, "min_version": text, "version": text}))
}

/// Schema of links that may have a media type.
fn links() -> Value {
    let text = json!({"type": "string"});
    let link = schema::object(&json!({"href": text, "rel": text, "type": text}), &["href", "rel"]);
    json!({"type": "array", "items": link})
}

fn root() -> Value {
    let text = json!({"type": "string"});
    exactly(&json!({
        "name": text,
        "description": text,
        "default_version": version(),
        "versions": {"type": "array", "items": version()},
    }))
}

fn v1() -> Value {
    let text = json!({"type": "string"});
    let own = [
        ("id", text.clone()),
        ("links", links()),
        ("media_types", exactly(&json!({"base": text, "type": text}))),
        ("version", version()),
    ];
    // A request without a version header gets the collections of the oldest version.
    let oldest = collections().iter().filter(|collection| Version::MIN.has(collection.since));
    let oldest = oldest.map(|collection| collection.name);
    let required: Vec<&str> = own.iter().map(|(name, _)| *name).chain(oldest).collect();
    let collections = collections().iter().map(|collection| (collection.name, links()));
    let members: Map<String, Value> =
        own.iter().cloned().chain(collections).map(|(name, schema)| (name.to_owned(), schema)).collect();
    schema::object(&Value::Object(members), &required)
}
