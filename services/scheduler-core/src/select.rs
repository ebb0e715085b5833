//! Selects nodes by what they are.

use domain::{
    driver::Driver,
    id::{NodeId, RackId},
    name_pattern::is_like,
};
use proto::{
    api::v1::NodeSelector,
    convert::{Invalid, text},
};

use crate::{app_state::AppState, node_view::NodeView};

impl AppState {
    /// Returns whether a selector selects a node. An empty one selects all.
    pub fn selects(&self, selector: &Selector, node: NodeId) -> bool {
        selector.is_empty() || self.node_cache.get(node).is_some_and(|node| selector.selects(&node))
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
    pub fn selects(&self, node: &NodeView) -> bool {
        let (wire, spec) = (&self.wire, node.spec());
        let is_named = || {
            let id = node.node.to_string();
            wire.nodes.iter().any(|pattern| *pattern == id || is_like(&node.intent.name, pattern))
        };
        (wire.nodes.is_empty() || is_named())
            && is_one(&self.racks, &node.rack)
            && is_one(&wire.states, node.life.state.ironic_name())
            && is_one(&self.drivers, &node.intent.driver)
            && is_one(&wire.resource_classes, spec.resource_class.as_deref().unwrap_or_default())
            && wire.traits.iter().all(|one| spec.traits.contains(one))
            && is_one(&wire.owners, spec.owner.as_deref().unwrap_or_default())
            && wire.maintenance.is_none_or(|wanted| wanted == spec.maintenance)
            && wire.failed.is_none_or(|wanted| wanted == node.failure().is_some())
    }
}

fn is_one<T: PartialEq<U>, U: ?Sized>(wanted: &[T], is: &U) -> bool {
    wanted.is_empty() || wanted.iter().any(|one| one == is)
}
