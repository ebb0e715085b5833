//! Features of each microversion. Most follow from the tables; rules that are spread over the crate are listed here, so that
//! the list is complete.

use crate::fields::RESOURCES;
use crate::query::filters;
use crate::route;
use crate::verb::{Target, Verb};
use crate::version::{Version, collections};

/// Rules that are not in a table, by their first version.
const RULES: &[(u16, &str)] = &[
    (1, "versions"),
    (2, "an available node is `available`; before, its state is null"),
    (5, "names identify nodes"),
    (8, "fields"),
    (10, "names of RFC 3986's unreserved characters; before, host names"),
    (11, "a new node is in enroll; before, available"),
    (14, "links to states and to a driver's properties"),
    (24, "links from a node to its port groups"),
    (25, "chassis_uuid can be unset"),
    (27, "timeout of power"),
    (32, "links from a node to its volumes"),
    (35, "config drive with rebuild"),
    (36, "agent_version in a heartbeat"),
    (39, "inspect wait is shown; before, as inspecting, and inspecting could be patched"),
    (41, "abort of inspect wait"),
    (43, "detail"),
    (45, "reset_interfaces with a patch"),
    (56, "config drive from its parts"),
    (57, "patch of an allocation"),
    (59, "vendor_data in a config drive"),
    (62, "token of an agent"),
    (64, "network_type in local_link_connection"),
    (67, "a port or a port group for a vif"),
    (68, "agent_verify_ca in a heartbeat"),
    (69, "deploy_steps"),
    (70, "disable_ramdisk with clean"),
    (71, "roles with a scope; policies are not ours"),
    (72, "agent_status in a heartbeat"),
    (74, "detail of bios"),
    (77, "fields of drivers"),
    (79, "an allocation prefers the node of its name"),
    (80, "project owners create and delete nodes; policies are not ours"),
    (84, "continue_inspection by node_uuid, answered as a lookup"),
    (90, "a switch of OVN in local_link_connection"),
    (91, ".json at the end of a path is a part of the name"),
    (98, "escapes in the path of a patch"),
    (105, "no switch of OVN in local_link_connection any more"),
    (107, "a second header with the request's name"),
    (108, "disable_ramdisk with service"),
    (110, "abort of wait call-back"),
    (112, "runbooks have names of their own"),
    (113, "user and project in history"),
    (114, "vendor, model and serial_number of firmware"),
    (115, "states and duration in history"),
];

/// Returns the features that a version added, one per line: `field nodes.name`, `filter nodes?driver`, `path PUT nodes/*/maintenance`,
/// `verb manage`, `power soft power off`, `collection conductors`, `rule …`.
#[must_use]
pub fn features(version: Version) -> Vec<String> {
    let minor = version.minor();
    let mut out = Vec::new();
    let new = collections().iter().filter(|collection| collection.since == minor);
    out.extend(new.map(|collection| format!("collection {}", collection.name)));
    for resource in RESOURCES {
        let path = resource.path;
        let fields = resource.fields.iter().filter(|field| field.since == minor);
        out.extend(fields.map(|field| format!("field {path}.{}", field.name)));
        let filters = filters(resource).iter().filter(|filter| filter.since == minor);
        out.extend(filters.map(|filter| format!("filter {path}?{}", filter.name)));
    }
    out.extend(route::since(minor).map(|route| format!("path {} {}", route.method, route.path)));
    out.extend(Verb::names().filter(|(_, since)| *since == minor).map(|(word, _)| format!("verb {word}")));
    let targets = Target::ALL.into_iter().filter(|target| target.since() == minor);
    out.extend(targets.map(|target| format!("power {}", target.word())));
    out.extend(RULES.iter().filter(|(since, _)| *since == minor).map(|(_, rule)| format!("rule: {rule}")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_a_new_feature_and_the_list_is_the_golden_one() {
        let mut out = String::new();
        for version in Version::all() {
            let lines = features(version);
            assert!(!lines.is_empty(), "{version}");
            out.push_str(&lines.iter().map(|line| format!("{version:<6} {line}\n")).collect::<String>());
        }
        crate::golden::check("versions.txt", &out);
    }
}
