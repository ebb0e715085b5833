//! Which node an allocation gets. Pure.

use serde_json::{Map, Value};
use uuid::Uuid;

/// What an allocation wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Nodes of this class.
    pub(super) class: String,
    /// That have all of these.
    pub(super) traits: Vec<String>,
    /// One of these, by their ids; empty: any.
    pub(super) candidates: Vec<String>,
    /// Of this owner, or lent to him; none: anybody's.
    pub(super) owner: Option<String>,
    /// Best one of this name.
    pub(super) name: Option<String>,
    /// What makes one of many to choose from, so that two who choose at once rarely choose alike.
    seed: u128,
}

impl Wish {
    /// As a client said it.
    pub(super) fn read(id: Uuid, fields: &Map<String, Value>) -> Self {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let list = |name: &str| {
            let items = fields.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            class: text("resource_class").unwrap_or_default(),
            traits: list("traits"),
            candidates: list("candidate_nodes"),
            owner: text("owner"),
            name: text("name"),
            seed: id.as_u128(),
        }
    }
}

/// The id of the node, or why there is none.
pub(super) fn choose<'a>(wish: &Wish, nodes: impl Iterator<Item = &'a Map<String, Value>>) -> Result<String, String> {
    let text = |node: &Map<String, Value>, name: &str| node.get(name).and_then(Value::as_str).map(str::to_owned);
    let free = |node: &&Map<String, Value>| {
        text(node, "provision_state").as_deref() == Some("available")
            && text(node, "power_state").is_some()
            && text(node, "instance_uuid").is_none()
            && !node.get("maintenance").and_then(Value::as_bool).unwrap_or_default()
            && text(node, "resource_class").as_deref() == Some(wish.class.as_str())
            && (wish.owner.is_none() || text(node, "owner") == wish.owner || text(node, "lessee") == wish.owner)
    };
    let candidate = |node: &&Map<String, Value>| {
        wish.candidates.is_empty() || text(node, "uuid").is_some_and(|uuid| wish.candidates.contains(&uuid))
    };
    let of_class: Vec<_> = nodes.filter(free).filter(candidate).collect();
    if of_class.is_empty() {
        return Err(format!("no available nodes match the resource class {}", wish.class));
    }
    let fit: Vec<_> = of_class.into_iter().filter(|node| has_traits(node, &wish.traits)).collect();
    let named = fit.iter().find(|node| wish.name.is_some() && text(node, "name") == wish.name);
    let any = || {
        let count = u128::try_from(fit.len()).ok().filter(|count| *count > 0)?;
        fit.get(usize::try_from(wish.seed % count).ok()?)
    };
    let chosen = named.or_else(any).and_then(|node| text(node, "uuid"));
    chosen.ok_or_else(|| format!("no suitable nodes have the requested traits {}", wish.traits.join(", ")))
}

fn has_traits(node: &Map<String, Value>, wanted: &[String]) -> bool {
    let has = node.get("traits").and_then(Value::as_array);
    wanted.iter().all(|one| has.is_some_and(|has| has.iter().any(|other| other.as_str() == Some(one))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(uuid: &str, more: Value) -> Map<String, Value> {
        let mut node = json!({
            "uuid": uuid, "provision_state": "available", "power_state": "power off", "resource_class": "big",
        })
        .as_object()
        .cloned()
        .unwrap();
        node.extend(more.as_object().cloned().unwrap());
        node
    }

    fn wish(more: Value) -> Wish {
        let mut fields = json!({"resource_class": "big"}).as_object().cloned().unwrap();
        fields.extend(more.as_object().cloned().unwrap());
        Wish::read(Uuid::from_u128(0), &fields)
    }

    #[test]
    fn a_node_is_free_fit_and_best_of_the_allocations_name() {
        let nodes = [
            node("a", json!({"instance_uuid": "taken"})),
            node("b", json!({"maintenance": true})),
            node("c", json!({"power_state": null})),
            node("d", json!({"traits": ["CUSTOM_A"]})),
            node("e", json!({"traits": ["CUSTOM_A", "CUSTOM_B"], "name": "mine"})),
        ];
        assert_eq!(choose(&wish(json!({})), nodes.iter()).unwrap(), "d");
        assert_eq!(choose(&wish(json!({"traits": ["CUSTOM_B"]})), nodes.iter()).unwrap(), "e");
        assert_eq!(choose(&wish(json!({"name": "mine"})), nodes.iter()).unwrap(), "e");
        assert_eq!(choose(&wish(json!({"candidate_nodes": ["e"]})), nodes.iter()).unwrap(), "e");
    }

    #[test]
    fn why_there_is_none_is_said() {
        let nodes = [node("d", json!({}))];
        let none = choose(&wish(json!({"resource_class": "small"})), nodes.iter()).unwrap_err();
        assert_eq!(none, "no available nodes match the resource class small");
        let none = choose(&wish(json!({"traits": ["CUSTOM_Q"]})), nodes.iter()).unwrap_err();
        assert_eq!(none, "no suitable nodes have the requested traits CUSTOM_Q");
        assert!(choose(&wish(json!({"owner": "me"})), nodes.iter()).is_err());
    }
}
