//! Converts between records and their fields as Ironic's clients know them. JSON is made and read on this side only.

use domain::{driver::Interface, time::Timestamp};
use keyspace::{seal::mask, value::Stamped};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wire_ironic::{
    error::{Class, Error},
    fields::MASK,
};

/// The fields of a record. Sealed secrets are in them as they are stored.
pub(super) fn to_fields(spec: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        // A record is a struct of values that all have a JSON form.
        Ok(_) | Err(_) => Map::new(),
    }
}

/// The record with these fields, which the resource's table has checked. `null` stands for the default.
///
/// # Errors
/// 400 if a field has a value that the table permits and the record cannot hold, such as a number that is too large.
pub(super) fn from_fields<T: DeserializeOwned>(mut fields: Map<String, Value>) -> Result<T, Error> {
    fields.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| Class::Invalid.error(format!("Invalid value: {error}")))
}

/// A resource with all of its fields, its secrets masked.
pub(super) fn document(id: Uuid, record: &Stamped<impl Serialize>) -> Map<String, Value> {
    let mut document = to_fields(&record.spec);
    mask(&mut document, MASK);
    document.insert("uuid".to_owned(), json!(id.to_string()));
    document.insert("created_at".to_owned(), time(Some(record.created_at)));
    document.insert("updated_at".to_owned(), time(record.updated_at));
    document
}

/// The field of a node that names the implementation of an interface.
pub(super) fn interface_field(interface: Interface) -> String {
    format!("{interface}_interface")
}

