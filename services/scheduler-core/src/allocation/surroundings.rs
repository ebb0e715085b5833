//! The records that a placement is decided from, as `domain::placement` reads them.

use std::sync::Arc;

use domain::{
    id::NodeId,
    placement::{
        Candidate, NoSuitableNode, PlacementContext, Requirements, Unsuitable, check_suitable, choose, count_in_use,
    },
};
use keyspace::value::{AllocationSpec, Properties};
use uuid::Uuid;

use crate::node_view::NodeView;

/// What is considered beside the nodes when one is chosen.
#[derive(Debug, Default)]
pub struct Surroundings<'a> {
    /// Revision of the group's key. `None` if there is no such key.
    pub(super) group_revision: Option<i64>,
    pub(super) group_nodes: Vec<Arc<NodeView>>,
    pub(super) used: Vec<Arc<NodeView>>,
    /// Allocations that have waited longer.
    pub(super) ahead: &'a [AllocationSpec],
}

impl Surroundings<'_> {
    fn context(&self) -> PlacementContext<'_> {
        PlacementContext {
            group_nodes: self.group_nodes.iter().map(|node| candidate(node)).collect(),
            ahead: self.ahead.iter().map(requirements).collect(),
            in_use: count_in_use(self.used.iter().map(|node| candidate(node))),
        }
    }

    /// Each node, with the reason that it is not suitable. `None` if it is.
    pub fn check_nodes<'a>(
        &'a self,
        allocation: &'a AllocationSpec,
        nodes: &'a [Arc<NodeView>],
    ) -> impl Iterator<Item = (&'a Arc<NodeView>, Option<Unsuitable>)> {
        let (wanted, context) = (requirements(allocation), self.context());
        nodes.iter().map(move |node| (node, check_suitable(&wanted, &candidate(node), &context).err()))
    }

    /// Chooses the node of an allocation.
    ///
    /// # Errors
    /// The reason that no node is suitable.
    pub fn choose(
        &self,
        id: Uuid,
        allocation: &AllocationSpec,
        nodes: &[Arc<NodeView>],
    ) -> Result<NodeId, NoSuitableNode> {
        let candidates = nodes.iter().map(|node| candidate(node));
        choose(&requirements(allocation), id.as_u128(), candidates, &self.context())
    }
}

/// Whether a node is free for any allocation.
#[must_use]
pub fn is_free(node: &NodeView) -> bool {
    candidate(node).check_free().is_ok()
}

fn candidate(node: &NodeView) -> Candidate<'_> {
    let spec = node.spec();
    let properties = Properties::of(&spec.properties);
    Candidate {
        node: node.node,
        name: &node.intent.name,
        rack: &node.rack_name,
        power_domain: properties.power_domain(),
        state: node.life.state,
        is_power_known: node.power.is_some(),
        has_instance: spec.instance().is_some(),
        is_in_maintenance: spec.maintenance,
        resource_class: spec.resource_class.as_deref().unwrap_or_default(),
        owner: spec.owner.as_deref(),
        lessee: spec.lessee.as_deref(),
        traits: &spec.traits,
        capabilities: properties.capabilities().collect(),
    }
}

fn requirements(allocation: &AllocationSpec) -> Requirements<'_> {
    let placement = &allocation.placement;
    Requirements {
        name: allocation.name.as_deref().unwrap_or_default(),
        resource_class: allocation.resource_class.as_deref().unwrap_or_default(),
        owner: allocation.owner.as_deref(),
        candidate_nodes: &allocation.candidate_nodes,
        traits: &allocation.traits,
        capabilities: &placement.capabilities,
        group: &placement.group,
        order: placement.order,
        anti_affinity: placement.anti_affinity,
    }
}
