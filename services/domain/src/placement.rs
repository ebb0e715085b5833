//! Chooses the node that an allocation is given, and tells why the others are not suitable.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::{id::NodeId, provision::State};

/// Which of the racks with suitable nodes one is taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementOrder {
    /// Any.
    #[default]
    Any,
    /// The one with the fewest nodes of its group; without a group, with the fewest in use.
    Spread,
    /// The one with the most.
    Pack,
}

/// What no two nodes of a group may share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AntiAffinity {
    /// They may share everything.
    #[default]
    None,
    /// The rack.
    Rack,
    /// The power domain (`properties.power_domain`).
    PowerDomain,
}

/// What an allocation asks for.
#[derive(Debug, Clone, Copy)]
pub struct Requirements<'a> {
    /// Name of the allocation. A suitable node of the same name is preferred. Empty if it has none.
    pub name: &'a str,
    /// Resource class of the node.
    pub resource_class: &'a str,
    /// Project that the node is owned by or lent to. `None` for any.
    pub owner: Option<&'a str>,
    /// Ids of the nodes that it may be given. Empty for all.
    pub candidate_nodes: &'a [NodeId],
    /// Traits that the node must have.
    pub traits: &'a [String],
    /// Capabilities that the node must have, and their values.
    pub capabilities: &'a BTreeMap<String, String>,
    /// The group of allocations whose placement depends on each other. Empty for none.
    pub group: &'a str,
    /// Which rack is preferred.
    pub order: PlacementOrder,
    /// What the nodes of the group may not share.
    pub anti_affinity: AntiAffinity,
}

/// A node that may be given to an allocation.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Its id.
    pub node: NodeId,
    /// Its name. Empty if it has none.
    pub name: &'a str,
    /// Name of its rack.
    pub rack: &'a str,
    /// Its power domain. `None` if it is unknown.
    pub power_domain: Option<&'a str>,
    /// Its state.
    pub state: State,
    /// Whether its power was observed.
    pub is_power_known: bool,
    /// Whether it has an instance.
    pub has_instance: bool,
    /// Whether it is in maintenance.
    pub is_in_maintenance: bool,
    /// Its resource class. Empty if it has none.
    pub resource_class: &'a str,
    /// Project that owns it.
    pub owner: Option<&'a str>,
    /// Project that it is lent to.
    pub lessee: Option<&'a str>,
    /// Its traits.
    pub traits: &'a [String],
    /// Its capabilities and their values. Of two values of one name, the first counts.
    pub capabilities: Vec<(&'a str, &'a str)>,
}

/// Reason a node is not suitable for an allocation: the first that applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsuitable {
    /// It is not available, but in this state.
    State(State),
    /// Its power is unknown.
    PowerUnknown,
    /// It has an instance.
    HasInstance,
    /// It is in maintenance.
    InMaintenance,
    /// It has this resource class.
    ResourceClass(String),
    /// It is owned by another project.
    Owner,
    /// It is not among the candidates.
    NotCandidate,
    /// It lacks these traits.
    LacksTraits(Vec<String>),
    /// It lacks these capabilities.
    LacksCapabilities(Vec<String>),
    /// Its power domain is unknown.
    PowerDomainUnknown,
    /// A node of the group is in the same rack or power domain, which has this name.
    SharedWithGroup(AntiAffinity, String),
    /// It is reserved for an allocation that has waited longer.
    Reserved,
}

impl fmt::Display for Unsuitable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => write!(out, "it is {}, not available", state.ironic_name()),
            Self::PowerUnknown => write!(out, "its power is unknown: its BMC has not answered yet"),
            Self::HasInstance => write!(out, "it has an instance"),
            Self::InMaintenance => write!(out, "it is in maintenance"),
            Self::ResourceClass(class) if class.is_empty() => write!(out, "it has no resource class"),
            Self::ResourceClass(class) => write!(out, "its resource class is {class}"),
            Self::Owner => write!(out, "it has another owner"),
            Self::NotCandidate => write!(out, "it is not among the candidates"),
            Self::LacksTraits(lacks) => write!(out, "it lacks {}", lacks.join(", ")),
            Self::LacksCapabilities(lacks) => write!(out, "it lacks {}", lacks.join(", ")),
            Self::PowerDomainUnknown => write!(out, "its power domain is unknown (properties.power_domain)"),
            Self::SharedWithGroup(AntiAffinity::PowerDomain, name) => {
                write!(out, "a node of the group is in its power domain, {name}")
            }
            Self::SharedWithGroup(_, name) if name.is_empty() => write!(out, "a node of the group is in its rack"),
            Self::SharedWithGroup(_, name) => write!(out, "a node of the group is in its rack, {name}"),
            Self::Reserved => write!(out, "it is reserved for an allocation that has waited longer"),
        }
    }
}

