//! What a row of the table of paths is about.

use crate::fields::{ALLOCATION, RESOURCES, Resource};
use crate::query::Shape;

/// What a path is of the resources that have tables.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// A list of them.
    List(&'static Resource, Shape),
    /// One of them.
    One(&'static Resource),
    /// Nothing that has a table.
    Other,
}

/// What a path is. A list may stand below what its members belong to.
pub(super) fn place(path: &str) -> Place {
    if path == "nodes/*/allocation" {
        return Place::One(&ALLOCATION);
    }
    let own = path.split_once("/*/").map_or(path, |(_, below)| below);
    let (list, shape) = own.strip_suffix("/detail").map_or((own, Shape::Plain), |list| (list, Shape::Detail));
    let of = |path: &str| RESOURCES.iter().copied().find(|resource| resource.path == path);
    match (of(list), path.strip_suffix("/*").and_then(of)) {
        (Some(resource), _) => Place::List(resource, shape),
        (None, Some(resource)) => Place::One(resource),
        (None, None) => Place::Other,
    }
}

/// The path with a name for each of its stars: `nodes/{node}/traits/{trait}`.
pub(super) fn named(path: &str) -> String {
    let mut before = "";
    let steps = path.split('/').map(|step| {
        let named = if step == "*" { format!("{{{}}}", name(before)) } else { step.to_owned() };
        before = step;
        named
    });
    steps.collect::<Vec<_>>().join("/")
}

/// What stands behind this step.
pub(super) fn name(step: &str) -> &str {
    match step {
        "heartbeat" | "console" => "node",
        "vendor_passthru" => "method",
        "history" => "record",
        "bios" => "setting",
        "chassis" => step,
        plural => plural.strip_suffix('s').unwrap_or(plural),
    }
}

/// Whether a call needs no credentials: agents ask it, who have tokens of their own.
pub(super) fn is_public(path: &str) -> bool {
    matches!(path.split('/').next(), Some("lookup" | "heartbeat" | "continue_inspection"))
}
