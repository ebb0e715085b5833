//! Which call needs which rule, and whose thing decides. The table is that of the API reference's policies.

use domain::policy::{Rule, rule};

/// Whose thing a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// No one's.
    Nothing,
    /// The node's in the path.
    Node,
    /// The node's at the end of the path, of the one call that has it there.
    NodeBehind,
    /// The allocation's of that node.
    NodesAllocation,
    /// The node's of the port in the path, and so on.
    Port,
    Portgroup,
    Connector,
    Target,
    /// The node's that the body names.
    NodeOfBody,
    /// The owner's of the allocation in the path.
    Allocation,
    /// The owner's of the runbook in the path.
    Runbook,
    /// What is made becomes the caller's.
    NewNode,
    NewAllocation,
    NewRunbook,
}

impl About {
    /// The step of the path that names it.
    pub(super) const fn step(self) -> usize {
        match self {
            Self::Connector | Self::Target => 2,
            Self::NodeBehind => 3,
            Self::Nothing
            | Self::Node
            | Self::NodesAllocation
            | Self::Port
            | Self::Portgroup
            | Self::NodeOfBody
            | Self::Allocation
            | Self::Runbook
            | Self::NewNode
            | Self::NewAllocation
            | Self::NewRunbook => 1,
        }
    }
}

/// What a call needs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    /// That he may everything.
    Everything,
    /// Nothing: agents ask it, who have tokens of their own.
    Nothing,
    /// A rule.
    Rule(Rule, About),
}

/// What this call needs; `None`: nobody has said yet.
pub(super) fn need(method: &str, path: &str) -> Option<Need> {
    CALLS.iter().find(|(its_method, its_path, _)| (*its_method, *its_path) == (method, path)).map(|(.., need)| *need)
}

const fn needs(name: &str, about: About) -> Need {
    Need::Rule(rule(name), about)
}

use About::{
    Allocation, Connector, NewAllocation, NewNode, NewRunbook, Node, NodeBehind, NodeOfBody, NodesAllocation, Nothing,
    Port, Portgroup, Runbook, Target,
};

