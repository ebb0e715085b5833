//! Links: every resource has one with the version in the path and one without.

mod frame;

pub use frame::{Frame, Framed};
use serde_json::{Map, Value, json};

use crate::{
    fields::{Columns, FieldSource, Resource},
    version::Version,
};

/// Returns the two links of a path below `/v1`, such as `nodes/<uuid>`. `base` is scheme and host.
#[must_use]
pub fn resource(base: &str, path: &str) -> Value {
    json!([
        {"href": format!("{base}/v1/{path}"), "rel": "self"},
        {"href": format!("{base}/{path}"), "rel": "bookmark"},
    ])
}

/// Link list of a subresource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sub {
    /// Name, in the resource and in the path.
    pub name: &'static str,
    /// First minor version with it.
    pub since: u16,
}

/// Subresources of a node. Shown with all fields, never with `fields`.
pub const NODE: &[Sub] = &[sub("ports", 1), sub("states", 14), sub("portgroups", 24), sub("volume", 32)];
/// Subresources of a port group.
pub const PORTGROUP: &[Sub] = &[sub("ports", 23)];
/// Subresources of a driver.
pub const DRIVER: &[Sub] = &[sub("properties", 14)];
/// Subresources of a chassis; see [`chassis_nodes`] for their format.
pub const CHASSIS: &[Sub] = &[sub("nodes", 1)];
/// Subresources of the collection `volume`.
pub const VOLUME: &[Sub] = &[sub("connectors", 32), sub("targets", 32)];

/// Returns the subresources of a resource.
pub(crate) fn subs(resource: &Resource) -> &'static [Sub] {
    match resource.path {
        "nodes" => NODE,
        "portgroups" => PORTGROUP,
        "drivers" => DRIVER,
        _ => &[],
    }
}

const fn sub(name: &'static str, since: u16) -> Sub {
    Sub { name, since }
}

/// Returns the link lists of a resource, by name, in a version; `path` is such as `nodes/<uuid>`.
pub fn below<'a>(
    subs: &'static [Sub],
    version: Version,
    base: &'a str,
    path: &'a str,
) -> impl Iterator<Item = (&'static str, Value)> + 'a {
    let shown = subs.iter().filter(move |sub| version.has(sub.since));
    shown.map(move |sub| (sub.name, resource(base, &format!("{path}/{}", sub.name))))
}

/// Returns the visible fields of a resource, with its links.
#[must_use]
pub fn shown(
    resource: &'static Resource,
    version: Version,
    base: &str,
    columns: &Columns,
    whole: &impl FieldSource,
) -> Map<String, Value> {
    match Frame::new(resource, version, base, columns).shown(whole) {
        Value::Object(shown) => shown,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Returns the link to the nodes of a chassis: in Ironic a list of links inside a list, which clients ignore.
#[must_use]
pub fn chassis_nodes(base: &str, uuid: &str) -> Value {
    json!([resource(base, &format!("chassis/{uuid}/nodes"))])
}

/// Returns the `Location` of a new resource, or of the states that an accepted verb changes.
#[must_use]
pub fn location(base: &str, path: &str) -> String {
    format!("{base}/v1/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_a_twin_without_the_version() {
        assert_eq!(
            resource("http://h", "nodes/1"),
            json!([{"href": "http://h/v1/nodes/1", "rel": "self"}, {"href": "http://h/nodes/1", "rel": "bookmark"}])
        );
    }

    #[test]
    fn an_old_request_sees_fewer_links() {
        let names = |minor| {
            let version = Version::new(minor).unwrap();
            below(NODE, version, "http://h", "nodes/1").map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["ports"]);
        assert_eq!(names(24), ["ports", "states", "portgroups"]);
        assert_eq!(names(115), ["ports", "states", "portgroups", "volume"]);
    }
}
