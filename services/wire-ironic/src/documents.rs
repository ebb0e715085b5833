//! Documents at `/` and `/v1`, by which clients discover the API.

use serde_json::{Map, Value, json};

use crate::links;
use crate::version::{Version, collections};

/// Returns the document at `/`. `base` is scheme and host, without a slash at its end.
#[must_use]
pub fn root(base: &str) -> Value {
    let version = version_entry(base);
    json!({
        "name": "OpenStack Ironic API",
        "description": "Ironic is an OpenStack project which enables the provision and management of baremetal machines.",
        "default_version": version,
        "versions": [version],
    })
}

/// Returns the document at `/v1` for a request in this version.
#[must_use]
pub fn v1(base: &str, version: Version) -> Value {
    let mut document = Map::new();
    document.insert("id".to_owned(), json!("v1"));
    document.insert(
        "links".to_owned(),
        json!([
            {"href": format!("{base}/v1/"), "rel": "self"},
            {
                "href": "https://docs.openstack.org//ironic/latest/contributor//webapi.html",
                "rel": "describedby",
                "type": "text/html",
            },
        ]),
    );
    document.insert(
        "media_types".to_owned(),
        json!({"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"}),
    );
    document.insert("version".to_owned(), version_entry(base));
    for collection in collections().iter().filter(|collection| version.has(collection.since)) {
        document.insert(collection.name.to_owned(), links::resource(base, &format!("{}/", collection.name)));
    }
    Value::Object(document)
}

/// Returns the description of the API's version.
fn version_entry(base: &str) -> Value {
    json!({
        "id": "v1",
        "links": [{"href": format!("{base}/v1/"), "rel": "self"}],
        "status": "CURRENT",
        "min_version": Version::MIN.to_string(),
        "version": Version::MAX.to_string(),
    })
}
