//! The API described for machines: OpenAPI 3.1, of the newest version, made from the tables.
//!
//! What a table says is taken from it: [`crate::route`] has the paths, their methods, successes and versions,
//! [`crate::fields`] the resources, [`crate::query`] what may stand behind the question mark, [`crate::verb`] and
//! [`crate::raid`] the words of bodies. What only a function says (bodies of small calls, answers that are no resource)
//! stands in [`body`] and [`answer`], and the service's answers are checked against it by a fuzzer.
//!
//! Source: the OpenAPI Specification 3.1, JSON Schema 2020-12.

mod answer;
mod body;
mod entrance;
mod field;
mod parameter;
mod place;
mod refusal;
#[cfg(test)]
mod tests;
mod word;

use serde_json::{Map, Value, json};

use crate::error::Class;
use crate::fields::RESOURCES;
use crate::route::{self, Requirement, Route};
use crate::version::{Collection, Version};

/// Where the description is served.
pub const PATH: &str = "/openapi.json";
/// The header `Link` of the documents at `/` and `/v1` (RFC 8288), which have no member for it that stock clients would
/// not stumble over. The relation is that of RFC 8631.
pub const LINK: &str = "</openapi.json>; rel=\"service-desc\"; type=\"application/json\"";

/// The description, whole.
#[must_use]
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ironmesh: Ironic's REST API v1",
            "version": Version::MAX.to_string(),
            "description": format!(
                "The API of OpenStack Ironic as Ironmesh serves it, as version {max} of it has it. The service speaks {min} \
                 to {max}; a request that names no version is of {min}, which has less than stands here. A method that \
                 a path does not have is refused with 405. What a body may say may stand behind the question mark too, \
                 for the calls below a node.",
                min = Version::MIN,
                max = Version::MAX,
            ),
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        // Without authentication there is no security scheme.
        "security": [{}, {"basic": []}, {"token": []}, {"bearer": []}],
        "paths": paths(),
        "components": {
            "schemas": schemas(),
            "responses": Class::ALL.into_iter().map(refusal::component).collect::<Map<_, _>>(),
            "parameters": {"Version": parameter::version()},
            "headers": answer::headers(),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
    })
}

fn paths() -> Map<String, Value> {
    let mut paths: Map<String, Value> = entrance::paths().into_iter().collect();
    for route in route::routes() {
        let operations = paths.entry(format!("/v1/{}", place::named(route.path))).or_insert_with(|| json!({}));
        if let Some(operations) = operations.as_object_mut() {
            operations.insert(route.method.to_lowercase(), operation(route));
        }
    }
    paths
}

fn operation(route: &Route) -> Value {
    let Route { method, path, success, since, .. } = route;
    let first = path.split('/').next().unwrap_or_default();
    let since = Collection::named(first).map_or(*since, |collection| collection.since.max(*since));
    let name = place::named(path).replace(['{', '}'], "").replace('/', "_");
    let mut responses = answer::responses(method, path, *success);
    responses.extend(refusal::responses(method, path));
    let mut operation = Map::from_iter([
        ("operationId".to_owned(), json!(format!("{}_{name}", method.to_lowercase()))),
        ("tags".to_owned(), json!([first])),
        ("description".to_owned(), json!(format!("Since version 1.{since}.{}", beyond(method, path)))),
        ("parameters".to_owned(), parameter::parameters(method, path)),
        ("responses".to_owned(), Value::Object(responses)),
    ]);
    if let Some(body) = body::body(method, path) {
        operation.insert("requestBody".to_owned(), body);
    }
    if route.requirement == Requirement::Public {
        operation.insert("security".to_owned(), json!([]));
    }
    Value::Object(operation)
}

/// What a call can beyond what Ironic's can.
fn beyond(method: &str, path: &str) -> &'static str {
    match (method, path) {
        ("GET", "nodes") => {
            " With the header `Accept: text/event-stream` the list goes on: an event for each node that is added, \
             changed or removed, as server-sent events, from the one after `Last-Event-ID` where that is named."
        }
        _ => "",
    }
}

fn schemas() -> Map<String, Value> {
    let own = RESOURCES.iter().flat_map(|resource| field::schemas(resource));
    own.chain(refusal::schemas()).chain([("Links".to_owned(), answer::links())]).collect()
}