/// Reason that no node is given to an allocation: that of the node which came closest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuitableNode {
    /// No free node has the resource class, is of the owner and is among the candidates.
    #[error("no available nodes match the resource class {resource_class}")]
    ResourceClass {
        /// The requested resource class.
        resource_class: String,
    },
    /// Those nodes lack traits.
    #[error("no suitable nodes have the requested traits {}", traits.join(", "))]
    Traits {
        /// The requested traits.
        traits: Vec<String>,
    },
    /// Those nodes lack capabilities.
    #[error("no suitable nodes have the requested capabilities")]
    Capabilities,
    /// Those nodes share a rack or a power domain with a node of the group.
    #[error("no suitable nodes are apart from those of the group {group}")]
    Group {
        /// The group.
        group: String,
    },
    /// Those nodes are reserved.
    #[error("all suitable nodes are reserved for allocations that have waited longer")]
    Reserved,
}

/// What is considered beside the candidates.
#[derive(Debug, Default)]
pub struct PlacementContext<'a> {
    /// Nodes that other allocations of the group have.
    pub group_nodes: Vec<Candidate<'a>>,
    /// Allocations that have waited longer and are served first.
    pub ahead: Vec<Requirements<'a>>,
    /// Number of nodes in use by rack, by which an allocation without a group is spread or packed.
    pub in_use: HashMap<&'a str, usize>,
}

/// Counts nodes in use by rack.
#[must_use]
pub fn count_in_use<'a>(nodes: impl Iterator<Item = Candidate<'a>>) -> HashMap<&'a str, usize> {
    count_by_rack(nodes.filter(|node| node.has_instance).map(|node| node.rack))
}

fn count_by_rack<'a>(racks: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    for rack in racks {
        *counts.entry(rack).or_default() += 1;
    }
    counts
}

/// Chooses a node. `seed` chooses among equals, so that two allocations that are placed at the same time rarely choose the
/// same one.
///
/// # Errors
/// [`NoSuitableNode`] with the reason of the node that came closest.
pub fn choose<'a>(
    wanted: &Requirements<'_>,
    seed: u128,
    nodes: impl Iterator<Item = Candidate<'a>>,
    context: &PlacementContext<'_>,
) -> Result<NodeId, NoSuitableNode> {
    let (mut suitable, mut furthest) = (Vec::new(), Stage::Available);
    for node in nodes {
        match check_suitable(wanted, &node, context) {
            Ok(()) => suitable.push(node),
            Err(reason) => furthest = furthest.max(reason.stage()),
        }
    }
    let named = suitable.iter().find(|node| node.name == wanted.name && !node.name.is_empty());
    if let Some(node) = named {
        return Ok(node.node);
    }
    let counts = if wanted.group.is_empty() {
        context.in_use.clone()
    } else {
        count_by_rack(context.group_nodes.iter().map(|node| node.rack))
    };
    let count = |node: &Candidate<'_>| counts.get(node.rack).copied().unwrap_or(0);
    let best = match wanted.order {
        PlacementOrder::Any => None,
        PlacementOrder::Spread => suitable.iter().map(count).min(),
        PlacementOrder::Pack => suitable.iter().map(count).max(),
    };
    suitable.retain(|node| best.is_none_or(|best| count(node) == best));
    let number = u128::try_from(suitable.len()).ok().filter(|number| *number > 0);
    let chosen = number.and_then(|number| suitable.get(usize::try_from(seed % number).ok()?));
    chosen.map(|node| node.node).ok_or_else(|| wanted.refusal(furthest))
}

/// Checks whether a node is suitable for an allocation.
///
/// # Errors
/// The first reason that it is not.
pub fn check_suitable(
    wanted: &Requirements<'_>,
    node: &Candidate<'_>,
    context: &PlacementContext<'_>,
) -> Result<(), Unsuitable> {
    node.check_free()?;
    wanted.check_match(node)?;
    wanted.check_anti_affinity(node, &context.group_nodes)?;
    // Their groups are not considered here: that is done when they are served.
    if context.ahead.iter().any(|ahead| ahead.check_match(node).is_ok()) {
        return Err(Unsuitable::Reserved);
    }
    Ok(())
}

