//! Kinds of paths in the route table, and the names of their parameters.

use crate::fields::{ALLOCATION, RESOURCES, Resource};
use crate::query::Shape;

/// Kind of a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum PathKind {
    /// List of a resource that has a table.
    List(&'static Resource, Shape),
    /// One resource that has a table.
    One(&'static Resource),
    /// Any other path.
    Other,
}

/// Returns the kind of a path. A list may be below the resource that its items belong to, such as `nodes/*/ports`.
pub(super) fn path_kind(path: &str) -> PathKind {
    if path == "nodes/*/allocation" {
        return PathKind::One(&ALLOCATION);
    }
    let own = path.split_once("/*/").map_or(path, |(_, below)| below);
    let (list, shape) = own.strip_suffix("/detail").map_or((own, Shape::Plain), |list| (list, Shape::Detail));
    let resource_at = |path: &str| RESOURCES.iter().copied().find(|resource| resource.path == path);
    match (resource_at(list), path.strip_suffix("/*").and_then(resource_at)) {
        (Some(resource), _) => PathKind::List(resource, shape),
        (None, Some(resource)) => PathKind::One(resource),
        (None, None) => PathKind::Other,
    }
}

/// Returns a path with a named parameter for each `*`, such as `nodes/{node}/traits/{trait}`.
pub(super) fn with_parameter_names(path: &str) -> String {
    let mut before = "";
    let segments = path.split('/').map(|segment| {
        let named = if segment == "*" { format!("{{{}}}", parameter_name(before)) } else { segment.to_owned() };
        before = segment;
        named
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Returns the name of the parameter that follows a segment of a path.
pub(super) fn parameter_name(segment: &str) -> &str {
    match segment {
        "heartbeat" | "console" => "node",
        "vendor_passthru" => "method",
        "history" => "record",
        "bios" => "setting",
        "chassis" => segment,
        plural => plural.strip_suffix('s').unwrap_or(plural),
    }
}

/// Returns whether a path needs no credentials. These are the paths for agents, which have their own tokens.
pub(super) fn is_public(path: &str) -> bool {
    matches!(path.split('/').next(), Some("lookup" | "heartbeat" | "continue_inspection"))
}