/// A time as the protocol writes it.
pub(super) fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(at.to_string().replace('Z', "000+00:00")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keyspace::value::{
        AllocationSpec, ChassisSpec, DeployTemplateSpec, InspectionRuleSpec, NodeSpec, PortSpec, PortgroupSpec,
        RunbookSpec, Secrets, VolumeConnectorSpec, VolumeTargetSpec, WebhookSpec,
    };
    use wire_ironic::fields::{
        ALLOCATION, CHASSIS, DEPLOY_TEMPLATE, INSPECTION_RULE, Kind, NODE, PORT, PORTGROUP, Post, RUNBOOK, Resource,
        VOLUME_CONNECTOR, VOLUME_TARGET, WEBHOOK,
    };

    use super::*;

    /// Fields that are no part of the record, by resource.
    const ELSEWHERE: &[(&str, &[&str])] = &[
        ("nodes", &["uuid", "name", "driver", "conductor_group"]),
        ("ports", &["uuid", "address", "node_uuid", "node_ident"]),
        ("allocations", &["uuid", "node"]),
    ];

    /// A value of a field that differs from its default.
    fn sample(name: &str, kind: Kind) -> Value {
        let id = "00000000-0000-4000-8000-000000000001";
        let step = json!({"interface": "deploy", "step": "s", "args": {"a": 1}});
        match (kind, name) {
            (Kind::Flag | Kind::Bool | Kind::Strict, "pxe_enabled" | "enabled" | "standalone_ports_supported") => {
                json!(false)
            }
            (Kind::Strict, "available_for_dynamic_portgroup") => json!(false),
            (Kind::Flag | Kind::Bool | Kind::Strict, _) => json!(true),
            (_, "node_uuid") | (Kind::Uuid, _) => json!(id),
            (Kind::List, "candidate_nodes") => json!([id]),
            (Kind::List, "conditions") | (Kind::Steps, "actions") => json!([{"op": "fail", "args": ["a"]}]),
            (Kind::Steps, _) => json!([step]),
            (Kind::List, _) => json!(["CUSTOM_A"]),
            (Kind::Text | Kind::Name, _) => json!("text"),
            (Kind::Integer, _) => json!(7),
            (Kind::Object, _) => json!({"key": "value"}),
            (Kind::Time, _) => json!(null),
        }
    }

    /// Every field that a client can set is kept by the record, and read back as it was set.
    fn keeps_every_field<T: Serialize + DeserializeOwned>(resource: &Resource) {
        let elsewhere =
            ELSEWHERE.iter().find(|(path, _)| *path == resource.path).map_or(&["uuid"][..], |(_, names)| names);
        let settable = resource.fields.iter().filter(|field| field.patch || field.post != Post::Rejected);
        let fields: Map<String, Value> = settable
            .filter(|field| !elsewhere.contains(&field.name))
            .map(|field| (field.name.to_owned(), sample(field.name, field.kind)))
            .collect();
        let kept = to_fields(&from_fields::<T>(fields.clone()).unwrap());
        for (name, value) in &fields {
            assert_eq!(kept.get(name), Some(value), "{}: {name}", resource.path);
        }
    }

    #[test]
    fn records_keep_every_field_that_a_client_can_set() {
        keeps_every_field::<NodeSpec>(&NODE);
        keeps_every_field::<PortSpec>(&PORT);
        keeps_every_field::<PortgroupSpec>(&PORTGROUP);
        keeps_every_field::<ChassisSpec>(&CHASSIS);
        keeps_every_field::<DeployTemplateSpec>(&DEPLOY_TEMPLATE);
        keeps_every_field::<RunbookSpec>(&RUNBOOK);
        keeps_every_field::<InspectionRuleSpec>(&INSPECTION_RULE);
        keeps_every_field::<VolumeConnectorSpec>(&VOLUME_CONNECTOR);
        keeps_every_field::<VolumeTargetSpec>(&VOLUME_TARGET);
        keeps_every_field::<AllocationSpec>(&ALLOCATION);
        keeps_every_field::<WebhookSpec>(&WEBHOOK);
    }

    /// The dictionaries of a record that may hold secrets, by field.
    fn secret_fields<T: Secrets + DeserializeOwned>(fields: Value) -> Vec<String> {
        let mut record: T = from_fields(fields.as_object().cloned().unwrap()).unwrap();
        let paths = record.secret_fields().into_iter();
        paths.map(|(path, _)| path.split('/').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn secrets_are_sealed_in_every_field_that_is_masked() {
        let steps = json!({"steps": [{"interface": "deploy", "step": "s", "args": {}}]});
        let sealed = BTreeMap::from([
            ("nodes", secret_fields::<NodeSpec>(json!({"driver_info": {}, "instance_info": {}}))),
            ("ports", secret_fields::<PortSpec>(json!({}))),
            ("portgroups", secret_fields::<PortgroupSpec>(json!({}))),
            ("chassis", secret_fields::<ChassisSpec>(json!({}))),
            ("allocations", secret_fields::<AllocationSpec>(json!({}))),
            ("volume/connectors", secret_fields::<VolumeConnectorSpec>(json!({}))),
            ("deploy_templates", secret_fields::<DeployTemplateSpec>(steps.clone())),
            ("runbooks", secret_fields::<RunbookSpec>(steps)),
            ("volume/targets", secret_fields::<VolumeTargetSpec>(json!({}))),
            ("webhooks", secret_fields::<WebhookSpec>(json!({}))),
        ]);
        for resource in [
            &NODE,
            &PORT,
            &PORTGROUP,
            &CHASSIS,
            &DEPLOY_TEMPLATE,
            &RUNBOOK,
            &INSPECTION_RULE,
            &VOLUME_CONNECTOR,
            &VOLUME_TARGET,
            &ALLOCATION,
            &WEBHOOK,
        ] {
            let settable =
                resource.fields.iter().filter(|field| field.masked && (field.patch || field.post != Post::Rejected));
            let masked: Vec<_> = settable.map(|field| field.name.to_owned()).collect();
            assert_eq!(sealed.get(resource.path).cloned().unwrap_or_default(), masked, "{}", resource.path);
        }
    }

    #[test]
    fn a_value_that_the_record_cannot_hold_is_refused() {
        let fields = json!({"boot_index": 1e300}).as_object().cloned().unwrap();
        assert_eq!(from_fields::<VolumeTargetSpec>(fields).unwrap_err().status, 400);
    }
}
