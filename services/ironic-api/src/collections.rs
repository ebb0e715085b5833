//! What the collections of the API differ in.

use keyspace::{
    key,
    value::{
        AllocationSpec, ChassisSpec, DeployTemplateSpec, InspectionRuleSpec, PortgroupSpec, RunbookSpec,
        VolumeConnectorSpec, VolumeTargetSpec, WebhookSpec,
    },
};
use serde_json::{Map, Value};
use uuid::Uuid;
use wire_ironic::{
    error::{Class, Error},
    fields::{
        ALLOCATION, CHASSIS, DEPLOY_TEMPLATE, INSPECTION_RULE, PORTGROUP, RUNBOOK, Resource, VOLUME_CONNECTOR,
        VOLUME_TARGET, WEBHOOK,
    },
    patch::{self, Op},
};

use super::{RestApi, records::time, webhook_config};
use scheduler_core::collections::Collection;

/// A collection of the API.
pub(super) trait IronicCollection: Collection {
    /// The table of its fields.
    const RESOURCE: &'static Resource;
    /// Its noun, as Ironic's messages begin with it.
    const NOUN: &'static str;
    /// Whether its resources can also be identified by their names.
    const IS_NAMED: bool = false;
    /// Whether a list of the resources of a node that does not exist is a bad request instead of not found.
    const IS_NODE_CHECKED: bool = false;

    /// Refuses a specification that cannot work.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Changes and checks the fields of a resource before a patch of it is applied.
    fn before_patch(_: &mut Map<String, Value>, _: &[Op], _: &Value) -> Result<(), Error> {
        Ok(())
    }

    /// Refuses to delete a resource that others need.
    fn check_unused(_: &RestApi, _: Uuid) -> Result<(), Error> {
        Ok(())
    }

    /// Adds to a resource's document what was observed of it, and removes what is not shown.
    fn complete(_: &RestApi, _: Uuid, _: &mut Map<String, Value>) {}
}

impl IronicCollection for ChassisSpec {
    const RESOURCE: &'static Resource = &CHASSIS;
    const NOUN: &'static str = "Chassis";

    fn check_unused(api: &RestApi, id: Uuid) -> Result<(), Error> {
        if api.node_cache.all().iter().any(|node| node.spec().chassis_uuid == Some(id)) {
            return Err(Class::Invalid.error(format!("Chassis {id} contains nodes.")));
        }
        Ok(())
    }
}

impl IronicCollection for PortgroupSpec {
    const RESOURCE: &'static Resource = &PORTGROUP;
    const NOUN: &'static str = "Portgroup";
    const IS_NAMED: bool = true;

    fn check_unused(api: &RestApi, id: Uuid) -> Result<(), Error> {
        let ports = api.app.registry.ports();
        let is_member = |port: &scheduler_core::registry::StoredPort| {
            port.port.value.spec.as_ref().is_some_and(|record| record.spec.portgroup_uuid == Some(id))
        };
        if ports.iter().any(is_member) {
            return Err(Class::Invalid.error(format!(
                "Portgroup {id} contains ports: delete them or remove them from the port group first."
            )));
        }
        Ok(())
    }
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

impl IronicCollection for WebhookSpec {
    const RESOURCE: &'static Resource = &WEBHOOK;
    const NOUN: &'static str = "Webhook";
    const IS_NAMED: bool = true;

    fn check(&self) -> Result<(), Error> {
        webhook_config::check(self)
    }

    fn complete(api: &RestApi, id: Uuid, document: &mut Map<String, Value>) {
        let progress = api.app.registry.view().get(&key::delivered(id)).map(|read| read.value).unwrap_or_default();
        let error = if progress.error.is_empty() { Value::Null } else { Value::from(progress.error) };
        document.insert("delivered_revision".to_owned(), Value::from(progress.revision));
        document.insert("delivered_at".to_owned(), time(progress.at));
        document.insert("failing_since".to_owned(), time(progress.failing_since));
        document.insert("last_error".to_owned(), error);
    }
}
