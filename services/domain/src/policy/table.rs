//! The table of authorization rules. The names and the defaults are those of Ironic 39.0.0, as
//! `oslopolicy-sample-generator --namespace ironic.api` prints them.
//!
//! As in Ironic's default (`[api] project_admin_can_manage_own_nodes`), admins of a project can create and delete nodes of
//! their own; here it is one rule with those of the system's admins. For all callers of the golden matrix, the verdicts are
//! those of oslo.policy with the rules of that release, with one exception: the project of the services may read chassis and
//! drivers and change chassis, as every member of the system.

use super::Role;

/// Which callers with the service role are allowed, in addition to those of the services' own project, who are members of
/// the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Services {
    /// None.
    None,
    /// Those in the system scope.
    OfSystem,
    /// Those in the system scope and in the owner's project.
    OfOwner,
    /// All.
    Anywhere,
}

/// Record that a caller must be allowed to see before a refusal may reveal that the record exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// The node.
    Node,
    /// The allocation.
    Allocation,
    /// None: existence is not confidential.
    Open,
}

/// A row: the minimum role in each scope, or `None` if no role suffices.
#[derive(Debug)]
pub(super) struct Row {
    name: &'static str,
    /// In the system scope.
    pub(super) system: Option<Role>,
    /// In the project that owns the record.
    pub(super) owner: Option<Role>,
    /// In the project that leases the record.
    pub(super) lessee: Option<Role>,
    /// In any scope.
    pub(super) anyone: Option<Role>,
    pub(super) services: Services,
    pub(super) sight: Sight,
}

/// A rule of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule(&'static Row);

impl Rule {
    /// Returns the rule of this name, or `None` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(Self)
    }

    /// Returns the rule's name, as refusals quote it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    pub(super) const fn row(self) -> &'static Row {
        self.0
    }
}

/// Returns the rule of a name. For constants, in which an unknown name does not compile.
///
/// # Panics
/// Panics if no rule has the name.
#[must_use]
pub const fn rule(name: &str) -> Rule {
    let mut rows: &'static [Row] = ROWS;
    while let [row, rest @ ..] = rows {
        if is_same(row.name.as_bytes(), name.as_bytes()) {
            return Rule(row);
        }
        rows = rest;
    }
    panic!("no rule has this name")
}

const fn is_same(mut one: &[u8], mut other: &[u8]) -> bool {
    loop {
        match (one, other) {
            ([], []) => return true,
            ([a, more @ ..], [b, others @ ..]) if *a == *b => (one, other) = (more, others),
            _ => return false,
        }
    }
}

/// Returns every rule.
pub fn all() -> impl Iterator<Item = Rule> {
    ROWS.iter().map(Rule)
}

const R: Option<Role> = Some(Role::Reader);
const M: Option<Role> = Some(Role::Member);
const G: Option<Role> = Some(Role::Manager);
const A: Option<Role> = Some(Role::Admin);
const NO: Option<Role> = None;

type Least = Option<Role>;

/// A rule about a node: the minimum roles in the system, the owner's and the lessee's project.
const fn node(name: &'static str, system: Least, owner: Least, lessee: Least, services: Services) -> Row {
    Row { name, system, owner, lessee, anyone: NO, services, sight: Sight::Node }
}

/// A rule about an allocation: the minimum roles in the system and in the owner's project.
const fn allocation(name: &'static str, system: Least, owner: Least, services: Services) -> Row {
    Row { name, system, owner, lessee: NO, anyone: NO, services, sight: Sight::Allocation }
}

/// A rule about records that are not confidential: the minimum roles in the system, in the owner's project and in any
/// scope.
const fn open(name: &'static str, system: Least, owner: Least, anyone: Least, services: Services) -> Row {
    Row { name, system, owner, lessee: NO, anyone, services, sight: Sight::Open }
}

use Services::{Anywhere, None as NoServices, OfOwner, OfSystem};

