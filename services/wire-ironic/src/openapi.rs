//! OpenAPI 3.1 document of the newest version, generated from the tables.
//!
//! [`crate::route`] has the paths with their methods, statuses and versions, [`crate::fields`] the resources,
//! [`crate::query`] the query parameters, [`crate::verb`] and [`crate::raid`] the bodies. Bodies and responses that no table
//! describes are in [`request_body`] and [`responses`]. A fuzzer compares the service's responses with the document.
//!
//! Source: the OpenAPI Specification 3.1, JSON Schema 2020-12.

mod discovery;
mod error_responses;
mod parameters;
mod path_kind;
mod request_body;
mod resource_schemas;
mod responses;
mod schema;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::error::Class;
use crate::fields::RESOURCES;
use crate::route::{self, Requirement, Route};
use crate::version::{Collection, Version};

/// Path of the document.
pub const PATH: &str = "/openapi.json";
/// Header `Link` (RFC 8288) of the documents at `/` and `/v1`. A new member in these documents would break stock clients.
/// RFC 8631 defines the relation.
pub const LINK: &str = "</openapi.json>; rel=\"service-desc\"; type=\"application/json\"";

/// Generates the document.
#[must_use]
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ironmesh: Ironic's REST API v1",
            "version": Version::MAX.to_string(),
            "description": format!(
                "The API of OpenStack Ironic as Ironmesh serves it, in version {max}. The service supports {min} to {max}; a \
                 request without a version header has version {min}, which lacks many of these calls. A method that a \
                 path does not support is rejected with 405. Calls below a node also accept the members of the body as \
                 query parameters.",
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
            "responses": Class::ALL.into_iter().map(error_responses::component).collect::<Map<_, _>>(),
            "parameters": {"Version": parameters::version_header()},
            "headers": responses::header_components(),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            },
        },
    })
}

fn paths() -> Map<String, Value> {
    let mut paths: Map<String, Value> = discovery::paths().into_iter().collect();
    for route in route::routes() {
        let operations =
            paths.entry(format!("/v1/{}", path_kind::with_parameter_names(route.path))).or_insert_with(|| json!({}));
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
    let name = path_kind::with_parameter_names(path).replace(['{', '}'], "").replace('/', "_");
    let mut responses = responses::success_responses(method, path, *success);
    responses.extend(error_responses::error_responses(method, path));
    let mut operation = Map::from_iter([
        ("operationId".to_owned(), json!(format!("{}_{name}", method.to_lowercase()))),
        ("tags".to_owned(), json!([first])),
        ("description".to_owned(), json!(format!("Since version 1.{since}.{}", extension(method, path)))),
        ("parameters".to_owned(), parameters::parameters(method, path)),
        ("responses".to_owned(), Value::Object(responses)),
    ]);
    if let Some(body) = request_body::request_body(method, path) {
        operation.insert("requestBody".to_owned(), body);
    }
    if route.requirement == Requirement::Public {
        operation.insert("security".to_owned(), json!([]));
    }
    Value::Object(operation)
}

/// Returns the description of a call's extension to Ironic's API, or an empty string.
fn extension(method: &str, path: &str) -> &'static str {
    match (method, path) {
        ("GET", "nodes") => {
            " With the header `Accept: text/event-stream` the response is a stream of server-sent events: one for each \
             node that is added, changed or removed, starting after `Last-Event-ID` if the request has it."
        }
        _ => "",
    }
}

fn schemas() -> Map<String, Value> {
    let own = RESOURCES.iter().flat_map(|resource| resource_schemas::schemas(resource));
    own.chain(error_responses::schemas()).chain([("Links".to_owned(), responses::links_schema())]).collect()
}
