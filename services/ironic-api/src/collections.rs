//! What the collections of the API differ in.

use keyspace::value::{
    AllocationSpec, ChassisSpec, DeployTemplateSpec, InspectionRuleSpec, PortgroupSpec, RunbookSpec, Stamped,
    VolumeConnectorSpec, VolumeTargetSpec,
};
use serde_json::{Map, Value};
use uuid::Uuid;
use wire_ironic::{
    error::Error,
    fields::{
        ALLOCATION, CHASSIS, DEPLOY_TEMPLATE, INSPECTION_RULE, PORTGROUP, RUNBOOK, Resource, VOLUME_CONNECTOR,
        VOLUME_TARGET,
    },
    patch::{self, Op},
};

use super::RestApi;
use scheduler_core::{
    AppState, Error as CoreError, RequestContext,
    resource_store::Stored,
    resources::{self, ResourceRules},
};

/// A collection of the API.
pub(super) trait IronicCollection: ResourceRules {
    /// The table of its fields.
    const RESOURCE: &'static Resource;
    /// Its noun, as Ironic's messages begin with it.
    const NOUN: &'static str;
    /// Whether its resources can also be identified by their names.
    const IS_NAMED: bool = false;
    /// Whether a list of the resources of a node that does not exist is a bad request instead of not found.
    const IS_NODE_CHECKED: bool = false;

    /// Stores a new resource.
    fn create(
        app: &AppState,
        context: &RequestContext,
        id: Uuid,
        spec: Self,
    ) -> impl Future<Output = Result<Stamped<Self>, CoreError>> + Send {
        app.create_resource(context, id, spec)
    }

    /// Stores a changed resource.
    fn update(
        app: &AppState,
        context: &RequestContext,
        before: &Stored<Self>,
        spec: Self,
    ) -> impl Future<Output = Result<Stamped<Self>, CoreError>> + Send {
        resources::update_resource(context, app, before, spec)
    }

    /// Changes and checks the fields of a resource before a patch of it is applied.
    fn before_patch(_: &mut Map<String, Value>, _: &[Op], _: &Value) -> Result<(), Error> {
        Ok(())
    }

    /// Adds to a resource's document what was observed of it, and removes what is not shown.
    fn complete(_: &RestApi, _: Uuid, _: &mut Map<String, Value>) {}
}

impl IronicCollection for ChassisSpec {
    const RESOURCE: &'static Resource = &CHASSIS;
    const NOUN: &'static str = "Chassis";
}

impl IronicCollection for PortgroupSpec {
    const RESOURCE: &'static Resource = &PORTGROUP;
    const NOUN: &'static str = "Portgroup";
    const IS_NAMED: bool = true;
}

impl IronicCollection for DeployTemplateSpec {
    const RESOURCE: &'static Resource = &DEPLOY_TEMPLATE;
    const NOUN: &'static str = "Deploy template";
    const IS_NAMED: bool = true;
}

impl IronicCollection for RunbookSpec {
    const RESOURCE: &'static Resource = &RUNBOOK;
    const NOUN: &'static str = "Runbook";
    const IS_NAMED: bool = true;

    fn before_patch(fields: &mut Map<String, Value>, ops: &[Op], body: &Value) -> Result<(), Error> {
        patch::clear_runbook_owner(fields, ops, body)
    }
}

impl IronicCollection for InspectionRuleSpec {
    const RESOURCE: &'static Resource = &INSPECTION_RULE;
    const NOUN: &'static str = "Inspection rule";

    /// A sensitive rule is applied, but not shown.
    fn complete(_: &RestApi, _: Uuid, document: &mut Map<String, Value>) {
        if document.get("sensitive") == Some(&Value::Bool(true)) {
            document.insert("conditions".to_owned(), Value::Null);
            document.insert("actions".to_owned(), Value::Null);
        }
    }
}

impl IronicCollection for VolumeConnectorSpec {
    const RESOURCE: &'static Resource = &VOLUME_CONNECTOR;
    const NOUN: &'static str = "Volume connector";
}

impl IronicCollection for VolumeTargetSpec {
    const RESOURCE: &'static Resource = &VOLUME_TARGET;
    const NOUN: &'static str = "Volume target";
}

impl IronicCollection for AllocationSpec {
    const RESOURCE: &'static Resource = &ALLOCATION;
    const NOUN: &'static str = "Allocation";
    const IS_NAMED: bool = true;
    const IS_NODE_CHECKED: bool = true;
}
