//! Which nodes a selector means. Pure.

use domain::{driver::Driver, id::RackId};
use keyspace::value::Sheet;
use proto::{
    api::v1::NodeSelector,
    convert::{Invalid, text},
};
use serde_json::Value;

/// What Ironic's clients say of a node that it is chosen by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub resource_class: String,
    pub traits: Vec<String>,
    pub owner: String,
    pub maintenance: bool,
    /// It has an instance: an allocation's, or one that a client named.
    pub is_allocated: bool,
    pub maintenance_reason: String,
}

impl Said {
    pub fn of(sheet: &Sheet) -> Self {
        let text = |name: &str| sheet.fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let traits = sheet.fields.get("traits").and_then(Value::as_array).into_iter().flatten();
        Self {
            resource_class: text("resource_class"),
            traits: traits.filter_map(Value::as_str).map(str::to_owned).collect(),
            is_allocated: !text("instance_uuid").is_empty(),
            owner: text("owner"),
            maintenance: sheet.fields.get("maintenance").and_then(Value::as_bool).unwrap_or_default(),
            maintenance_reason: text("maintenance_reason"),
        }
    }
}

/// What a node is chosen by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub id: String,
    pub name: String,
    pub rack: RackId,
    pub state: &'static str,
    pub driver: Driver,
    pub failed: bool,
    pub said: Said,
}

/// Which nodes; the default means all.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    wire: NodeSelector,
    racks: Vec<RackId>,
    drivers: Vec<Driver>,
}

impl Selector {
    /// Reads a message; `rack` finds a rack by its name or id.
    pub fn read<E: From<Invalid>>(
        wire: Option<NodeSelector>,
        rack: impl Fn(&str) -> Result<RackId, E>,
    ) -> Result<Self, E> {
        let wire = wire.unwrap_or_default();
        Ok(Self {
            racks: wire.racks.iter().map(|name| rack(name)).collect::<Result<_, _>>()?,
            drivers: wire.drivers.iter().map(|word| text("drivers", word)).collect::<Result<_, _>>()?,
            wire,
        })
    }

    /// Whether it says nothing: then it means all.
    pub fn is_empty(&self) -> bool {
        self.wire == NodeSelector::default()
    }

    pub fn selects(&self, node: &Facts) -> bool {
        let wire = &self.wire;
        let named = |pattern: &String| *pattern == node.id || is_like(&node.name, pattern);
        (wire.nodes.is_empty() || wire.nodes.iter().any(named))
            && is_one(&self.racks, &node.rack)
            && (wire.states.is_empty() || wire.states.iter().any(|state| state == node.state))
            && is_one(&self.drivers, &node.driver)
            && is_one(&wire.resource_classes, &node.said.resource_class)
            && wire.traits.iter().all(|one| node.said.traits.contains(one))
            && is_one(&wire.owners, &node.said.owner)
            && wire.maintenance.is_none_or(|wanted| wanted == node.said.maintenance)
            && wire.failed.is_none_or(|wanted| wanted == node.failed)
    }
}

fn is_one<T: PartialEq>(wanted: &[T], is: &T) -> bool {
    wanted.is_empty() || wanted.contains(is)
}

/// Whether a text is as a pattern has it, in which * stands for any characters and ? for one.
///
/// After a mismatch only the last * is tried further: what comes before it fits already, so this takes at most the
/// product of both lengths.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut of, mut star) = (0_usize, 0_usize, None::<(usize, usize)>);
    while let Some(now) = text.get(at) {
        match pattern.get(of) {
            Some('*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == now => {
                at += 1;
                of += 1;
            }
            Some(_) | None => {
                let Some((last, from)) = star else { return false };
                star = Some((last, from + 1));
                (of, at) = (last + 1, from + 1);
            }
        }
    }
    pattern.iter().skip(of).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node() -> Facts {
        let fields = json!({"resource_class": "big", "traits": ["CUSTOM_A", "CUSTOM_B"], "owner": "p"});
        let sheet = Sheet { fields: fields.as_object().cloned().unwrap(), ..Sheet::default() };
        Facts {
            id: "00000000-0000-4000-8000-000000000001".to_owned(),
            name: "r1-n07".to_owned(),
            rack: RackId::new(uuid::Uuid::from_u128(5)),
            state: "available",
            driver: Driver::FakeHardware,
            failed: false,
            said: Said::of(&sheet),
        }
    }

    fn selects(wire: NodeSelector) -> bool {
        let rack = |_: &str| Ok::<_, Invalid>(RackId::new(uuid::Uuid::from_u128(5)));
        Selector::read(Some(wire), rack).unwrap().selects(&node())
    }

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn all_that_is_set_must_hold_and_one_of_several_values_is_enough() {
        assert!(selects(NodeSelector::default()));
        let free = NodeSelector { states: list(&["active", "available"]), racks: list(&["r"]), ..Default::default() };
        assert!(selects(free.clone()));
        assert!(!selects(NodeSelector { owners: list(&["q"]), ..free.clone() }));
        assert!(!selects(NodeSelector { maintenance: Some(true), ..free.clone() }));
        assert!(selects(NodeSelector { failed: Some(false), drivers: list(&["fake-hardware"]), ..free }));
    }

    #[test]
    fn a_node_must_have_all_traits() {
        assert!(selects(NodeSelector { traits: list(&["CUSTOM_A", "CUSTOM_B"]), ..Default::default() }));
        assert!(!selects(NodeSelector { traits: list(&["CUSTOM_A", "CUSTOM_C"]), ..Default::default() }));
    }

    #[test]
    fn a_driver_that_is_none_is_refused_by_name() {
        let wire = NodeSelector { drivers: list(&["impi"]), ..Default::default() };
        let rack = |_: &str| Ok::<_, Invalid>(RackId::new(uuid::Uuid::from_u128(5)));
        let refused = Selector::read(Some(wire), rack).unwrap_err();
        assert!(refused.to_string().contains("impi"), "{refused}");
    }

    #[test]
    fn a_name_is_like_a_pattern_with_stars_and_question_marks() {
        for (pattern, fits) in [
            ("r1-n07", true),
            ("r1-*", true),
            ("*07", true),
            ("*n0?", true),
            ("r*n*7", true),
            ("*", true),
            ("", false),
            ("r1", false),
            ("r2-*", false),
            ("*n0", false),
            ("?", false),
        ] {
            assert_eq!(is_like("r1-n07", pattern), fits, "{pattern}");
        }
        assert!(is_like("", "*") && is_like("", "") && is_like("aab", "*ab"));
    }
}