/// The table.
static CALLS: &[(&str, &str, Need)] = &[
    ("GET", "nodes", needs("baremetal:node:list", Nothing)),
    ("POST", "nodes", needs("baremetal:node:create", NewNode)),
    ("GET", "nodes/detail", needs("baremetal:node:list", Nothing)),
    ("GET", "nodes/*", needs("baremetal:node:get", Node)),
    ("PATCH", "nodes/*", needs("baremetal:node:update", Node)),
    ("DELETE", "nodes/*", needs("baremetal:node:delete:self_owned_node", Node)),
    ("GET", "nodes/*/validate", needs("baremetal:node:validate", Node)),
    ("GET", "nodes/*/states", needs("baremetal:node:get_states", Node)),
    ("PUT", "nodes/*/states/power", needs("baremetal:node:set_power_state", Node)),
    ("PUT", "nodes/*/states/provision", needs("baremetal:node:set_provision_state", Node)),
    ("PUT", "nodes/*/states/raid", needs("baremetal:node:set_raid_state", Node)),
    ("GET", "nodes/*/states/console", needs("baremetal:node:get_console", Node)),
    ("GET", "nodes/states/console/*", needs("baremetal:node:get_console", NodeBehind)),
    ("PUT", "nodes/*/states/console", needs("baremetal:node:set_console_state", Node)),
    ("PUT", "nodes/*/states/boot_mode", needs("baremetal:node:set_boot_mode", Node)),
    ("PUT", "nodes/*/states/secure_boot", needs("baremetal:node:set_secure_boot", Node)),
    ("PUT", "nodes/*/maintenance", needs("baremetal:node:set_maintenance", Node)),
    ("DELETE", "nodes/*/maintenance", needs("baremetal:node:clear_maintenance", Node)),
    ("GET", "nodes/*/management/boot_device", needs("baremetal:node:get_boot_device", Node)),
    ("PUT", "nodes/*/management/boot_device", needs("baremetal:node:set_boot_device", Node)),
    ("GET", "nodes/*/management/boot_device/supported", needs("baremetal:node:get_boot_device", Node)),
    ("PUT", "nodes/*/management/inject_nmi", needs("baremetal:node:inject_nmi", Node)),
    ("GET", "nodes/*/management/indicators", needs("baremetal:node:get_indicator_state", Node)),
    ("GET", "nodes/*/management/indicators/*", needs("baremetal:node:get_indicator_state", Node)),
    ("PUT", "nodes/*/management/indicators/*", needs("baremetal:node:set_indicator_state", Node)),
    ("GET", "nodes/*/traits", needs("baremetal:node:traits:list", Node)),
    ("PUT", "nodes/*/traits", needs("baremetal:node:traits:set", Node)),
    ("DELETE", "nodes/*/traits", needs("baremetal:node:traits:delete", Node)),
    ("PUT", "nodes/*/traits/*", needs("baremetal:node:traits:set", Node)),
    ("DELETE", "nodes/*/traits/*", needs("baremetal:node:traits:delete", Node)),
    ("GET", "nodes/*/vifs", needs("baremetal:node:vif:list", Node)),
    ("POST", "nodes/*/vifs", needs("baremetal:node:vif:attach", Node)),
    ("DELETE", "nodes/*/vifs/*", needs("baremetal:node:vif:detach", Node)),
    ("POST", "nodes/*/vmedia", needs("baremetal:node:vmedia:attach", Node)),
    ("DELETE", "nodes/*/vmedia", needs("baremetal:node:vmedia:detach", Node)),
    ("GET", "nodes/*/vmedia", needs("baremetal:node:vmedia:get", Node)),
    ("GET", "nodes/*/bios", needs("baremetal:node:bios:get", Node)),
    ("GET", "nodes/*/bios/*", needs("baremetal:node:bios:get", Node)),
    ("GET", "nodes/*/firmware", needs("baremetal:node:firmware:get", Node)),
    ("GET", "nodes/*/history", needs("baremetal:node:history:get", Node)),
    ("GET", "nodes/*/history/*", needs("baremetal:node:history:get", Node)),
    ("GET", "nodes/*/inventory", needs("baremetal:node:inventory:get", Node)),
    ("GET", "nodes/*/children", needs("baremetal:node:get", Node)),
    ("GET", "nodes/*/allocation", needs("baremetal:allocation:get", NodesAllocation)),
    ("DELETE", "nodes/*/allocation", needs("baremetal:allocation:delete", NodesAllocation)),
    ("GET", "nodes/*/ports", needs("baremetal:port:get", Node)),
    ("GET", "nodes/*/ports/detail", needs("baremetal:port:get", Node)),
    ("GET", "nodes/*/portgroups", needs("baremetal:portgroup:get", Node)),
    ("GET", "nodes/*/portgroups/detail", needs("baremetal:portgroup:get", Node)),
    ("GET", "nodes/*/volume", needs("baremetal:volume:get", Node)),
    ("GET", "nodes/*/volume/connectors", needs("baremetal:volume:get", Node)),
    ("GET", "nodes/*/volume/targets", needs("baremetal:volume:get", Node)),
    ("GET", "nodes/*/vendor_passthru/methods", needs("baremetal:node:vendor_passthru", Node)),
    ("GET", "nodes/*/vendor_passthru/*", needs("baremetal:node:vendor_passthru", Node)),
    ("POST", "nodes/*/vendor_passthru/*", needs("baremetal:node:vendor_passthru", Node)),
    ("PUT", "nodes/*/vendor_passthru/*", needs("baremetal:node:vendor_passthru", Node)),
    ("DELETE", "nodes/*/vendor_passthru/*", needs("baremetal:node:vendor_passthru", Node)),
    ("GET", "ports", needs("baremetal:port:list", Nothing)),
    ("POST", "ports", needs("baremetal:port:create", NodeOfBody)),
    ("GET", "ports/detail", needs("baremetal:port:list", Nothing)),
    ("GET", "ports/*", needs("baremetal:port:get", Port)),
    ("PATCH", "ports/*", needs("baremetal:port:update", Port)),
    ("DELETE", "ports/*", needs("baremetal:port:delete", Port)),
    ("GET", "portgroups", needs("baremetal:portgroup:list", Nothing)),
    ("POST", "portgroups", needs("baremetal:portgroup:create", NodeOfBody)),
    ("GET", "portgroups/detail", needs("baremetal:portgroup:list", Nothing)),
    ("GET", "portgroups/*", needs("baremetal:portgroup:get", Portgroup)),
    ("PATCH", "portgroups/*", needs("baremetal:portgroup:update", Portgroup)),
    ("DELETE", "portgroups/*", needs("baremetal:portgroup:delete", Portgroup)),
    ("GET", "portgroups/*/ports", needs("baremetal:port:get", Portgroup)),
    ("GET", "volume", needs("baremetal:volume:list", Nothing)),
    ("GET", "volume/connectors", needs("baremetal:volume:list", Nothing)),
    ("POST", "volume/connectors", needs("baremetal:volume:create", NodeOfBody)),
    ("GET", "volume/connectors/*", needs("baremetal:volume:get", Connector)),
    ("PATCH", "volume/connectors/*", needs("baremetal:volume:update", Connector)),
    ("DELETE", "volume/connectors/*", needs("baremetal:volume:delete", Connector)),
    ("GET", "volume/targets", needs("baremetal:volume:list", Nothing)),
    ("POST", "volume/targets", needs("baremetal:volume:create", NodeOfBody)),
    ("GET", "volume/targets/*", needs("baremetal:volume:get", Target)),
    ("PATCH", "volume/targets/*", needs("baremetal:volume:update", Target)),
    ("DELETE", "volume/targets/*", needs("baremetal:volume:delete", Target)),
    ("GET", "allocations", needs("baremetal:allocation:list", Nothing)),
    ("POST", "allocations", needs("baremetal:allocation:create", NewAllocation)),
    ("GET", "allocations/*", needs("baremetal:allocation:get", Allocation)),
    ("PATCH", "allocations/*", needs("baremetal:allocation:update", Allocation)),
    ("DELETE", "allocations/*", needs("baremetal:allocation:delete", Allocation)),
    ("GET", "runbooks", needs("baremetal:runbook:list", Nothing)),
    ("POST", "runbooks", needs("baremetal:runbook:create", NewRunbook)),
    ("GET", "runbooks/*", needs("baremetal:runbook:get", Runbook)),
    ("PATCH", "runbooks/*", needs("baremetal:runbook:update", Runbook)),
    ("DELETE", "runbooks/*", needs("baremetal:runbook:delete", Runbook)),
    ("GET", "runbooks/*/traits", needs("baremetal:runbook:get", Runbook)),
    ("PUT", "runbooks/*/traits", needs("baremetal:runbook:update", Runbook)),
    ("DELETE", "runbooks/*/traits", needs("baremetal:runbook:update", Runbook)),
    ("PUT", "runbooks/*/traits/*", needs("baremetal:runbook:update", Runbook)),
    ("DELETE", "runbooks/*/traits/*", needs("baremetal:runbook:update", Runbook)),
    ("GET", "chassis", needs("baremetal:chassis:get", Nothing)),
    ("GET", "chassis/detail", needs("baremetal:chassis:get", Nothing)),
    ("POST", "chassis", needs("baremetal:chassis:create", Nothing)),
    ("GET", "chassis/*", needs("baremetal:chassis:get", Nothing)),
    ("PATCH", "chassis/*", needs("baremetal:chassis:update", Nothing)),
    ("DELETE", "chassis/*", needs("baremetal:chassis:delete", Nothing)),
    ("GET", "chassis/*/nodes", needs("baremetal:chassis:get", Nothing)),
    ("GET", "deploy_templates", needs("baremetal:deploy_template:get", Nothing)),
    ("POST", "deploy_templates", needs("baremetal:deploy_template:create", Nothing)),
    ("GET", "deploy_templates/*", needs("baremetal:deploy_template:get", Nothing)),
    ("PATCH", "deploy_templates/*", needs("baremetal:deploy_template:update", Nothing)),
    ("DELETE", "deploy_templates/*", needs("baremetal:deploy_template:delete", Nothing)),
    ("GET", "inspection_rules", needs("baremetal:inspection_rule:list_all", Nothing)),
    ("POST", "inspection_rules", needs("baremetal:inspection_rule:create", Nothing)),
    ("GET", "inspection_rules/*", needs("baremetal:inspection_rule:get", Nothing)),
    ("PATCH", "inspection_rules/*", needs("baremetal:inspection_rule:update", Nothing)),
    ("DELETE", "inspection_rules/*", needs("baremetal:inspection_rule:delete", Nothing)),
    ("DELETE", "inspection_rules", needs("baremetal:inspection_rule:delete", Nothing)),
    ("GET", "drivers", needs("baremetal:driver:get", Nothing)),
    ("GET", "drivers/*", needs("baremetal:driver:get", Nothing)),
    ("GET", "drivers/*/properties", needs("baremetal:driver:get_properties", Nothing)),
    (
        "GET",
        "drivers/*/raid/logical_disk_properties",
        needs("baremetal:driver:get_raid_logical_disk_properties", Nothing),
    ),
    ("GET", "drivers/*/vendor_passthru/methods", needs("baremetal:driver:vendor_passthru", Nothing)),
    ("GET", "drivers/*/vendor_passthru/*", needs("baremetal:driver:vendor_passthru", Nothing)),
    ("POST", "drivers/*/vendor_passthru/*", needs("baremetal:driver:vendor_passthru", Nothing)),
    ("PUT", "drivers/*/vendor_passthru/*", needs("baremetal:driver:vendor_passthru", Nothing)),
    ("DELETE", "drivers/*/vendor_passthru/*", needs("baremetal:driver:vendor_passthru", Nothing)),
    ("GET", "conductors", needs("baremetal:conductor:get", Nothing)),
    ("GET", "conductors/*", needs("baremetal:conductor:get", Nothing)),
    ("GET", "shards", needs("baremetal:shards:get", Nothing)),
    ("POST", "events", needs("baremetal:events:post", Nothing)),
    // What they are told is all nodes, and they have us call whom they name.
    ("GET", "webhooks", Need::Everything),
    ("POST", "webhooks", Need::Everything),
    ("GET", "webhooks/*", Need::Everything),
    ("PATCH", "webhooks/*", Need::Everything),
    ("DELETE", "webhooks/*", Need::Everything),
    ("GET", "lookup", Need::Nothing),
    ("POST", "heartbeat", Need::Nothing),
    ("POST", "heartbeat/*", Need::Nothing),
    ("POST", "continue_inspection", Need::Nothing),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_of_the_protocol_has_one_row_and_there_are_no_others() {
        let there: BTreeSet<(&str, &str)> = (1..=115).flat_map(wire_ironic::path::since).collect();
        let known: BTreeSet<(&str, &str)> = CALLS.iter().map(|(method, path, _)| (*method, *path)).collect();
        assert_eq!(known.len(), CALLS.len());
        let missing: Vec<_> = there.difference(&known).collect();
        let left_over: Vec<_> = known.difference(&there).collect();
        assert!(missing.is_empty() && left_over.is_empty(), "missing: {missing:?}, left over: {left_over:?}");
    }

    #[test]
    fn what_changes_something_never_needs_a_rule_for_reading() {
        let reads = [":get", ":list", ":list_all", ":get_states"];
        for (method, path, need) in CALLS.iter().filter(|(method, ..)| *method != "GET") {
            if let Need::Rule(rule, _) = need {
                assert!(!reads.iter().any(|read| rule.name().ends_with(read)), "{method} {path}");
            }
        }
    }
}