/// The table.
static ROWS: &[Row] = &[
    // Nodes: minimum roles in the system, the owner's and the lessee's project; services.
    node("baremetal:node:get", R, R, R, OfOwner),
    node("baremetal:node:get_states", R, R, R, OfOwner),
    node("baremetal:node:get_indicator_state", R, R, R, OfOwner),
    node("baremetal:node:vif:list", R, R, R, OfOwner),
    node("baremetal:node:traits:list", R, R, R, OfOwner),
    node("baremetal:node:bios:get", R, R, R, OfOwner),
    node("baremetal:node:firmware:get", R, R, R, OfOwner),
    node("baremetal:node:vmedia:get", R, R, R, OfOwner),
    node("baremetal:node:get:last_error", R, R, NO, OfOwner),
    node("baremetal:node:get:reservation", R, R, NO, OfOwner),
    node("baremetal:node:get:driver_internal_info", R, R, NO, OfOwner),
    node("baremetal:node:get:driver_info", R, R, NO, OfOwner),
    node("baremetal:node:history:get", R, R, NO, OfOwner),
    node("baremetal:node:inventory:get", R, R, NO, OfOwner),
    node("baremetal:node:set_power_state", M, M, M, OfSystem),
    node("baremetal:node:set_boot_mode", M, M, M, OfSystem),
    node("baremetal:node:set_secure_boot", M, M, M, OfSystem),
    node("baremetal:node:vmedia:attach", M, M, M, OfSystem),
    node("baremetal:node:vmedia:detach", M, M, M, OfSystem),
    node("baremetal:node:update", M, M, M, OfSystem),
    node("baremetal:node:update_extra", M, M, M, OfSystem),
    node("baremetal:node:set_provision_state", M, M, G, OfOwner),
    node("baremetal:node:set_provision_state:clean_steps", M, M, G, OfOwner),
    node("baremetal:node:set_provision_state:service_steps", M, M, G, OfOwner),
    node("baremetal:node:validate", M, M, G, OfOwner),
    node("baremetal:node:set_maintenance", M, M, G, OfOwner),
    node("baremetal:node:clear_maintenance", M, M, G, OfOwner),
    node("baremetal:node:vif:attach", M, M, G, OfOwner),
    node("baremetal:node:vif:detach", M, M, G, OfOwner),
    node("baremetal:node:update_instance_info", M, M, G, OfOwner),
    node("baremetal:node:update:driver_info", M, M, NO, OfOwner),
    node("baremetal:node:update:properties", M, M, NO, OfOwner),
    node("baremetal:node:update:instance_uuid", M, M, NO, OfOwner),
    node("baremetal:node:update:lessee", M, M, NO, OfOwner),
    node("baremetal:node:update:name", M, M, NO, OfOwner),
    node("baremetal:node:update:retired", M, M, NO, OfOwner),
    node("baremetal:node:update:network_data", M, M, NO, OfOwner),
    node("baremetal:node:get_console", M, M, NO, OfOwner),
    node("baremetal:node:set_console_state", M, M, NO, OfOwner),
    node("baremetal:node:set_raid_state", M, M, NO, OfOwner),
    node("baremetal:node:set_indicator_state", M, M, NO, OfOwner),
    node("baremetal:node:update:driver_interfaces", M, G, NO, OfOwner),
    node("baremetal:node:get_boot_device", M, G, NO, OfOwner),
    node("baremetal:node:set_boot_device", M, G, NO, OfOwner),
    node("baremetal:node:inject_nmi", M, G, NO, OfOwner),
    node("baremetal:node:traits:set", M, G, NO, OfOwner),
    node("baremetal:node:traits:delete", M, G, NO, OfOwner),
    node("baremetal:node:update:owner", M, NO, NO, NoServices),
    node("baremetal:node:update:conductor_group", M, NO, NO, NoServices),
    node("baremetal:node:update:parent_node", M, NO, NO, NoServices),
    node("baremetal:node:update:chassis_uuid", A, NO, NO, NoServices),
    node("baremetal:node:update:shard", A, NO, NO, NoServices),
    node("baremetal:node:update:disable_power_off", A, NO, NO, NoServices),
    node("baremetal:node:disable_cleaning", A, NO, NO, NoServices),
    node("baremetal:node:update_owner_provisioned", A, NO, NO, NoServices),
    node("baremetal:node:vendor_passthru", A, NO, NO, NoServices),
    node("baremetal:node:delete:self_owned_node", A, A, NO, NoServices),
    // Parts of a node: ports, port groups, volumes.
    node("baremetal:port:get", R, R, R, OfOwner),
    node("baremetal:portgroup:get", R, R, R, OfOwner),
    node("baremetal:volume:get", R, R, R, OfOwner),
    node("baremetal:port:create", A, G, NO, OfOwner),
    node("baremetal:port:delete", A, G, NO, OfOwner),
    node("baremetal:portgroup:create", A, G, NO, OfOwner),
    node("baremetal:portgroup:delete", A, G, NO, OfOwner),
    node("baremetal:port:update", M, G, NO, OfOwner),
    node("baremetal:portgroup:update", M, G, NO, OfOwner),
    node("baremetal:volume:create", M, G, G, OfOwner),
    node("baremetal:volume:delete", M, G, G, OfOwner),
    node("baremetal:volume:update", M, M, G, OfOwner),
    // Allocations: the system, the owner; services.
    allocation("baremetal:allocation:get", R, R, OfSystem),
    allocation("baremetal:allocation:update", M, M, NoServices),
    allocation("baremetal:allocation:delete", M, M, NoServices),
    // Records that are not confidential: the system, the owner, any scope; services.
    open("baremetal:allocation:create", M, NO, M, NoServices),
    open("baremetal:allocation:create_restricted", M, NO, NO, NoServices),
    open("baremetal:node:create", A, NO, A, Anywhere),
    open("baremetal:node:list", NO, NO, R, Anywhere),
    open("baremetal:node:list_all", R, NO, NO, OfSystem),
    open("baremetal:port:list", NO, NO, R, Anywhere),
    open("baremetal:port:list_all", R, NO, NO, OfSystem),
    open("baremetal:portgroup:list", NO, NO, R, Anywhere),
    open("baremetal:portgroup:list_all", R, NO, NO, OfSystem),
    open("baremetal:volume:list", NO, NO, R, Anywhere),
    open("baremetal:volume:list_all", R, NO, NO, OfSystem),
    open("baremetal:allocation:list", NO, NO, R, Anywhere),
    open("baremetal:allocation:list_all", R, NO, NO, OfSystem),
    open("baremetal:runbook:list", NO, NO, R, Anywhere),
    open("baremetal:runbook:list_all", R, NO, NO, OfSystem),
    open("baremetal:volume:view_target_properties", R, NO, A, OfSystem),
    open("baremetal:runbook:get", R, R, NO, Anywhere),
    open("baremetal:runbook:create", M, NO, G, Anywhere),
    open("baremetal:runbook:update", M, G, NO, Anywhere),
    open("baremetal:runbook:delete", M, G, NO, Anywhere),
    open("baremetal:runbook:use", M, G, NO, Anywhere),
    open("baremetal:runbook:update:owner", M, NO, NO, NoServices),
    open("baremetal:runbook:update:public", M, NO, NO, NoServices),
    open("baremetal:chassis:get", R, NO, NO, OfSystem),
    open("baremetal:driver:get", R, NO, NO, OfSystem),
    open("baremetal:driver:get_properties", R, NO, NO, OfSystem),
    open("baremetal:driver:get_raid_logical_disk_properties", R, NO, NO, OfSystem),
    open("baremetal:conductor:get", R, NO, NO, OfSystem),
    open("baremetal:shards:get", R, NO, NO, OfSystem),
    open("baremetal:deploy_template:get", R, NO, NO, OfSystem),
    open("baremetal:inspection_rule:get", R, NO, NO, OfSystem),
    open("baremetal:inspection_rule:list_all", R, NO, NO, OfSystem),
    open("baremetal:chassis:update", M, NO, NO, NoServices),
    open("baremetal:chassis:create", A, NO, NO, NoServices),
    open("baremetal:chassis:delete", A, NO, NO, NoServices),
    open("baremetal:driver:vendor_passthru", A, NO, NO, NoServices),
    open("baremetal:events:post", A, NO, NO, NoServices),
    open("baremetal:deploy_template:create", A, NO, NO, NoServices),
    open("baremetal:deploy_template:update", A, NO, NO, NoServices),
    open("baremetal:deploy_template:delete", A, NO, NO, NoServices),
    open("baremetal:inspection_rule:create", A, NO, NO, NoServices),
    open("baremetal:inspection_rule:update", A, NO, NO, NoServices),
    open("baremetal:inspection_rule:delete", A, NO, NO, NoServices),
];
