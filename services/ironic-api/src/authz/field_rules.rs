//! Rules that the fields of an update need, and the texts of refusals. Pure.

use domain::{
    driver::Interface,
    policy::{Rule, rule},
};
use serde_json::Value;
use wire_ironic::{
    patch::{Op, OpKind},
    query,
};

use super::super::ApiRequest;
use crate::records::interface_field;

/// Refusal of a node for another project.
pub(super) const OTHERS_NODE: &str =
    "Cannot create a node as a project scoped admin with an owner other than your own project.";
/// Refusal of a runbook for another project.
pub(super) const OTHERS_RUNBOOK: &str =
    "Cannot create a runbook as a project scoped admin with an owner other than your own project.";
/// Refusal of a public runbook.
pub(super) const PUBLIC_RUNBOOK: &str = "Cannot create a public runbook as a project scoped admin.";

pub(super) fn others_allocation(request: &ApiRequest, project: &str) -> String {
    let owner = request.body.get("owner").and_then(Value::as_str).unwrap_or_default();
    format!(
        "Cannot create allocation with an owner Project ID value {owner} not matching the requester Project ID \
         {project}. Policy baremetal:allocation:create_restricted is required for this capability."
    )
}

/// Fields with a rule of their own, by prefix of the field's name. The first match wins.
static FIELDS: &[(&str, Rule)] = &[
    ("instance_info", rule("baremetal:node:update_instance_info")),
    ("extra", rule("baremetal:node:update_extra")),
    ("driver_info", rule("baremetal:node:update:driver_info")),
    ("properties", rule("baremetal:node:update:properties")),
    ("chassis_uuid", rule("baremetal:node:update:chassis_uuid")),
    ("instance_uuid", rule("baremetal:node:update:instance_uuid")),
    ("instance_name", rule("baremetal:node:update_instance_info")),
    ("lessee", rule("baremetal:node:update:lessee")),
    ("owner", rule("baremetal:node:update:owner")),
    ("driver", INTERFACES),
    ("network_data", rule("baremetal:node:update:network_data")),
    ("conductor_group", rule("baremetal:node:update:conductor_group")),
    ("name", rule("baremetal:node:update:name")),
    ("retired", rule("baremetal:node:update:retired")),
    ("shard", rule("baremetal:node:update:shard")),
    ("parent_node", rule("baremetal:node:update:parent_node")),
    ("disable_power_off", rule("baremetal:node:update:disable_power_off")),
];
/// Rule for the driver and its interfaces.
const INTERFACES: Rule = rule("baremetal:node:update:driver_interfaces");
/// Rule for disabling automated cleaning.
const NO_CLEANING: Rule = rule("baremetal:node:disable_cleaning");

/// Rules that an update of a node needs. `any` is the rule for fields that have none of their own.
pub(super) fn rules(any: Rule, ops: &[Op]) -> Vec<Rule> {
    let of = |op: &Op| {
        let field = op.field();
        if let Some((_, rule)) = FIELDS.iter().find(|(begin, _)| field.starts_with(begin)) {
            return *rule;
        }
        if Interface::ALL.iter().any(|interface| interface_field(*interface) == field) {
            return INTERFACES;
        }
        if field == "automated_clean" && op.kind != OpKind::Remove && is_no(&op.value) {
            return NO_CLEANING;
        }
        any
    };
    if ops.is_empty() { vec![any] } else { ops.iter().map(of).collect() }
}

/// Rules that an update of a runbook needs.
pub(super) fn runbook_rules(any: Rule, ops: &[Op]) -> Vec<Rule> {
    let of = |op: &Op| match op.field() {
        "owner" => rule("baremetal:runbook:update:owner"),
        "public" => rule("baremetal:runbook:update:public"),
        _ => any,
    };
    if ops.is_empty() { vec![any] } else { ops.iter().map(of).collect() }
}

/// Returns whether a value means true in the protocol.
pub(super) fn is_yes(value: &Value) -> bool {
    flag(value) == Some(true)
}

fn is_no(value: &Value) -> bool {
    flag(value) == Some(false)
}

fn flag(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| query::boolean("", value.as_str()?).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wire_ironic::{fields::NODE, patch, version::Version};

    use super::*;

    fn names(ops: &Value) -> Vec<&'static str> {
        let ops = patch::parse(&NODE, Version::MAX, ops).unwrap();
        rules(rule("baremetal:node:update"), &ops).into_iter().map(Rule::name).collect()
    }

    #[test]
    fn an_update_needs_the_rule_of_each_changed_field() {
        let ops = json!([
            {"op": "add", "path": "/extra/a", "value": 1},
            {"op": "replace", "path": "/driver_info/ipmi_address", "value": "h"},
            {"op": "replace", "path": "/boot_interface", "value": "fake"},
            {"op": "replace", "path": "/retired_reason", "value": "old"},
            {"op": "replace", "path": "/description", "value": "d"},
        ]);
        let last = |name: &&'static str| name.strip_prefix("baremetal:node:").unwrap();
        let names = names(&ops);
        let names: Vec<_> = names.iter().map(last).collect();
        assert_eq!(
            names,
            ["update_extra", "update:driver_info", "update:driver_interfaces", "update:retired", "update"]
        );
    }

    #[test]
    fn disabling_automated_cleaning_needs_its_own_rule_and_enabling_does_not() {
        let clean = |value: Value| names(&json!([{"op": "replace", "path": "/automated_clean", "value": value}]));
        assert_eq!(clean(json!(false)), ["baremetal:node:disable_cleaning"]);
        assert_eq!(clean(json!("no")), ["baremetal:node:disable_cleaning"]);
        assert_eq!(clean(json!(true)), ["baremetal:node:update"]);
    }
}