impl Candidate<'_> {
    /// Checks whether the node is free for any allocation.
    ///
    /// # Errors
    /// The first reason that it is not.
    pub const fn check_free(&self) -> Result<(), Unsuitable> {
        if !matches!(self.state, State::Available) {
            return Err(Unsuitable::State(self.state));
        }
        if !self.is_power_known {
            return Err(Unsuitable::PowerUnknown);
        }
        if self.has_instance {
            return Err(Unsuitable::HasInstance);
        }
        if self.is_in_maintenance {
            return Err(Unsuitable::InMaintenance);
        }
        Ok(())
    }

    /// Returns the value of a capability. `None` if the node does not have it.
    fn capability(&self, name: &str) -> Option<&str> {
        self.capabilities.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }
}

impl Requirements<'_> {
    /// Checks whether a node is what the allocation asks for.
    fn check_match(&self, node: &Candidate<'_>) -> Result<(), Unsuitable> {
        if node.resource_class != self.resource_class {
            return Err(Unsuitable::ResourceClass(node.resource_class.to_owned()));
        }
        if self.owner.is_some() && node.owner != self.owner && node.lessee != self.owner {
            return Err(Unsuitable::Owner);
        }
        if !self.candidate_nodes.is_empty() && !self.candidate_nodes.contains(&node.node) {
            return Err(Unsuitable::NotCandidate);
        }
        let lacks = |name: &&String| !node.traits.contains(name);
        let lacking: Vec<String> = self.traits.iter().filter(lacks).cloned().collect();
        if !lacking.is_empty() {
            return Err(Unsuitable::LacksTraits(lacking));
        }
        let lacks = |(name, value): &(&String, &String)| node.capability(name) != Some(value.as_str());
        let lacking = self.capabilities.iter().filter(lacks).map(|(name, value)| format!("{name}:{value}"));
        let lacking: Vec<String> = lacking.collect();
        if lacking.is_empty() { Ok(()) } else { Err(Unsuitable::LacksCapabilities(lacking)) }
    }

    /// Checks that a node is not too close to those of the allocation's group.
    fn check_anti_affinity(&self, node: &Candidate<'_>, group_nodes: &[Candidate<'_>]) -> Result<(), Unsuitable> {
        if self.anti_affinity == AntiAffinity::None {
            return Ok(());
        }
        let own = self.anti_affinity.place_of(node).ok_or(Unsuitable::PowerDomainUnknown)?;
        if group_nodes.iter().any(|other| self.anti_affinity.place_of(other) == Some(own)) {
            return Err(Unsuitable::SharedWithGroup(self.anti_affinity, own.to_owned()));
        }
        Ok(())
    }

    /// Tells why no node is suitable. The first two texts and their order are Ironic's.
    fn refusal(&self, furthest: Stage) -> NoSuitableNode {
        match furthest {
            Stage::Available => NoSuitableNode::ResourceClass { resource_class: self.resource_class.to_owned() },
            Stage::Traits => NoSuitableNode::Traits { traits: self.traits.to_vec() },
            Stage::Capabilities => NoSuitableNode::Capabilities,
            Stage::Group => NoSuitableNode::Group { group: self.group.to_owned() },
            Stage::Queue => NoSuitableNode::Reserved,
        }
    }
}

impl AntiAffinity {
    /// Returns what a node may not share with others. `None` if it is unknown, or nodes may share everything.
    const fn place_of<'a>(self, node: &Candidate<'a>) -> Option<&'a str> {
        match self {
            Self::None => None,
            Self::Rack => Some(node.rack),
            Self::PowerDomain => node.power_domain,
        }
    }
}

/// How far a node came that is not suitable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Available,
    Traits,
    Capabilities,
    Group,
    Queue,
}

impl Unsuitable {
    /// Returns how far the node came.
    const fn stage(&self) -> Stage {
        match self {
            Self::State(_)
            | Self::PowerUnknown
            | Self::HasInstance
            | Self::InMaintenance
            | Self::ResourceClass(_)
            | Self::Owner
            | Self::NotCandidate => Stage::Available,
            Self::LacksTraits(_) => Stage::Traits,
            Self::LacksCapabilities(_) => Stage::Capabilities,
            Self::PowerDomainUnknown | Self::SharedWithGroup(..) => Stage::Group,
            Self::Reserved => Stage::Queue,
        }
    }
}

#[cfg(test)]
mod tests;
