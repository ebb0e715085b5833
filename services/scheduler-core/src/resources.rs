//! Changes and deletes resources of collections, by the rules about their use.

use std::{sync::Arc, time::Duration};

use domain::{
    power::Power,
    provision::{Phase, State},
};
use keyspace::{
    collection::Collection,
    value::{
        AllocationSpec, ChassisSpec, DeployTemplateSpec, InspectionRuleSpec, PortgroupSpec, RunbookSpec, Stamped,
        VolumeConnectorSpec, VolumeTargetSpec, WebhookSpec,
    },
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub use crate::error::{ResourceRefusal, VolumeChange};
use crate::{AppState, Error, RequestContext, node_view::NodeView, registry::StoredPort, resource_store::Stored};

/// How long a change of volumes waits until the node is in its requested power state.
const POWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval at which the power state is checked meanwhile.
const POWER_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Rules of a collection.
pub trait ResourceRules: Collection {
    /// Whether its resources are volumes of nodes, which change only while their node is powered off.
    const ARE_VOLUMES: bool = false;

    /// Checks that nothing needs a resource that is to be deleted.
    ///
    /// # Errors
    /// [`ResourceRefusal`] names what needs it.
    fn check_unused(_: &AppState, _: Uuid) -> Result<(), ResourceRefusal> {
        Ok(())
    }
}

impl ResourceRules for ChassisSpec {
    fn check_unused(app: &AppState, chassis: Uuid) -> Result<(), ResourceRefusal> {
        if app.node_cache.all().iter().any(|node| node.spec().chassis_uuid == Some(chassis)) {
            return Err(ResourceRefusal::ChassisHasNodes { chassis });
        }
        Ok(())
    }
}

impl ResourceRules for PortgroupSpec {
    fn check_unused(app: &AppState, portgroup: Uuid) -> Result<(), ResourceRefusal> {
        let is_member = |port: &StoredPort| {
            port.port.value.spec.as_ref().is_some_and(|record| record.spec.portgroup_uuid == Some(portgroup))
        };
        if app.registry.ports().iter().any(is_member) {
            return Err(ResourceRefusal::PortgroupHasPorts { portgroup });
        }
        Ok(())
    }
}

impl ResourceRules for VolumeConnectorSpec {
    const ARE_VOLUMES: bool = true;
}

impl ResourceRules for VolumeTargetSpec {
    const ARE_VOLUMES: bool = true;
}

impl ResourceRules for DeployTemplateSpec {}
impl ResourceRules for RunbookSpec {}
impl ResourceRules for InspectionRuleSpec {}
impl ResourceRules for AllocationSpec {}
impl ResourceRules for WebhookSpec {}

/// Changes a resource.
///
/// # Errors
/// [`Error::Resource`] if the rules of its collection refuse the change; [`Error::NotUnique`] if another resource has one of
/// its unique values; a conflict if it changed since it was read.
pub async fn update_resource<T: ResourceRules>(
    context: &RequestContext,
    app: &AppState,
    before: &Stored<T>,
    spec: T,
) -> Result<Stamped<T>, Error> {
    check_volume(app, before, VolumeChange::Update).await?;
    app.update_resource(context, before, spec).await
}

/// Deletes a resource.
///
/// # Errors
/// [`Error::Resource`] if the rules of its collection refuse the deletion; a conflict if it changed since it was read.
pub async fn delete_resource<T: ResourceRules>(
    context: &RequestContext,
    app: &AppState,
    stored: &Stored<T>,
) -> Result<(), Error> {
    T::check_unused(app, stored.id)?;
    check_volume(app, stored, VolumeChange::Deletion).await?;
    app.delete_resource(context, stored).await
}

/// Checks that the node of a volume is powered off. Volumes of a node that is not in use yet can be deleted.
async fn check_volume<T: ResourceRules>(
    app: &AppState,
    stored: &Stored<T>,
    change: VolumeChange,
) -> Result<(), ResourceRefusal> {
    let of = stored.spec().node().filter(|_| T::ARE_VOLUMES);
    let Some(node) = of.and_then(|node| app.node_cache.get(node)) else { return Ok(()) };
    let node = settled(app, node).await?;
    let power = node.power.as_ref().map(|power| power.power);
    let is_unused =
        matches!(node.life.state, State::Enroll | State::Manageable | State::Failed { during: Phase::Adopt });
    if power == Some(Power::Off) || (change == VolumeChange::Deletion && is_unused) {
        return Ok(());
    }
    Err(ResourceRefusal::NotPoweredOff { kind: T::KIND, change, node: node.node, power })
}

/// Waits until a node is in its requested power state.
async fn settled(app: &AppState, mut node: Arc<NodeView>) -> Result<Arc<NodeView>, ResourceRefusal> {
    let until = Instant::now() + POWER_TIMEOUT;
    while node.pending_power().is_some() {
        let id = node.node;
        if Instant::now() > until {
            return Err(ResourceRefusal::PowerPending { node: id, conductor: node.conductor.clone() });
        }
        sleep(POWER_CHECK_INTERVAL).await;
        node = app.node_cache.get(id).ok_or(ResourceRefusal::NodeDeleted { node: id })?;
    }
    Ok(node)
}
