//! What an allocation wants: Ironic's fields, and what Ironic has none for. Pure.

use std::collections::BTreeMap;

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The field of an allocation's sheet that Ironic's clients know nothing of.
const PLACEMENT: &str = "placement";

/// Which of the racks with fitting nodes one is taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Any.
    #[default]
    Any,
    /// The one with the fewest nodes of its group; without a group, with the fewest in use.
    Spread,
    /// The one with the most.
    Pack,
}

/// What no two nodes of a group may have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Apart {
    /// Nothing.
    #[default]
    Nothing,
    /// The rack.
    Rack,
    /// The power domain: what `properties.power_domain` says.
    PowerDomain,
}

/// What is kept of an allocation beside Ironic's fields. Persisted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Capabilities of a node (`properties.capabilities`) and their values.
    pub capabilities: BTreeMap<String, String>,
    /// Allocations that are placed with a view to each other.
    pub group: String,
    pub order: Order,
    pub apart: Apart,
    /// Until then it waits where no node fits; none: it fails at once.
    pub queue_until: Option<Timestamp>,
}

/// What an allocation wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Nodes of this class.
    pub class: String,
    /// That have all of these.
    pub traits: Vec<String>,
    /// One of these, by their ids; empty: any.
    pub candidates: Vec<String>,
    /// Of this owner, or lent to him; none: anybody's.
    pub owner: Option<String>,
    /// Best one of this name.
    pub name: Option<String>,
    pub placement: Placement,
    /// What makes one of many to choose from, so that two who choose at once rarely choose alike.
    pub seed: u128,
}

impl Wish {
    /// As it is stored of an allocation.
    pub fn read(id: Uuid, fields: &Map<String, Value>) -> Self {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let list = |name: &str| {
            let items = fields.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let placement = fields.get(PLACEMENT).cloned().and_then(|value| serde_json::from_value(value).ok());
        Self {
            class: text("resource_class").unwrap_or_default(),
            traits: list("traits"),
            candidates: list("candidate_nodes"),
            owner: text("owner"),
            name: text("name"),
            placement: placement.unwrap_or_default(),
            seed: id.as_u128(),
        }
    }

    /// The fields of a new allocation that wants this.
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::from_iter([
            ("state".to_owned(), json!("allocating")),
            ("resource_class".to_owned(), json!(self.class)),
            ("traits".to_owned(), json!(self.traits)),
            ("candidate_nodes".to_owned(), json!(self.candidates)),
            ("owner".to_owned(), json!(self.owner)),
            ("name".to_owned(), json!(self.name)),
            (PLACEMENT.to_owned(), json!(self.placement)),
        ]);
        fields.retain(|_, value| !value.is_null());
        fields
    }

    /// Whether it waits at this time where no node fits.
    pub fn waits(&self, now: Timestamp) -> bool {
        self.placement.queue_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_as_it_was_stored_and_shows_ironics_clients_what_they_know() {
        let wish = Wish {
            class: "big".to_owned(),
            traits: vec!["CUSTOM_A".to_owned()],
            name: Some("a".to_owned()),
            placement: Placement {
                capabilities: BTreeMap::from([("raid".to_owned(), "1".to_owned())]),
                group: "db".to_owned(),
                order: Order::Spread,
                apart: Apart::PowerDomain,
                queue_until: Some(Timestamp::from_millis(5)),
            },
            seed: 7,
            ..Wish::default()
        };
        let fields = wish.fields();
        assert_eq!(Wish::read(Uuid::from_u128(7), &fields), wish);
        assert_eq!(fields["placement"]["apart"], "power-domain");
        assert!(wish.waits(Timestamp::from_millis(4)) && !wish.waits(Timestamp::from_millis(5)));
        let shown = wire_ironic::fields::ALLOCATION.fields.iter().any(|field| field.name == PLACEMENT);
        assert!(!shown, "it would be shown to Ironic's clients");
    }
}
