//! Selects nodes by what they are.

use domain::{driver::Driver, id::RackId};
use keyspace::{key, value::NodeSpec};
use proto::{
    api::v1::NodeSelector,
    convert::{Invalid, text},
};

use crate::{app_state::AppState, registry::Record};

/// Attributes of a node for selectors, set by clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Resource class.
    pub resource_class: String,
    /// Traits.
    pub traits: Vec<String>,
    /// Project that owns the node.
    pub owner: String,
    /// Whether the node is in maintenance.
    pub maintenance: bool,
    /// Whether the node has an instance.
    pub is_allocated: bool,
    /// Reason for the maintenance.
    pub maintenance_reason: String,
}

impl From<&NodeSpec> for Attributes {
    fn from(spec: &NodeSpec) -> Self {
        Self {
            resource_class: spec.resource_class.clone().unwrap_or_default(),
            traits: spec.traits.clone(),
            owner: spec.owner.clone().unwrap_or_default(),
            maintenance: spec.maintenance,
            is_allocated: spec.instance().is_some(),
            maintenance_reason: spec.maintenance_reason.clone().unwrap_or_default(),
        }
    }
}

/// Facts about a node for selectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Id of the node.
    pub id: String,
    /// Name of the node.
    pub name: String,
    /// Rack of the node.
    pub rack: RackId,
    /// Ironic's name of the provision state.
    pub state: &'static str,
    /// Driver of the node.
    pub driver: Driver,
    /// Whether the last operation or power change failed.
    pub failed: bool,
    /// Attributes that clients set.
    pub attributes: Attributes,
}

impl AppState {
    /// What clients specified of a node that it is selected by.
    pub fn attributes(&self, record: &Record) -> Attributes {
        let read = self.registry.view().get(&key::node_spec(record.rack, record.node));
        read.map(|read| Attributes::from(&read.value.spec)).unwrap_or_default()
    }

    /// What a node is selected by.
    pub fn selection_facts(&self, record: &Record) -> Facts {
        Facts {
            id: record.node.to_string(),
            name: record.intent.value.name.clone(),
            rack: record.rack,
            state: record.life.value.state.ironic_name(),
            driver: record.intent.value.driver,
            failed: record.failure().is_some(),
            attributes: self.attributes(record),
        }
    }

    /// Reads a selector.
    ///
    /// # Errors
    /// [`crate::Error::Request`] if it names a driver that does not exist; [`crate::Error::Missing`] for a rack.
    pub fn selector(&self, wire: Option<NodeSelector>) -> Result<Selector, crate::Error> {
        Selector::read(wire, |name| Ok::<_, crate::Error>(self.registry.rack_named(name)?.value.id))
    }
}

/// Selector of nodes. The default selects all.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    wire: NodeSelector,
    racks: Vec<RackId>,
    drivers: Vec<Driver>,
}

impl Selector {
    /// Parses a message. `rack` finds a rack by its name or id.
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

    /// Returns whether the selector is empty, so that it selects all nodes.
    pub fn is_empty(&self) -> bool {
        self.wire == NodeSelector::default()
    }

    /// Returns whether the selector selects a node.
    pub fn selects(&self, node: &Facts) -> bool {
        let wire = &self.wire;
        let named = |pattern: &String| *pattern == node.id || is_like(&node.name, pattern);
        (wire.nodes.is_empty() || wire.nodes.iter().any(named))
            && is_one(&self.racks, &node.rack)
            && (wire.states.is_empty() || wire.states.iter().any(|state| state == node.state))
            && is_one(&self.drivers, &node.driver)
            && is_one(&wire.resource_classes, &node.attributes.resource_class)
            && wire.traits.iter().all(|one| node.attributes.traits.contains(one))
            && is_one(&wire.owners, &node.attributes.owner)
            && wire.maintenance.is_none_or(|wanted| wanted == node.attributes.maintenance)
            && wire.failed.is_none_or(|wanted| wanted == node.failed)
    }
}

fn is_one<T: PartialEq>(wanted: &[T], is: &T) -> bool {
    wanted.is_empty() || wanted.contains(is)
}

/// Returns whether a text matches a pattern, in which * stands for any characters and ? for one.
///
/// After a mismatch only the last * is extended, because the text before it matches already. The run time is at most the
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
