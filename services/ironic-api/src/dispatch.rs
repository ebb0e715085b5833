//! Dispatches authorized calls.

use wire_ironic::{
    error::{Error, text},
    query::{self, Shape},
    route::Call,
};

use super::{ApiRequest, RestApi, drivers, response::ApiResponse, volume};
use scheduler_core::kinds::{
    ALLOCATION_KIND, CHASSIS_KIND, CONNECTOR_KIND, Kind, PORTGROUP_KIND, RULE_KIND, RUNBOOK_KIND, TARGET_KIND,
    TEMPLATE_KIND, WEBHOOK_KIND,
};

/// Call to one of the generic collections.
enum CollectionCall<'p> {
    List,
    ListDetail,
    Create,
    Show(&'p str),
    Update(&'p str),
    Delete(&'p str),
    DeleteAll,
    Traits { ident: &'p str, name: Option<&'p str> },
}

impl RestApi {
    /// Answers an authorized call.
    pub(super) async fn dispatch(&self, request: &ApiRequest, call: Call<'_>) -> Result<ApiResponse, Error> {
        match call {
            Call::NodeList => self.list_nodes(request, Shape::Plain),
            Call::NodeListDetail => self.list_nodes(request, Shape::Detail),
            Call::NodeCreate => self.create_node(request).await,
            Call::NodeShow { ident: "states" } => Err(query::missing("node_ident")),
            Call::NodeShow { ident } => self.show_node(request, ident),
            Call::NodeUpdate { ident } => self.patch_node(request, ident).await,
            Call::NodeDelete { ident } => self.delete_node(request, ident).await,
            Call::NodeValidate { ident } => self.validate(request, ident),
            Call::NodeStatesShow { ident } => self.node_states(request, ident),
            Call::NodePowerSet { ident } => self.power(request, ident).await,
            Call::NodeProvisionSet { ident } => self.provision(request, ident).await,
            Call::NodeRaidSet { ident } => self.set_raid(request, ident).await,
            Call::NodeConsoleShow { ident } | Call::NodeConsoleShowByArgument { ident } => self.console(request, ident),
            Call::NodeConsoleSet { ident } => self.set_console(request, ident).await,
            Call::NodeBootModeSet { ident } => self.unsupported(request, ident, &["states", "boot_mode"]),
            Call::NodeSecureBootSet { ident } => self.unsupported(request, ident, &["states", "secure_boot"]),
            Call::NodeMaintenanceSet { ident } | Call::NodeMaintenanceClear { ident } => {
                self.maintenance(request, ident).await
            }
            Call::NodeBootDeviceShow { ident } => self.get_boot_device(request, ident).await,
            Call::NodeBootDeviceSet { ident } => self.set_boot_device(request, ident).await,
            Call::NodeBootDeviceListSupported { ident } => self.supported_boot_devices(request, ident),
            Call::NodeNmiInject { ident } => self.inject_nmi(request, ident, &["management", "inject_nmi"]).await,
            Call::NodeIndicatorList { ident } => self.indicators(request, ident, &[]),
            Call::NodeIndicatorShow { ident, indicator } | Call::NodeIndicatorSet { ident, indicator } => {
                self.indicators(request, ident, &[indicator])
            }
            Call::NodeTraitList { ident } => self.list_traits(request, ident),
            Call::NodeTraitsSet { ident } | Call::NodeTraitsClear { ident } => {
                self.change_traits(request, ident, &[]).await
            }
            Call::NodeTraitAdd { ident, name } | Call::NodeTraitRemove { ident, name } => {
                self.change_traits(request, ident, &[name]).await
            }
            Call::NodeVifList { ident } => self.empty(request, ident, "vifs"),
            Call::NodeVifAttach { ident } => self.attach_vif(request, ident),
            Call::NodeVifDetach { ident, .. } => self.detach_vif(request, ident),
            Call::NodeVirtualMediaShow { ident } => self.unsupported(request, ident, &["vmedia"]),
            Call::NodeVirtualMediaAttach { ident } => self.insert_media(request, ident).await,
            Call::NodeVirtualMediaDetach { ident } => self.eject_media(request, ident),
            Call::NodeBiosList { ident } => self.bios(request, ident, &[]).await,
            Call::NodeBiosShow { ident, setting } => self.bios(request, ident, &[setting]).await,
            Call::NodeFirmwareList { ident } => self.empty(request, ident, "firmware"),
            Call::NodeHistoryList { ident } => self.history(request, ident, &[]).await,
            Call::NodeHistoryShow { ident, record } => self.history(request, ident, &[record]).await,
            Call::NodeInventoryShow { ident } => self.inventory(request, ident),
            Call::NodeChildrenList { ident } => self.children(request, ident),
            Call::NodeAllocationShow { ident } | Call::NodeAllocationDelete { ident } => {
                self.allocation(request, ident).await
            }
            Call::NodePortList { ident } => self.list_node_ports(request, ident, Shape::Plain),
            Call::NodePortListDetail { ident } => self.list_node_ports(request, ident, Shape::Detail),
            Call::NodePortgroupList { ident } => self.list_node_resources(request, ident, PORTGROUP_KIND, Shape::Plain),
            Call::NodePortgroupListDetail { ident } => {
                self.list_node_resources(request, ident, PORTGROUP_KIND, Shape::Detail)
            }
            Call::NodeVolumeShow { ident } => self.node_volume(request, ident),
            Call::NodeVolumeConnectorList { ident } => {
                self.list_node_resources(request, ident, CONNECTOR_KIND, Shape::Plain)
            }
            Call::NodeVolumeTargetList { ident } => self.list_node_resources(request, ident, TARGET_KIND, Shape::Plain),
            Call::NodePassthruMethods { ident } => self.vendor(request, ident, "methods"),
            Call::NodePassthruGet { ident, method }
            | Call::NodePassthruPost { ident, method }
            | Call::NodePassthruPut { ident, method }
            | Call::NodePassthruDelete { ident, method } => self.vendor(request, ident, method),

            Call::PortList => self.list_ports(request, Shape::Plain, &request.pairs),
            Call::PortListDetail => self.list_ports(request, Shape::Detail, &request.pairs),
            Call::PortCreate => self.create_port(request).await,
            Call::PortShow { ident } => self.show_port(request, ident),
            Call::PortUpdate { ident } => self.patch_port(request, ident).await,
            Call::PortDelete { ident } => self.delete_port(request, ident).await,

            Call::PortgroupPortList { ident } => self.list_portgroup_ports(request, ident),
            Call::ChassisNodeList { ident } => self.list_chassis_nodes(request, ident),

            Call::DriverList => self.list_drivers(request),
            Call::DriverShow { ident } => self.show_driver(request, ident),
            Call::DriverPropertiesShow { ident } => drivers::show_properties(ident),
            Call::DriverRaidPropertiesShow { ident } => drivers::show_raid_properties(ident),
            Call::DriverPassthruMethods { ident } => drivers::list_methods(ident),
            Call::DriverPassthruGet { ident, method }
            | Call::DriverPassthruPost { ident, method }
            | Call::DriverPassthruPut { ident, method }
            | Call::DriverPassthruDelete { ident, method } => drivers::call_method(ident, method),
            Call::ConductorList => self.conductors(request, &[]),
            Call::ConductorShow { ident } => self.conductors(request, &[ident]),
            Call::ShardList => Ok(self.shards()),
            Call::VolumeShow => Ok(ApiResponse::ok(volume(request, "volume"))),
            // No network service is attached that could send events.
            Call::EventPost => Err(text::no_such_path()),

            Call::AgentLookup => self.agents(request, &["lookup"]).await,
            Call::AgentHeartbeat => self.agents(request, &["heartbeat"]).await,
            Call::AgentHeartbeatOf { ident } => self.agents(request, &["heartbeat", ident]).await,
            Call::AgentContinueInspection => self.agents(request, &["continue_inspection"]).await,

            Call::ChassisList => self.collection(request, CHASSIS_KIND, CollectionCall::List).await,
            Call::ChassisListDetail => self.collection(request, CHASSIS_KIND, CollectionCall::ListDetail).await,
            Call::ChassisCreate => self.collection(request, CHASSIS_KIND, CollectionCall::Create).await,
            Call::ChassisShow { ident } => self.collection(request, CHASSIS_KIND, CollectionCall::Show(ident)).await,
            Call::ChassisUpdate { ident } => {
                self.collection(request, CHASSIS_KIND, CollectionCall::Update(ident)).await
            }
            Call::ChassisDelete { ident } => {
                self.collection(request, CHASSIS_KIND, CollectionCall::Delete(ident)).await
            }
            Call::PortgroupList => self.collection(request, PORTGROUP_KIND, CollectionCall::List).await,
            Call::PortgroupListDetail => self.collection(request, PORTGROUP_KIND, CollectionCall::ListDetail).await,
            Call::PortgroupCreate => self.collection(request, PORTGROUP_KIND, CollectionCall::Create).await,
            Call::PortgroupShow { ident } => {
                self.collection(request, PORTGROUP_KIND, CollectionCall::Show(ident)).await
            }
            Call::PortgroupUpdate { ident } => {
                self.collection(request, PORTGROUP_KIND, CollectionCall::Update(ident)).await
            }
            Call::PortgroupDelete { ident } => {
                self.collection(request, PORTGROUP_KIND, CollectionCall::Delete(ident)).await
            }
            Call::AllocationList => self.collection(request, ALLOCATION_KIND, CollectionCall::List).await,
            Call::AllocationCreate => self.collection(request, ALLOCATION_KIND, CollectionCall::Create).await,
            Call::AllocationShow { ident } => {
                self.collection(request, ALLOCATION_KIND, CollectionCall::Show(ident)).await
            }
            Call::AllocationUpdate { ident } => {
                self.collection(request, ALLOCATION_KIND, CollectionCall::Update(ident)).await
            }
            Call::AllocationDelete { ident } => {
                self.collection(request, ALLOCATION_KIND, CollectionCall::Delete(ident)).await
            }
            Call::DeployTemplateList => self.collection(request, TEMPLATE_KIND, CollectionCall::List).await,
            Call::DeployTemplateCreate => self.collection(request, TEMPLATE_KIND, CollectionCall::Create).await,
            Call::DeployTemplateShow { ident } => {
                self.collection(request, TEMPLATE_KIND, CollectionCall::Show(ident)).await
            }
            Call::DeployTemplateUpdate { ident } => {
                self.collection(request, TEMPLATE_KIND, CollectionCall::Update(ident)).await
            }
            Call::DeployTemplateDelete { ident } => {
                self.collection(request, TEMPLATE_KIND, CollectionCall::Delete(ident)).await
            }
            Call::RunbookList => self.collection(request, RUNBOOK_KIND, CollectionCall::List).await,
            Call::RunbookCreate => self.collection(request, RUNBOOK_KIND, CollectionCall::Create).await,
            Call::RunbookShow { ident } => self.collection(request, RUNBOOK_KIND, CollectionCall::Show(ident)).await,
            Call::RunbookUpdate { ident } => {
                self.collection(request, RUNBOOK_KIND, CollectionCall::Update(ident)).await
            }
            Call::RunbookDelete { ident } => {
                self.collection(request, RUNBOOK_KIND, CollectionCall::Delete(ident)).await
            }
            Call::RunbookTraitList { ident }
            | Call::RunbookTraitsSet { ident }
            | Call::RunbookTraitsClear { ident } => {
                self.collection(request, RUNBOOK_KIND, CollectionCall::Traits { ident, name: None }).await
            }
            Call::RunbookTraitAdd { ident, name } | Call::RunbookTraitRemove { ident, name } => {
                self.collection(request, RUNBOOK_KIND, CollectionCall::Traits { ident, name: Some(name) }).await
            }
            Call::InspectionRuleList => self.collection(request, RULE_KIND, CollectionCall::List).await,
            Call::InspectionRuleShow { ident: "detail" } => {
                self.collection(request, RULE_KIND, CollectionCall::ListDetail).await
            }
            Call::InspectionRuleCreate => self.collection(request, RULE_KIND, CollectionCall::Create).await,
            Call::InspectionRuleShow { ident } => {
                self.collection(request, RULE_KIND, CollectionCall::Show(ident)).await
            }
            Call::InspectionRuleUpdate { ident } => {
                self.collection(request, RULE_KIND, CollectionCall::Update(ident)).await
            }
            Call::InspectionRuleDelete { ident } => {
                self.collection(request, RULE_KIND, CollectionCall::Delete(ident)).await
            }
            Call::InspectionRuleDeleteAll => self.collection(request, RULE_KIND, CollectionCall::DeleteAll).await,
            Call::VolumeConnectorList => self.collection(request, CONNECTOR_KIND, CollectionCall::List).await,
            Call::VolumeConnectorShow { ident: "detail" } => {
                self.collection(request, CONNECTOR_KIND, CollectionCall::ListDetail).await
            }
            Call::VolumeConnectorCreate => self.collection(request, CONNECTOR_KIND, CollectionCall::Create).await,
            Call::VolumeConnectorShow { ident } => {
                self.collection(request, CONNECTOR_KIND, CollectionCall::Show(ident)).await
            }
            Call::VolumeConnectorUpdate { ident } => {
                self.collection(request, CONNECTOR_KIND, CollectionCall::Update(ident)).await
            }
            Call::VolumeConnectorDelete { ident } => {
                self.collection(request, CONNECTOR_KIND, CollectionCall::Delete(ident)).await
            }
            Call::VolumeTargetList => self.collection(request, TARGET_KIND, CollectionCall::List).await,
            Call::VolumeTargetShow { ident: "detail" } => {
                self.collection(request, TARGET_KIND, CollectionCall::ListDetail).await
            }
            Call::VolumeTargetCreate => self.collection(request, TARGET_KIND, CollectionCall::Create).await,
            Call::VolumeTargetShow { ident } => {
                self.collection(request, TARGET_KIND, CollectionCall::Show(ident)).await
            }
            Call::VolumeTargetUpdate { ident } => {
                self.collection(request, TARGET_KIND, CollectionCall::Update(ident)).await
            }
            Call::VolumeTargetDelete { ident } => {
                self.collection(request, TARGET_KIND, CollectionCall::Delete(ident)).await
            }
            Call::WebhookList => self.collection(request, WEBHOOK_KIND, CollectionCall::List).await,
            Call::WebhookCreate => self.collection(request, WEBHOOK_KIND, CollectionCall::Create).await,
            Call::WebhookShow { ident } => self.collection(request, WEBHOOK_KIND, CollectionCall::Show(ident)).await,
            Call::WebhookUpdate { ident } => {
                self.collection(request, WEBHOOK_KIND, CollectionCall::Update(ident)).await
            }
            Call::WebhookDelete { ident } => {
                self.collection(request, WEBHOOK_KIND, CollectionCall::Delete(ident)).await
            }
        }
    }

    async fn collection(
        &self,
        request: &ApiRequest,
        kind: Kind,
        call: CollectionCall<'_>,
    ) -> Result<ApiResponse, Error> {
        match call {
            CollectionCall::List => self.list_resources(request, kind, Shape::Plain, &request.pairs),
            CollectionCall::ListDetail => self.list_resources(request, kind, Shape::Detail, &request.pairs),
            CollectionCall::Create => self.create_resource(request, kind).await,
            CollectionCall::Show(ident) => self.show_resource(request, kind, ident),
            CollectionCall::Update(ident) => self.update_resource(request, kind, ident).await,
            CollectionCall::Delete(ident) => self.delete_resource(request, kind, ident).await,
            CollectionCall::DeleteAll => self.delete_resources(request, kind).await,
            CollectionCall::Traits { ident, name } => self.runbook_traits(request, kind, ident, name.as_slice()).await,
        }
    }
}
