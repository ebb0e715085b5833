//! The route table.

use super::{Older, Requirement, Route, Target};

/// Expands to the requirement of a row.
macro_rules! requirement {
    (rule($name:literal, $target:ident)) => {
        Requirement::Rule { name: $name, target: Target::$target }
    };
    (unrestricted) => {
        Requirement::Unrestricted
    };
    (public) => {
        Requirement::Public
    };
}

/// Expands to the error of a row for older requests.
macro_rules! older {
    () => {
        Older::Missing
    };
    ($older:ident) => {
        Older::$older
    };
}

/// Generates [`Call`] and the table from one list of rows.
macro_rules! routes {
    ($(
        $call:ident $({ $($param:ident),+ })?: $method:ident $path:literal
            => $success:literal since $since:literal $(older $older:ident)?,
            $kind:ident $(($rule:literal, $target:ident))?;
    )+) => {
        /// Call of the API, with the parameters of its path.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Call<'p> {
            $(
                #[doc = concat!("`", stringify!($method), " /v1/", $path, "`.")]
                $call $({
                    $(
                        #[doc = concat!("The segment of the path that holds the ", stringify!($param), ".")]
                        $param: &'p str,
                    )+
                })?,
            )+
        }

        /// All routes. If two paths match a request, the first one is used; the rows of one path are adjacent.
        pub(super) static ROUTES: &[Route] = &[$(
            Route {
                method: stringify!($method),
                path: $path,
                success: $success,
                since: $since,
                older: older!($($older)?),
                requirement: requirement!($kind $(($rule, $target))?),
                call: |params| match params {
                    &[$($($param),+)?] => Some(Call::$call $({ $($param),+ })?),
                    _ => None,
                },
            },
        )+];
    };
}

