//! Dispatch of admitted calls.

use wire_ironic::{
    error::{Error, text},
    query::{self, Shape},
    route::Call,
};

use super::{Ask, Face, answer::Answer, drivers, volume};
use scheduler_core::kinds::{
    ALLOCATION_KIND, CHASSIS_KIND, CONNECTOR_KIND, Kind, PORTGROUP_KIND, RULE_KIND, RUNBOOK_KIND, TARGET_KIND,
    TEMPLATE_KIND, WEBHOOK_KIND,
};

/// A call to one of the collections that are stored alike.
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

impl Face {
    /// Answers a call. The caller is authorized.
    pub(super) async fn dispatch(&self, ask: &Ask, call: Call<'_>) -> Result<Answer, Error> {
        match call {
            Call::NodeList => self.list_nodes(ask, Shape::Plain),
            Call::NodeListDetail => self.list_nodes(ask, Shape::Detail),
            Call::NodeCreate => self.create_node(ask).await,
            Call::NodeShow { ident: "states" } => Err(query::missing("node_ident")),
            Call::NodeShow { ident } => self.show_node(ask, ident),
            Call::NodeUpdate { ident } => self.patch_node(ask, ident).await,
            Call::NodeDelete { ident } => self.delete_node(ask, ident).await,
            Call::NodeValidate { ident } => self.validate(ask, ident),
            Call::NodeStatesShow { ident } => self.node_states(ask, ident),
            Call::NodePowerSet { ident } => self.power(ask, ident).await,
            Call::NodeProvisionSet { ident } => self.provision(ask, ident).await,
            Call::NodeRaidSet { ident } => self.set_raid(ask, ident).await,
            Call::NodeConsoleShow { ident } | Call::NodeConsoleShowByArgument { ident } => self.console(ask, ident),
            Call::NodeConsoleSet { ident } => self.set_console(ask, ident).await,
            Call::NodeBootModeSet { ident } => self.unsupported(ask, ident, &["states", "boot_mode"]),
            Call::NodeSecureBootSet { ident } => self.unsupported(ask, ident, &["states", "secure_boot"]),
            Call::NodeMaintenanceSet { ident } | Call::NodeMaintenanceClear { ident } => {
                self.maintenance(ask, ident).await
            }
            Call::NodeBootDeviceShow { ident } => self.get_boot_device(ask, ident).await,
            Call::NodeBootDeviceSet { ident } => self.set_boot_device(ask, ident).await,
            Call::NodeBootDeviceListSupported { ident } => self.supported_boot_devices(ask, ident),
            Call::NodeNmiInject { ident } => self.inject_nmi(ask, ident, &["management", "inject_nmi"]).await,
            Call::NodeIndicatorList { ident } => self.indicators(ask, ident, &[]),
            Call::NodeIndicatorShow { ident, indicator } | Call::NodeIndicatorSet { ident, indicator } => {
                self.indicators(ask, ident, &[indicator])
            }
            Call::NodeTraitList { ident } => self.list_traits(ask, ident),
            Call::NodeTraitsSet { ident } | Call::NodeTraitsClear { ident } => {
                self.change_traits(ask, ident, &[]).await
            }
            Call::NodeTraitAdd { ident, name } | Call::NodeTraitRemove { ident, name } => {
                self.change_traits(ask, ident, &[name]).await
            }
            Call::NodeVifList { ident } => self.empty(ask, ident, "vifs"),
            Call::NodeVifAttach { ident } => self.attach_vif(ask, ident),
            Call::NodeVifDetach { ident, .. } => self.detach_vif(ask, ident),
            Call::NodeVirtualMediaShow { ident } => self.unsupported(ask, ident, &["vmedia"]),
            Call::NodeVirtualMediaAttach { ident } => self.insert_media(ask, ident).await,
            Call::NodeVirtualMediaDetach { ident } => self.eject_media(ask, ident),
            Call::NodeBiosList { ident } => self.bios(ask, ident, &[]).await,
            Call::NodeBiosShow { ident, setting } => self.bios(ask, ident, &[setting]).await,
            Call::NodeFirmwareList { ident } => self.empty(ask, ident, "firmware"),
            Call::NodeHistoryList { ident } => self.history(ask, ident, &[]).await,
            Call::NodeHistoryShow { ident, record } => self.history(ask, ident, &[record]).await,
            Call::NodeInventoryShow { ident } => self.inventory(ask, ident),
            Call::NodeChildrenList { ident } => self.children(ask, ident),
            Call::NodeAllocationShow { ident } | Call::NodeAllocationDelete { ident } => {
                self.allocation(ask, ident).await
            }
            Call::NodePortList { ident } => self.list_node_ports(ask, ident, Shape::Plain),
            Call::NodePortListDetail { ident } => self.list_node_ports(ask, ident, Shape::Detail),
            Call::NodePortgroupList { ident } => self.sheets_of(ask, ident, PORTGROUP_KIND, Shape::Plain),
            Call::NodePortgroupListDetail { ident } => self.sheets_of(ask, ident, PORTGROUP_KIND, Shape::Detail),
            Call::NodeVolumeShow { ident } => self.node_volume(ask, ident),
            Call::NodeVolumeConnectorList { ident } => self.sheets_of(ask, ident, CONNECTOR_KIND, Shape::Plain),
            Call::NodeVolumeTargetList { ident } => self.sheets_of(ask, ident, TARGET_KIND, Shape::Plain),
            Call::NodePassthruMethods { ident } => self.vendor(ask, ident, "methods"),
            Call::NodePassthruGet { ident, method }
            | Call::NodePassthruPost { ident, method }
            | Call::NodePassthruPut { ident, method }
            | Call::NodePassthruDelete { ident, method } => self.vendor(ask, ident, method),

            Call::PortList => self.list_ports(ask, Shape::Plain, &ask.pairs),
            Call::PortListDetail => self.list_ports(ask, Shape::Detail, &ask.pairs),
            Call::PortCreate => self.create_port(ask).await,
            Call::PortShow { ident } => self.show_port(ask, ident),
            Call::PortUpdate { ident } => self.patch_port(ask, ident).await,
            Call::PortDelete { ident } => self.delete_port(ask, ident).await,

            Call::PortgroupPortList { ident } => self.list_portgroup_ports(ask, ident),
            Call::ChassisNodeList { ident } => self.list_chassis_nodes(ask, ident),

            Call::DriverList => self.list_drivers(ask),
            Call::DriverShow { ident } => self.show_driver(ask, ident),
            Call::DriverPropertiesShow { ident } => drivers::show_properties(ident),
            Call::DriverRaidPropertiesShow { ident } => drivers::show_raid_properties(ident),
            Call::DriverPassthruMethods { ident } => drivers::list_methods(ident),
            Call::DriverPassthruGet { ident, method }
            | Call::DriverPassthruPost { ident, method }
            | Call::DriverPassthruPut { ident, method }
            | Call::DriverPassthruDelete { ident, method } => drivers::call_method(ident, method),
            Call::ConductorList => self.conductors(ask, &[]),
            Call::ConductorShow { ident } => self.conductors(ask, &[ident]),
            Call::ShardList => Ok(self.shards()),
            Call::VolumeShow => Ok(Answer::shows(volume(ask, "volume"))),
            // No network service is attached whose events could be used.
            Call::EventPost => Err(text::no_such_path()),

            Call::AgentLookup => self.agents(ask, &["lookup"]).await,
            Call::AgentHeartbeat => self.agents(ask, &["heartbeat"]).await,
            Call::AgentHeartbeatOf { ident } => self.agents(ask, &["heartbeat", ident]).await,
            Call::AgentContinueInspection => self.agents(ask, &["continue_inspection"]).await,

            Call::ChassisList => self.collection(ask, CHASSIS_KIND, CollectionCall::List).await,
            Call::ChassisListDetail => self.collection(ask, CHASSIS_KIND, CollectionCall::ListDetail).await,
            Call::ChassisCreate => self.collection(ask, CHASSIS_KIND, CollectionCall::Create).await,
            Call::ChassisShow { ident } => self.collection(ask, CHASSIS_KIND, CollectionCall::Show(ident)).await,
            Call::ChassisUpdate { ident } => self.collection(ask, CHASSIS_KIND, CollectionCall::Update(ident)).await,
            Call::ChassisDelete { ident } => self.collection(ask, CHASSIS_KIND, CollectionCall::Delete(ident)).await,
            Call::PortgroupList => self.collection(ask, PORTGROUP_KIND, CollectionCall::List).await,
            Call::PortgroupListDetail => self.collection(ask, PORTGROUP_KIND, CollectionCall::ListDetail).await,
            Call::PortgroupCreate => self.collection(ask, PORTGROUP_KIND, CollectionCall::Create).await,
            Call::PortgroupShow { ident } => self.collection(ask, PORTGROUP_KIND, CollectionCall::Show(ident)).await,
            Call::PortgroupUpdate { ident } => {
                self.collection(ask, PORTGROUP_KIND, CollectionCall::Update(ident)).await
            }
            Call::PortgroupDelete { ident } => {
                self.collection(ask, PORTGROUP_KIND, CollectionCall::Delete(ident)).await
            }
            Call::AllocationList => self.collection(ask, ALLOCATION_KIND, CollectionCall::List).await,
            Call::AllocationCreate => self.collection(ask, ALLOCATION_KIND, CollectionCall::Create).await,
            Call::AllocationShow { ident } => self.collection(ask, ALLOCATION_KIND, CollectionCall::Show(ident)).await,
            Call::AllocationUpdate { ident } => {
                self.collection(ask, ALLOCATION_KIND, CollectionCall::Update(ident)).await
            }
            Call::AllocationDelete { ident } => {
                self.collection(ask, ALLOCATION_KIND, CollectionCall::Delete(ident)).await
            }
            Call::DeployTemplateList => self.collection(ask, TEMPLATE_KIND, CollectionCall::List).await,
            Call::DeployTemplateCreate => self.collection(ask, TEMPLATE_KIND, CollectionCall::Create).await,
            Call::DeployTemplateShow { ident } => {
                self.collection(ask, TEMPLATE_KIND, CollectionCall::Show(ident)).await
            }
            Call::DeployTemplateUpdate { ident } => {
                self.collection(ask, TEMPLATE_KIND, CollectionCall::Update(ident)).await
            }
            Call::DeployTemplateDelete { ident } => {
                self.collection(ask, TEMPLATE_KIND, CollectionCall::Delete(ident)).await
            }
            Call::RunbookList => self.collection(ask, RUNBOOK_KIND, CollectionCall::List).await,
            Call::RunbookCreate => self.collection(ask, RUNBOOK_KIND, CollectionCall::Create).await,
            Call::RunbookShow { ident } => self.collection(ask, RUNBOOK_KIND, CollectionCall::Show(ident)).await,
            Call::RunbookUpdate { ident } => self.collection(ask, RUNBOOK_KIND, CollectionCall::Update(ident)).await,
            Call::RunbookDelete { ident } => self.collection(ask, RUNBOOK_KIND, CollectionCall::Delete(ident)).await,
            Call::RunbookTraitList { ident }
            | Call::RunbookTraitsSet { ident }
            | Call::RunbookTraitsClear { ident } => {
                self.collection(ask, RUNBOOK_KIND, CollectionCall::Traits { ident, name: None }).await
            }
            Call::RunbookTraitAdd { ident, name } | Call::RunbookTraitRemove { ident, name } => {
                self.collection(ask, RUNBOOK_KIND, CollectionCall::Traits { ident, name: Some(name) }).await
            }
            Call::InspectionRuleList => self.collection(ask, RULE_KIND, CollectionCall::List).await,
            Call::InspectionRuleShow { ident: "detail" } => {
                self.collection(ask, RULE_KIND, CollectionCall::ListDetail).await
            }
            Call::InspectionRuleCreate => self.collection(ask, RULE_KIND, CollectionCall::Create).await,
            Call::InspectionRuleShow { ident } => self.collection(ask, RULE_KIND, CollectionCall::Show(ident)).await,
            Call::InspectionRuleUpdate { ident } => {
                self.collection(ask, RULE_KIND, CollectionCall::Update(ident)).await
            }
            Call::InspectionRuleDelete { ident } => {
                self.collection(ask, RULE_KIND, CollectionCall::Delete(ident)).await
            }
            Call::InspectionRuleDeleteAll => self.collection(ask, RULE_KIND, CollectionCall::DeleteAll).await,
            Call::VolumeConnectorList => self.collection(ask, CONNECTOR_KIND, CollectionCall::List).await,
            Call::VolumeConnectorShow { ident: "detail" } => {
                self.collection(ask, CONNECTOR_KIND, CollectionCall::ListDetail).await
            }
            Call::VolumeConnectorCreate => self.collection(ask, CONNECTOR_KIND, CollectionCall::Create).await,
            Call::VolumeConnectorShow { ident } => {
                self.collection(ask, CONNECTOR_KIND, CollectionCall::Show(ident)).await
            }
            Call::VolumeConnectorUpdate { ident } => {
                self.collection(ask, CONNECTOR_KIND, CollectionCall::Update(ident)).await
            }
            Call::VolumeConnectorDelete { ident } => {
                self.collection(ask, CONNECTOR_KIND, CollectionCall::Delete(ident)).await
            }
            Call::VolumeTargetList => self.collection(ask, TARGET_KIND, CollectionCall::List).await,
            Call::VolumeTargetShow { ident: "detail" } => {
                self.collection(ask, TARGET_KIND, CollectionCall::ListDetail).await
            }
            Call::VolumeTargetCreate => self.collection(ask, TARGET_KIND, CollectionCall::Create).await,
            Call::VolumeTargetShow { ident } => self.collection(ask, TARGET_KIND, CollectionCall::Show(ident)).await,
            Call::VolumeTargetUpdate { ident } => {
                self.collection(ask, TARGET_KIND, CollectionCall::Update(ident)).await
            }
            Call::VolumeTargetDelete { ident } => {
                self.collection(ask, TARGET_KIND, CollectionCall::Delete(ident)).await
            }
            Call::WebhookList => self.collection(ask, WEBHOOK_KIND, CollectionCall::List).await,
            Call::WebhookCreate => self.collection(ask, WEBHOOK_KIND, CollectionCall::Create).await,
            Call::WebhookShow { ident } => self.collection(ask, WEBHOOK_KIND, CollectionCall::Show(ident)).await,
            Call::WebhookUpdate { ident } => self.collection(ask, WEBHOOK_KIND, CollectionCall::Update(ident)).await,
            Call::WebhookDelete { ident } => self.collection(ask, WEBHOOK_KIND, CollectionCall::Delete(ident)).await,
        }
    }

    async fn collection(&self, ask: &Ask, kind: Kind, call: CollectionCall<'_>) -> Result<Answer, Error> {
        match call {
            CollectionCall::List => self.list_sheets(ask, kind, Shape::Plain, &ask.pairs),
            CollectionCall::ListDetail => self.list_sheets(ask, kind, Shape::Detail, &ask.pairs),
            CollectionCall::Create => self.create_sheet(ask, kind).await,
            CollectionCall::Show(ident) => self.show_sheet(ask, kind, ident),
            CollectionCall::Update(ident) => self.patch_sheet(ask, kind, ident).await,
            CollectionCall::Delete(ident) => self.delete_sheet(ask, kind, ident).await,
            CollectionCall::DeleteAll => self.delete_sheets(ask, kind).await,
            CollectionCall::Traits { ident, name } => self.runbook_traits(ask, kind, ident, name.as_slice()).await,
        }
    }
}
