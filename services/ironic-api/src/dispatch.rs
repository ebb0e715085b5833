//! Finds the call of a request, authorizes it, and dispatches it to the file of its resource.

use std::sync::Arc;

use axum::response::Response;
use keyspace::{
    seal::has_sealed,
    value::{
        AllocationSpec, ChassisSpec, DeployTemplateSpec, InspectionRuleSpec, PortgroupSpec, RunbookSpec,
        VolumeConnectorSpec, VolumeTargetSpec, WebhookSpec,
    },
};
use service_kit::listener::Class as CallerClass;
use wire_ironic::{
    documents,
    error::{Class, Error, text},
    query::{self, Shape},
    route::{self, Call},
};

use super::{ApiRequest, RestApi, collections::IronicCollection, drivers, response::ApiResponse, volume};

/// Call to one of the generic collections.
enum CollectionCall<'p> {
    List,
    ListDetail,
    Create,
    Show(&'p str),
    Update(&'p str),
    Delete(&'p str),
    DeleteAll,
}

impl RestApi {
    /// Authorizes a request for a stream of events, and opens it.
    pub(super) fn follow(self: &Arc<Self>, mut request: ApiRequest, class: CallerClass) -> Result<Response, Error> {
        let path = request.path.clone();
        let found = route::find(request.version, &request.method, &path)?;
        self.authorize(&mut request, &found)?;
        let since = request.follows.flatten();
        self.follow_nodes(request, class, since)
    }

    /// Finds the call of a request, authorizes it and answers it.
    pub(super) async fn answer(&self, request: &mut ApiRequest) -> Result<ApiResponse, Error> {
        if request.path.is_empty() {
            let shown = || ApiResponse::ok(documents::v1(&request.base, request.version));
            return (request.method == "GET").then(shown).ok_or_else(text::method_not_allowed);
        }
        let path = request.path.clone();
        let found = route::find(request.version, &request.method, &path)?;
        if has_sealed(&request.body) {
            return Err(Class::Invalid.error("A value must not have the shape of a sealed one: {\"sealed\": …}"));
        }
        self.authorize(request, &found)?;
        if let Some(refused) = found.older() {
            self.node(request, found.ident)?;
            return Err(refused);
        }
        self.dispatch(request, found.call).await
    }

    /// Answers an authorized call.
    async fn dispatch(&self, request: &ApiRequest, call: Call<'_>) -> Result<ApiResponse, Error> {
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
            Call::NodeBootModeSet { ident } => self.set_boot_mode(request, ident).await,
            Call::NodeSecureBootSet { ident } => self.set_secure_boot(request, ident).await,
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
            Call::NodePortgroupList { ident } => {
                self.list_node_resources::<PortgroupSpec>(request, ident, Shape::Plain)
            }
            Call::NodePortgroupListDetail { ident } => {
                self.list_node_resources::<PortgroupSpec>(request, ident, Shape::Detail)
            }
            Call::NodeVolumeShow { ident } => self.node_volume(request, ident),
            Call::NodeVolumeConnectorList { ident } => {
                self.list_node_resources::<VolumeConnectorSpec>(request, ident, Shape::Plain)
            }
            Call::NodeVolumeTargetList { ident } => {
                self.list_node_resources::<VolumeTargetSpec>(request, ident, Shape::Plain)
            }
            Call::NodePassthruMethods { ident } => self.vendor(request, ident, "methods").await,
            Call::NodePassthruNamedGet { ident }
            | Call::NodePassthruNamedPost { ident }
            | Call::NodePassthruNamedPut { ident }
            | Call::NodePassthruNamedDelete { ident } => {
                let method = request.parameter("method").ok_or_else(|| query::missing("method"))?;
                self.vendor(request, ident, method).await
            }
            Call::NodePassthruGet { ident, method }
            | Call::NodePassthruPost { ident, method }
            | Call::NodePassthruPut { ident, method }
            | Call::NodePassthruDelete { ident, method } => self.vendor(request, ident, method).await,

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

            Call::ChassisList => self.collection::<ChassisSpec>(request, CollectionCall::List).await,
            Call::ChassisListDetail => self.collection::<ChassisSpec>(request, CollectionCall::ListDetail).await,
            Call::ChassisCreate => self.collection::<ChassisSpec>(request, CollectionCall::Create).await,
            Call::ChassisShow { ident } => self.collection::<ChassisSpec>(request, CollectionCall::Show(ident)).await,
            Call::ChassisUpdate { ident } => {
                self.collection::<ChassisSpec>(request, CollectionCall::Update(ident)).await
            }
            Call::ChassisDelete { ident } => {
                self.collection::<ChassisSpec>(request, CollectionCall::Delete(ident)).await
            }
            Call::PortgroupList => self.collection::<PortgroupSpec>(request, CollectionCall::List).await,
            Call::PortgroupListDetail => self.collection::<PortgroupSpec>(request, CollectionCall::ListDetail).await,
            Call::PortgroupCreate => self.collection::<PortgroupSpec>(request, CollectionCall::Create).await,
            Call::PortgroupShow { ident } => {
                self.collection::<PortgroupSpec>(request, CollectionCall::Show(ident)).await
            }
            Call::PortgroupUpdate { ident } => {
                self.collection::<PortgroupSpec>(request, CollectionCall::Update(ident)).await
            }
            Call::PortgroupDelete { ident } => {
                self.collection::<PortgroupSpec>(request, CollectionCall::Delete(ident)).await
            }
            Call::AllocationList => self.collection::<AllocationSpec>(request, CollectionCall::List).await,
            Call::AllocationCreate => self.create_allocation(request).await,
            Call::AllocationShow { ident } => {
                self.collection::<AllocationSpec>(request, CollectionCall::Show(ident)).await
            }
            Call::AllocationUpdate { ident } => {
                self.collection::<AllocationSpec>(request, CollectionCall::Update(ident)).await
            }
            Call::AllocationDelete { ident } => self.delete_allocation(request, ident).await,
            Call::DeployTemplateList => self.collection::<DeployTemplateSpec>(request, CollectionCall::List).await,
            Call::DeployTemplateCreate => self.collection::<DeployTemplateSpec>(request, CollectionCall::Create).await,
            Call::DeployTemplateShow { ident } => {
                self.collection::<DeployTemplateSpec>(request, CollectionCall::Show(ident)).await
            }
            Call::DeployTemplateUpdate { ident } => {
                self.collection::<DeployTemplateSpec>(request, CollectionCall::Update(ident)).await
            }
            Call::DeployTemplateDelete { ident } => {
                self.collection::<DeployTemplateSpec>(request, CollectionCall::Delete(ident)).await
            }
            Call::RunbookList => self.collection::<RunbookSpec>(request, CollectionCall::List).await,
            Call::RunbookCreate => self.collection::<RunbookSpec>(request, CollectionCall::Create).await,
            Call::RunbookShow { ident } => self.collection::<RunbookSpec>(request, CollectionCall::Show(ident)).await,
            Call::RunbookUpdate { ident } => {
                self.collection::<RunbookSpec>(request, CollectionCall::Update(ident)).await
            }
            Call::RunbookDelete { ident } => {
                self.collection::<RunbookSpec>(request, CollectionCall::Delete(ident)).await
            }
            Call::RunbookTraitList { ident }
            | Call::RunbookTraitsSet { ident }
            | Call::RunbookTraitsClear { ident } => self.runbook_traits(request, ident, None).await,
            Call::RunbookTraitAdd { ident, name } | Call::RunbookTraitRemove { ident, name } => {
                self.runbook_traits(request, ident, Some(name)).await
            }
            Call::InspectionRuleList => self.collection::<InspectionRuleSpec>(request, CollectionCall::List).await,
            Call::InspectionRuleShow { ident: "detail" } => {
                self.collection::<InspectionRuleSpec>(request, CollectionCall::ListDetail).await
            }
            Call::InspectionRuleCreate => self.collection::<InspectionRuleSpec>(request, CollectionCall::Create).await,
            Call::InspectionRuleShow { ident } => {
                self.collection::<InspectionRuleSpec>(request, CollectionCall::Show(ident)).await
            }
            Call::InspectionRuleUpdate { ident } => {
                self.collection::<InspectionRuleSpec>(request, CollectionCall::Update(ident)).await
            }
            Call::InspectionRuleDelete { ident } => {
                self.collection::<InspectionRuleSpec>(request, CollectionCall::Delete(ident)).await
            }
            Call::InspectionRuleDeleteAll => {
                self.collection::<InspectionRuleSpec>(request, CollectionCall::DeleteAll).await
            }
            Call::VolumeConnectorList => self.collection::<VolumeConnectorSpec>(request, CollectionCall::List).await,
            Call::VolumeConnectorShow { ident: "detail" } => {
                self.collection::<VolumeConnectorSpec>(request, CollectionCall::ListDetail).await
            }
            Call::VolumeConnectorCreate => {
                self.collection::<VolumeConnectorSpec>(request, CollectionCall::Create).await
            }
            Call::VolumeConnectorShow { ident } => {
                self.collection::<VolumeConnectorSpec>(request, CollectionCall::Show(ident)).await
            }
            Call::VolumeConnectorUpdate { ident } => {
                self.collection::<VolumeConnectorSpec>(request, CollectionCall::Update(ident)).await
            }
            Call::VolumeConnectorDelete { ident } => {
                self.collection::<VolumeConnectorSpec>(request, CollectionCall::Delete(ident)).await
            }
            Call::VolumeTargetList => self.collection::<VolumeTargetSpec>(request, CollectionCall::List).await,
            Call::VolumeTargetShow { ident: "detail" } => {
                self.collection::<VolumeTargetSpec>(request, CollectionCall::ListDetail).await
            }
            Call::VolumeTargetCreate => self.collection::<VolumeTargetSpec>(request, CollectionCall::Create).await,
            Call::VolumeTargetShow { ident } => {
                self.collection::<VolumeTargetSpec>(request, CollectionCall::Show(ident)).await
            }
            Call::VolumeTargetUpdate { ident } => {
                self.collection::<VolumeTargetSpec>(request, CollectionCall::Update(ident)).await
            }
            Call::VolumeTargetDelete { ident } => {
                self.collection::<VolumeTargetSpec>(request, CollectionCall::Delete(ident)).await
            }
            Call::WebhookList => self.collection::<WebhookSpec>(request, CollectionCall::List).await,
            Call::WebhookCreate => self.collection::<WebhookSpec>(request, CollectionCall::Create).await,
            Call::WebhookShow { ident } => self.collection::<WebhookSpec>(request, CollectionCall::Show(ident)).await,
            Call::WebhookUpdate { ident } => {
                self.collection::<WebhookSpec>(request, CollectionCall::Update(ident)).await
            }
            Call::WebhookDelete { ident } => {
                self.collection::<WebhookSpec>(request, CollectionCall::Delete(ident)).await
            }
        }
    }

    async fn collection<T: IronicCollection>(
        &self,
        request: &ApiRequest,
        call: CollectionCall<'_>,
    ) -> Result<ApiResponse, Error> {
        match call {
            CollectionCall::List => self.list_resources::<T>(request, Shape::Plain, &request.pairs),
            CollectionCall::ListDetail => self.list_resources::<T>(request, Shape::Detail, &request.pairs),
            CollectionCall::Create => self.create_resource::<T>(request).await,
            CollectionCall::Show(ident) => self.show_resource::<T>(request, ident),
            CollectionCall::Update(ident) => self.update_resource::<T>(request, ident).await,
            CollectionCall::Delete(ident) => self.delete_resource::<T>(request, ident).await,
            CollectionCall::DeleteAll => self.delete_resources::<T>(request).await,
        }
    }
}