// Call: method, path (`*` matches one segment) => status of success, first version, requirement. The first versions of
// whole collections are in `Collection`.
routes! {
    NodeList: GET "nodes" => 200 since 1, rule("baremetal:node:list", Nothing);
    NodeCreate: POST "nodes" => 201 since 1, rule("baremetal:node:create", NewNode);
    NodeListDetail: GET "nodes/detail" => 200 since 1, rule("baremetal:node:list", Nothing);
    NodeConsoleShowByArgument { ident }: GET "nodes/states/console/*"
        => 200 since 1, rule("baremetal:node:get_console", Node);
    NodeShow { ident }: GET "nodes/*" => 200 since 1, rule("baremetal:node:get", Node);
    NodeUpdate { ident }: PATCH "nodes/*" => 200 since 1, rule("baremetal:node:update", Node);
    NodeDelete { ident }: DELETE "nodes/*" => 204 since 1, rule("baremetal:node:delete:self_owned_node", Node);
    NodeValidate { ident }: GET "nodes/*/validate" => 200 since 1, rule("baremetal:node:validate", Node);
    NodeStatesShow { ident }: GET "nodes/*/states" => 200 since 1, rule("baremetal:node:get_states", Node);
    NodePowerSet { ident }: PUT "nodes/*/states/power" => 202 since 1, rule("baremetal:node:set_power_state", Node);
    NodeProvisionSet { ident }: PUT "nodes/*/states/provision"
        => 202 since 1, rule("baremetal:node:set_provision_state", Node);
    NodeRaidSet { ident }: PUT "nodes/*/states/raid"
        => 204 since 12 older NotAcceptable, rule("baremetal:node:set_raid_state", Node);
    NodeConsoleShow { ident }: GET "nodes/*/states/console" => 200 since 1, rule("baremetal:node:get_console", Node);
    NodeConsoleSet { ident }: PUT "nodes/*/states/console"
        => 202 since 1, rule("baremetal:node:set_console_state", Node);
    NodeBootModeSet { ident }: PUT "nodes/*/states/boot_mode"
        => 202 since 76 older Endpoint, rule("baremetal:node:set_boot_mode", Node);
    NodeSecureBootSet { ident }: PUT "nodes/*/states/secure_boot"
        => 202 since 76 older Endpoint, rule("baremetal:node:set_secure_boot", Node);
    NodeMaintenanceSet { ident }: PUT "nodes/*/maintenance"
        => 202 since 1, rule("baremetal:node:set_maintenance", Node);
    NodeMaintenanceClear { ident }: DELETE "nodes/*/maintenance"
        => 202 since 1, rule("baremetal:node:clear_maintenance", Node);
    NodeBootDeviceShow { ident }: GET "nodes/*/management/boot_device"
        => 200 since 1, rule("baremetal:node:get_boot_device", Node);
    NodeBootDeviceSet { ident }: PUT "nodes/*/management/boot_device"
        => 204 since 1, rule("baremetal:node:set_boot_device", Node);
    NodeBootDeviceListSupported { ident }: GET "nodes/*/management/boot_device/supported"
        => 200 since 1, rule("baremetal:node:get_boot_device", Node);
    NodeNmiInject { ident }: PUT "nodes/*/management/inject_nmi"
        => 204 since 29, rule("baremetal:node:inject_nmi", Node);
    NodeIndicatorList { ident }: GET "nodes/*/management/indicators"
        => 200 since 63, rule("baremetal:node:get_indicator_state", Node);
    NodeIndicatorShow { ident, indicator }: GET "nodes/*/management/indicators/*"
        => 200 since 63, rule("baremetal:node:get_indicator_state", Node);
    NodeIndicatorSet { ident, indicator }: PUT "nodes/*/management/indicators/*"
        => 204 since 63, rule("baremetal:node:set_indicator_state", Node);
    NodeTraitList { ident }: GET "nodes/*/traits"
        => 200 since 37 older ByMethod, rule("baremetal:node:traits:list", Node);
    NodeTraitsSet { ident }: PUT "nodes/*/traits"
        => 204 since 37 older ByMethod, rule("baremetal:node:traits:set", Node);
    NodeTraitsClear { ident }: DELETE "nodes/*/traits"
        => 204 since 37 older ByMethod, rule("baremetal:node:traits:delete", Node);
    NodeTraitAdd { ident, name }: PUT "nodes/*/traits/*"
        => 204 since 37 older ByMethod, rule("baremetal:node:traits:set", Node);
    NodeTraitRemove { ident, name }: DELETE "nodes/*/traits/*"
        => 204 since 37 older ByMethod, rule("baremetal:node:traits:delete", Node);
    NodeVifList { ident }: GET "nodes/*/vifs" => 200 since 28, rule("baremetal:node:vif:list", Node);
    NodeVifAttach { ident }: POST "nodes/*/vifs" => 204 since 28, rule("baremetal:node:vif:attach", Node);
    NodeVifDetach { ident, vif }: DELETE "nodes/*/vifs/*" => 204 since 28, rule("baremetal:node:vif:detach", Node);
    NodeVirtualMediaAttach { ident }: POST "nodes/*/vmedia" => 204 since 89, rule("baremetal:node:vmedia:attach", Node);
    NodeVirtualMediaDetach { ident }: DELETE "nodes/*/vmedia"
        => 204 since 89, rule("baremetal:node:vmedia:detach", Node);
    NodeVirtualMediaShow { ident }: GET "nodes/*/vmedia" => 200 since 93, rule("baremetal:node:vmedia:get", Node);
    NodeBiosList { ident }: GET "nodes/*/bios" => 200 since 40, rule("baremetal:node:bios:get", Node);
    NodeBiosShow { ident, setting }: GET "nodes/*/bios/*" => 200 since 40, rule("baremetal:node:bios:get", Node);
    NodeFirmwareList { ident }: GET "nodes/*/firmware" => 200 since 86, rule("baremetal:node:firmware:get", Node);
    NodeHistoryList { ident }: GET "nodes/*/history" => 200 since 78, rule("baremetal:node:history:get", Node);
    NodeHistoryShow { ident, record }: GET "nodes/*/history/*"
        => 200 since 78, rule("baremetal:node:history:get", Node);
    NodeInventoryShow { ident }: GET "nodes/*/inventory" => 200 since 81, rule("baremetal:node:inventory:get", Node);
    NodeChildrenList { ident }: GET "nodes/*/children" => 200 since 83, rule("baremetal:node:get", Node);
    NodeAllocationShow { ident }: GET "nodes/*/allocation"
        => 200 since 52, rule("baremetal:allocation:get", NodeAllocation);
    NodeAllocationDelete { ident }: DELETE "nodes/*/allocation"
        => 204 since 52, rule("baremetal:allocation:delete", NodeAllocation);
    NodePortList { ident }: GET "nodes/*/ports" => 200 since 1, rule("baremetal:port:get", Node);
    NodePortListDetail { ident }: GET "nodes/*/ports/detail" => 200 since 1, rule("baremetal:port:get", Node);
    NodePortgroupList { ident }: GET "nodes/*/portgroups" => 200 since 24, rule("baremetal:portgroup:get", Node);
    NodePortgroupListDetail { ident }: GET "nodes/*/portgroups/detail"
        => 200 since 24, rule("baremetal:portgroup:get", Node);
    NodeVolumeShow { ident }: GET "nodes/*/volume" => 200 since 32, rule("baremetal:volume:get", Node);
    NodeVolumeConnectorList { ident }: GET "nodes/*/volume/connectors"
        => 200 since 32, rule("baremetal:volume:get", Node);
    NodeVolumeTargetList { ident }: GET "nodes/*/volume/targets" => 200 since 32, rule("baremetal:volume:get", Node);
    NodePassthruMethods { ident }: GET "nodes/*/vendor_passthru/methods"
        => 200 since 1, rule("baremetal:node:vendor_passthru", Node);
    // The method is an argument.
    NodePassthruNamedGet { ident }: GET "nodes/*/vendor_passthru"
        => 200 since 1, rule("baremetal:node:vendor_passthru", Node);
    NodePassthruNamedPost { ident }: POST "nodes/*/vendor_passthru"
        => 200 since 1, rule("baremetal:node:vendor_passthru", Node);
    NodePassthruNamedPut { ident }: PUT "nodes/*/vendor_passthru"
        => 200 since 1, rule("baremetal:node:vendor_passthru", Node);
    NodePassthruNamedDelete { ident }: DELETE "nodes/*/vendor_passthru"
        => 200 since 1, rule("baremetal:node:vendor_passthru", Node);
    // Methods that run asynchronously return 202.
    NodePassthruGet { ident, method }: GET "nodes/*/vendor_passthru/*"
        => 200 since 1, rule("baremetal:node:vendor_passthru", Node);
    NodePassthruPost { ident, method }: POST "nodes/*/vendor_passthru/*"
        => 200 since 1, rule("baremetal:node:vendor_passthru", Node);
    NodePassthruPut { ident, method }: PUT "nodes/*/vendor_passthru/*"
        => 200 since 1, rule("baremetal:node:vendor_passthru", Node);
    NodePassthruDelete { ident, method }: DELETE "nodes/*/vendor_passthru/*"
        => 200 since 1, rule("baremetal:node:vendor_passthru", Node);
    PortList: GET "ports" => 200 since 1, rule("baremetal:port:list", Nothing);
    PortCreate: POST "ports" => 201 since 1, rule("baremetal:port:create", NodeInBody);
    PortListDetail: GET "ports/detail" => 200 since 1, rule("baremetal:port:list", Nothing);
    PortShow { ident }: GET "ports/*" => 200 since 1, rule("baremetal:port:get", Port);
    PortUpdate { ident }: PATCH "ports/*" => 200 since 1, rule("baremetal:port:update", Port);
    PortDelete { ident }: DELETE "ports/*" => 204 since 1, rule("baremetal:port:delete", Port);
    PortgroupList: GET "portgroups" => 200 since 23, rule("baremetal:portgroup:list", Nothing);
    PortgroupCreate: POST "portgroups" => 201 since 23, rule("baremetal:portgroup:create", NodeInBody);
    PortgroupListDetail: GET "portgroups/detail" => 200 since 23, rule("baremetal:portgroup:list", Nothing);
    PortgroupShow { ident }: GET "portgroups/*" => 200 since 1, rule("baremetal:portgroup:get", Portgroup);
    PortgroupUpdate { ident }: PATCH "portgroups/*" => 200 since 1, rule("baremetal:portgroup:update", Portgroup);
    PortgroupDelete { ident }: DELETE "portgroups/*" => 204 since 1, rule("baremetal:portgroup:delete", Portgroup);
    PortgroupPortList { ident }: GET "portgroups/*/ports" => 200 since 24, rule("baremetal:port:get", Portgroup);
    ChassisList: GET "chassis" => 200 since 1, rule("baremetal:chassis:get", Nothing);
    ChassisCreate: POST "chassis" => 201 since 1, rule("baremetal:chassis:create", Nothing);
    ChassisListDetail: GET "chassis/detail" => 200 since 1, rule("baremetal:chassis:get", Nothing);
    ChassisShow { ident }: GET "chassis/*" => 200 since 1, rule("baremetal:chassis:get", Nothing);
    ChassisUpdate { ident }: PATCH "chassis/*" => 200 since 1, rule("baremetal:chassis:update", Nothing);
    ChassisDelete { ident }: DELETE "chassis/*" => 204 since 1, rule("baremetal:chassis:delete", Nothing);
    ChassisNodeList { ident }: GET "chassis/*/nodes" => 200 since 1, rule("baremetal:chassis:get", Nothing);
    DriverList: GET "drivers" => 200 since 1, rule("baremetal:driver:get", Nothing);
    DriverShow { ident }: GET "drivers/*" => 200 since 1, rule("baremetal:driver:get", Nothing);
    DriverPropertiesShow { ident }: GET "drivers/*/properties"
        => 200 since 1, rule("baremetal:driver:get_properties", Nothing);
    DriverRaidPropertiesShow { ident }: GET "drivers/*/raid/logical_disk_properties"
        => 200 since 12 older NotAcceptable, rule("baremetal:driver:get_raid_logical_disk_properties", Nothing);
    DriverPassthruMethods { ident }: GET "drivers/*/vendor_passthru/methods"
        => 200 since 1, rule("baremetal:driver:vendor_passthru", Nothing);
    DriverPassthruGet { ident, method }: GET "drivers/*/vendor_passthru/*"
        => 200 since 1, rule("baremetal:driver:vendor_passthru", Nothing);
    DriverPassthruPost { ident, method }: POST "drivers/*/vendor_passthru/*"
        => 200 since 1, rule("baremetal:driver:vendor_passthru", Nothing);
    DriverPassthruPut { ident, method }: PUT "drivers/*/vendor_passthru/*"
        => 200 since 1, rule("baremetal:driver:vendor_passthru", Nothing);
    DriverPassthruDelete { ident, method }: DELETE "drivers/*/vendor_passthru/*"
        => 200 since 1, rule("baremetal:driver:vendor_passthru", Nothing);
    ConductorList: GET "conductors" => 200 since 49, rule("baremetal:conductor:get", Nothing);
    ConductorShow { ident }: GET "conductors/*" => 200 since 49, rule("baremetal:conductor:get", Nothing);
    AllocationList: GET "allocations" => 200 since 52, rule("baremetal:allocation:list", Nothing);
    AllocationCreate: POST "allocations" => 201 since 52, rule("baremetal:allocation:create", NewAllocation);
    AllocationShow { ident }: GET "allocations/*" => 200 since 1, rule("baremetal:allocation:get", Allocation);
    AllocationUpdate { ident }: PATCH "allocations/*" => 200 since 1, rule("baremetal:allocation:update", Allocation);
    AllocationDelete { ident }: DELETE "allocations/*" => 204 since 1, rule("baremetal:allocation:delete", Allocation);
    DeployTemplateList: GET "deploy_templates" => 200 since 55, rule("baremetal:deploy_template:get", Nothing);
    DeployTemplateCreate: POST "deploy_templates" => 201 since 55, rule("baremetal:deploy_template:create", Nothing);
    DeployTemplateShow { ident }: GET "deploy_templates/*"
        => 200 since 1, rule("baremetal:deploy_template:get", Nothing);
    DeployTemplateUpdate { ident }: PATCH "deploy_templates/*"
        => 200 since 1, rule("baremetal:deploy_template:update", Nothing);
    DeployTemplateDelete { ident }: DELETE "deploy_templates/*"
        => 204 since 1, rule("baremetal:deploy_template:delete", Nothing);
    RunbookList: GET "runbooks" => 200 since 92, rule("baremetal:runbook:list", Nothing);
    RunbookCreate: POST "runbooks" => 201 since 92, rule("baremetal:runbook:create", NewRunbook);
    RunbookShow { ident }: GET "runbooks/*" => 200 since 1, rule("baremetal:runbook:get", Runbook);
    RunbookUpdate { ident }: PATCH "runbooks/*" => 200 since 1, rule("baremetal:runbook:update", Runbook);
    RunbookDelete { ident }: DELETE "runbooks/*" => 204 since 1, rule("baremetal:runbook:delete", Runbook);
    RunbookTraitList { ident }: GET "runbooks/*/traits" => 200 since 112, rule("baremetal:runbook:get", Runbook);
    RunbookTraitsSet { ident }: PUT "runbooks/*/traits" => 204 since 112, rule("baremetal:runbook:update", Runbook);
    RunbookTraitsClear { ident }: DELETE "runbooks/*/traits"
        => 204 since 112, rule("baremetal:runbook:update", Runbook);
    RunbookTraitAdd { ident, name }: PUT "runbooks/*/traits/*"
        => 204 since 112, rule("baremetal:runbook:update", Runbook);
    RunbookTraitRemove { ident, name }: DELETE "runbooks/*/traits/*"
        => 204 since 112, rule("baremetal:runbook:update", Runbook);
    InspectionRuleList: GET "inspection_rules" => 200 since 96, rule("baremetal:inspection_rule:list_all", Nothing);
    InspectionRuleCreate: POST "inspection_rules" => 201 since 96, rule("baremetal:inspection_rule:create", Nothing);
    InspectionRuleDeleteAll: DELETE "inspection_rules"
        => 204 since 96, rule("baremetal:inspection_rule:delete", Nothing);
    InspectionRuleShow { ident }: GET "inspection_rules/*"
        => 200 since 1, rule("baremetal:inspection_rule:get", Nothing);
    InspectionRuleUpdate { ident }: PATCH "inspection_rules/*"
        => 200 since 1, rule("baremetal:inspection_rule:update", Nothing);
    InspectionRuleDelete { ident }: DELETE "inspection_rules/*"
        => 204 since 1, rule("baremetal:inspection_rule:delete", Nothing);
    VolumeShow: GET "volume" => 200 since 32, rule("baremetal:volume:list", Nothing);
    VolumeConnectorList: GET "volume/connectors" => 200 since 32, rule("baremetal:volume:list", Nothing);
    VolumeConnectorCreate: POST "volume/connectors" => 201 since 32, rule("baremetal:volume:create", NodeInBody);
    VolumeConnectorShow { ident }: GET "volume/connectors/*"
        => 200 since 1, rule("baremetal:volume:get", VolumeConnector);
    VolumeConnectorUpdate { ident }: PATCH "volume/connectors/*"
        => 200 since 1, rule("baremetal:volume:update", VolumeConnector);
    VolumeConnectorDelete { ident }: DELETE "volume/connectors/*"
        => 204 since 1, rule("baremetal:volume:delete", VolumeConnector);
    VolumeTargetList: GET "volume/targets" => 200 since 32, rule("baremetal:volume:list", Nothing);
    VolumeTargetCreate: POST "volume/targets" => 201 since 32, rule("baremetal:volume:create", NodeInBody);
    VolumeTargetShow { ident }: GET "volume/targets/*" => 200 since 1, rule("baremetal:volume:get", VolumeTarget);
    VolumeTargetUpdate { ident }: PATCH "volume/targets/*"
        => 200 since 1, rule("baremetal:volume:update", VolumeTarget);
    VolumeTargetDelete { ident }: DELETE "volume/targets/*"
        => 204 since 1, rule("baremetal:volume:delete", VolumeTarget);
    ShardList: GET "shards" => 200 since 82, rule("baremetal:shards:get", Nothing);
    EventPost: POST "events" => 204 since 54, rule("baremetal:events:post", Nothing);
    // An extension, available in every version. A webhook receives the changes of every node, and makes the service call a
    // URL that its creator chose.
    WebhookList: GET "webhooks" => 200 since 1, unrestricted;
    WebhookCreate: POST "webhooks" => 201 since 1, unrestricted;
    WebhookShow { ident }: GET "webhooks/*" => 200 since 1, unrestricted;
    WebhookUpdate { ident }: PATCH "webhooks/*" => 200 since 1, unrestricted;
    WebhookDelete { ident }: DELETE "webhooks/*" => 204 since 1, unrestricted;
    // Agents authenticate with their own tokens.
    AgentLookup: GET "lookup" => 200 since 1, public;
    AgentHeartbeat: POST "heartbeat" => 202 since 1, public;
    AgentHeartbeatOf { ident }: POST "heartbeat/*" => 202 since 1, public;
    AgentContinueInspection: POST "continue_inspection" => 202 since 1, public;
}
