//! What the collections that are kept in sheets differ in. Pure.

use serde_json::{Map, Value};
use wire_ironic::fields::{
    ALLOCATION, CHASSIS, DEPLOY_TEMPLATE, INSPECTION_RULE, PORTGROUP, RUNBOOK, Resource, VOLUME_CONNECTOR,
    VOLUME_TARGET, WEBHOOK,
};

/// A collection that is kept in sheets.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its table.
    pub resource: &'static Resource,
    /// Its name in the store.
    pub collection: &'static str,
    /// The word that opens a sentence about one of it.
    pub word: &'static str,
    /// The same in the middle of a sentence, with its article.
    pub article: &'static str,
    /// One of it can be named by its name too.
    pub is_named: bool,
}

const fn kind(
    resource: &'static Resource,
    collection: &'static str,
    word: &'static str,
    article: &'static str,
    is_named: bool,
) -> Kind {
    Kind { resource, collection, word, article, is_named }
}

pub const CHASSIS_KIND: Kind = kind(&CHASSIS, "chassis", "Chassis", "A chassis", false);
pub const PORTGROUP_KIND: Kind = kind(&PORTGROUP, "portgroup", "Portgroup", "A portgroup", true);
pub const TEMPLATE_KIND: Kind = kind(&DEPLOY_TEMPLATE, "deploy_template", "Deploy template", "A deploy template", true);
pub const RUNBOOK_KIND: Kind = kind(&RUNBOOK, "runbook", "Runbook", "A runbook", true);
pub const RULE_KIND: Kind = kind(&INSPECTION_RULE, "inspection_rule", "Inspection rule", "An inspection rule", false);
pub const CONNECTOR_KIND: Kind =
    kind(&VOLUME_CONNECTOR, "volume_connector", "Volume connector", "A volume connector", false);
pub const TARGET_KIND: Kind = kind(&VOLUME_TARGET, "volume_target", "Volume target", "A volume target", false);
pub const ALLOCATION_KIND: Kind = kind(&ALLOCATION, "allocation", "Allocation", "An allocation", true);

pub const WEBHOOK_KIND: Kind = kind(&WEBHOOK, "webhook", "Webhook", "A webhook", true);

/// The collection of a path's first steps, and how many steps that are.
pub fn of(steps: &[&str]) -> Option<(Kind, usize)> {
    Some(match steps {
        ["chassis", ..] => (CHASSIS_KIND, 1),
        ["portgroups", ..] => (PORTGROUP_KIND, 1),
        ["deploy_templates", ..] => (TEMPLATE_KIND, 1),
        ["runbooks", ..] => (RUNBOOK_KIND, 1),
        ["inspection_rules", ..] => (RULE_KIND, 1),
        ["allocations", ..] => (ALLOCATION_KIND, 1),
        ["webhooks", ..] => (WEBHOOK_KIND, 1),
        ["volume", "connectors", ..] => (CONNECTOR_KIND, 2),
        ["volume", "targets", ..] => (TARGET_KIND, 2),
        _ => return None,
    })
}

/// Something that only one of a collection may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The kind of the key that keeps it.
    pub kind: String,
    /// What it is.
    pub value: String,
    /// What a refusal says of the one that has it.
    pub says: String,
}

/// What one of a collection has for itself.
pub fn unique(kind: Kind, fields: &Map<String, Value>) -> Vec<Unique> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Kind { collection, article, .. } = kind;
    let mut all = Vec::new();
    let mut keep = |what: &str, value: String, says: String| {
        all.push(Unique { kind: format!("{collection}{what}"), value, says });
    };
    if let Some(name) = text("name") {
        keep("", name.to_owned(), format!("{article} with name {name}"));
    }
    match collection {
        "portgroup" => {
            if let Some(address) = text("address") {
                keep("-address", address.to_owned(), format!("{article} with MAC address {address}"));
            }
        }
        "volume_connector" => {
            if let (Some(kind), Some(id)) = (text("type"), text("connector_id")) {
                keep("", format!("{kind} {id}"), format!("{article} with type {kind} and connector ID {id}"));
            }
        }
        "volume_target" => {
            if let (Some(node), Some(index)) = (text("node_uuid"), fields.get("boot_index").and_then(Value::as_i64)) {
                let says = format!("{article} with boot index '{index}' for the same node");
                keep("", format!("{node} {index}"), says);
            }
        }
        _ => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_only_one_may_have_is_named_by_its_collection() {
        let fields = |value: Value| value.as_object().cloned().unwrap();
        let group = fields(json!({"name": "g", "address": "52:54:00:00:00:01"}));
        let kinds: Vec<_> = unique(PORTGROUP_KIND, &group).into_iter().map(|one| one.kind).collect();
        assert_eq!(kinds, ["portgroup", "portgroup-address"]);
        let target = fields(json!({"node_uuid": "n", "boot_index": 0}));
        assert_eq!(unique(TARGET_KIND, &target)[0].value, "n 0");
        assert_eq!(unique(CHASSIS_KIND, &fields(json!({"description": "d"}))), []);
    }
}
