//! Chooses the node that an allocation is given, and tells why the others are not suitable. Pure.

use std::{collections::HashMap, fmt};

use domain::{id::NodeId, provision::State};
use keyspace::value::{AllocationSpec, AntiAffinity, NodeSpec, PlacementOrder, Properties};

use crate::node_view::NodeView;

/// A node that may be given to an allocation.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its id.
    pub node: NodeId,
    /// Its name. Empty if it has none.
    pub name: &'a str,
    /// Name of its rack.
    pub rack: &'a str,
    /// Its state.
    pub state: State,
    /// Whether its power was observed.
    pub has_power: bool,
    /// What clients specified of it.
    pub spec: &'a NodeSpec,
}

impl<'a> From<&'a NodeView> for Candidate<'a> {
    fn from(node: &'a NodeView) -> Self {
        Self {
            node: node.node,
            name: &node.intent.name,
            rack: &node.rack_name,
            state: node.life.state,
            has_power: node.power.is_some(),
            spec: node.spec(),
        }
    }
}

impl<'a> Candidate<'a> {
    fn properties(self) -> Properties<'a> {
        Properties::of(&self.spec.properties)
    }
}

/// Reason a node is not suitable for an allocation: the first that applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsuitable {
    /// It is not available, but in this state.
    State(&'static str),
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
            Self::State(state) => write!(out, "it is {state}, not available"),
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

/// What is considered beside the candidates.
#[derive(Debug, Default)]
pub(super) struct Context<'a> {
    /// Nodes that other allocations of the group have.
    pub group_nodes: Vec<Candidate<'a>>,
    /// Allocations that have waited longer and are served first.
    pub ahead: &'a [AllocationSpec],
    /// Number of nodes in use by rack, by which an allocation without a group is spread or packed.
    pub in_use: HashMap<&'a str, usize>,
}

/// Counts nodes in use by rack.
pub(super) fn in_use<'a>(nodes: impl Iterator<Item = Candidate<'a>>) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    for node in nodes.filter(|node| node.spec.instance().is_some()) {
        *counts.entry(node.rack).or_default() += 1;
    }
    counts
}

/// Whether a node is free for any allocation.
#[must_use]
pub fn is_free(node: &NodeView) -> bool {
    occupied(&Candidate::from(node)).is_none()
}

/// Chooses a node, or tells why no node is suitable. `seed` chooses among equals, so that two allocations that are placed
/// at the same time rarely choose the same one.
pub(super) fn choose<'a>(
    allocation: &AllocationSpec,
    seed: u128,
    nodes: impl Iterator<Item = Candidate<'a>>,
    context: &Context<'_>,
) -> Result<NodeId, String> {
    let (mut suitable, mut progress) = (Vec::new(), 0);
    for node in nodes {
        match unsuitable(allocation, &node, context) {
            None => suitable.push(node),
            Some(reason) => progress = progress.max(stage(&reason)),
        }
    }
    let named = suitable.iter().find(|node| allocation.name.as_deref() == Some(node.name) && !node.name.is_empty());
    if let Some(node) = named {
        return Ok(node.node);
    }
    let counts = counts(allocation, context);
    let count = |node: &Candidate<'_>| counts.get(node.rack).copied().unwrap_or(0);
    let best = match allocation.placement.order {
        PlacementOrder::Any => None,
        PlacementOrder::Spread => suitable.iter().map(count).min(),
        PlacementOrder::Pack => suitable.iter().map(count).max(),
    };
    suitable.retain(|node| best.is_none_or(|best| count(node) == best));
    let number = u128::try_from(suitable.len()).ok().filter(|number| *number > 0);
    let chosen = number.and_then(|number| suitable.get(usize::try_from(seed % number).ok()?));
    chosen.map(|node| node.node).ok_or_else(|| refusal(allocation, progress))
}

/// The reason a node is not suitable for an allocation. `None` if it is.
pub(super) fn unsuitable(
    allocation: &AllocationSpec,
    node: &Candidate<'_>,
    context: &Context<'_>,
) -> Option<Unsuitable> {
    let own = occupied(node).or_else(|| mismatch(allocation, node));
    own.or_else(|| shared_with_group(allocation, node, &context.group_nodes)).or_else(|| {
        // Their groups are not considered here: that is done when they are served.
        context.ahead.iter().any(|ahead| mismatch(ahead, node).is_none()).then_some(Unsuitable::Reserved)
    })
}

/// The reason a node is not free.
fn occupied(node: &Candidate<'_>) -> Option<Unsuitable> {
    if node.state != State::Available {
        return Some(Unsuitable::State(node.state.ironic_name()));
    }
    if !node.has_power {
        return Some(Unsuitable::PowerUnknown);
    }
    if node.spec.instance().is_some() {
        return Some(Unsuitable::HasInstance);
    }
    node.spec.maintenance.then_some(Unsuitable::InMaintenance)
}

/// The reason a node is not what an allocation asks for.
fn mismatch(allocation: &AllocationSpec, node: &Candidate<'_>) -> Option<Unsuitable> {
    let class = node.spec.resource_class.as_deref().unwrap_or_default();
    if class != allocation.resource_class.as_deref().unwrap_or_default() {
        return Some(Unsuitable::ResourceClass(class.to_owned()));
    }
    let owner = allocation.owner.as_deref();
    if owner.is_some() && node.spec.owner.as_deref() != owner && node.spec.lessee.as_deref() != owner {
        return Some(Unsuitable::Owner);
    }
    if !allocation.candidate_nodes.is_empty() && !allocation.candidate_nodes.contains(&node.node) {
        return Some(Unsuitable::NotCandidate);
    }
    let lacks = |name: &&String| !node.spec.traits.contains(name);
    let lacking: Vec<String> = allocation.traits.iter().filter(lacks).cloned().collect();
    if !lacking.is_empty() {
        return Some(Unsuitable::LacksTraits(lacking));
    }
    let lacking: Vec<String> = allocation
        .placement
        .capabilities
        .iter()
        .filter(|(name, value)| node.properties().capability(name) != Some(value.as_str()))
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    (!lacking.is_empty()).then_some(Unsuitable::LacksCapabilities(lacking))
}

/// The reason a node is too close to those of the allocation's group.
fn shared_with_group(
    allocation: &AllocationSpec,
    node: &Candidate<'_>,
    group_nodes: &[Candidate<'_>],
) -> Option<Unsuitable> {
    let anti_affinity = allocation.placement.anti_affinity;
    let place = |node: &Candidate<'_>| match anti_affinity {
        AntiAffinity::None => None,
        AntiAffinity::Rack => Some(node.rack.to_owned()),
        AntiAffinity::PowerDomain => node.properties().power_domain().map(str::to_owned),
    };
    if anti_affinity == AntiAffinity::None {
        return None;
    }
    let Some(own) = place(node) else { return Some(Unsuitable::PowerDomainUnknown) };
    let is_shared = group_nodes.iter().any(|other| place(other).as_ref() == Some(&own));
    is_shared.then_some(Unsuitable::SharedWithGroup(anti_affinity, own))
}

fn counts<'a>(allocation: &AllocationSpec, context: &Context<'a>) -> HashMap<&'a str, usize> {
    if allocation.placement.group.is_empty() {
        return context.in_use.clone();
    }
    let mut counts = HashMap::new();
    for node in &context.group_nodes {
        *counts.entry(node.rack).or_default() += 1;
    }
    counts
}

/// How far a node came that is not suitable. The reason of the one that came furthest is reported.
const fn stage(reason: &Unsuitable) -> u8 {
    match reason {
        Unsuitable::State(_)
        | Unsuitable::PowerUnknown
        | Unsuitable::HasInstance
        | Unsuitable::InMaintenance
        | Unsuitable::ResourceClass(_)
        | Unsuitable::Owner
        | Unsuitable::NotCandidate => 0,
        Unsuitable::LacksTraits(_) => 1,
        Unsuitable::LacksCapabilities(_) => 2,
        Unsuitable::PowerDomainUnknown | Unsuitable::SharedWithGroup(..) => 3,
        Unsuitable::Reserved => 4,
    }
}

/// Tells why no node is suitable. The first two texts and their order are Ironic's.
fn refusal(allocation: &AllocationSpec, stage: u8) -> String {
    let class = allocation.resource_class.as_deref().unwrap_or_default();
    match stage {
        0 => format!("no available nodes match the resource class {class}"),
        1 => format!("no suitable nodes have the requested traits {}", allocation.traits.join(", ")),
        2 => "no suitable nodes have the requested capabilities".to_owned(),
        3 => format!("no suitable nodes are apart from those of the group {}", allocation.placement.group),
        _ => "all suitable nodes are reserved for allocations that have waited longer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// A node that is available and has the resource class `big`.
    #[derive(Debug, Clone)]
    struct Node {
        id: u128,
        name: &'static str,
        rack: &'static str,
        has_power: bool,
        spec: NodeSpec,
    }

    impl Node {
        fn new(id: u128) -> Self {
            let spec = NodeSpec { resource_class: Some("big".to_owned()), ..NodeSpec::default() };
            Self { id, name: "", rack: "", has_power: true, spec }
        }

        fn in_rack(id: u128, rack: &'static str) -> Self {
            Self { rack, ..Self::new(id) }
        }

        fn with_traits(id: u128, traits: &[&str]) -> Self {
            let mut node = Self::new(id);
            node.spec.traits = texts(traits);
            node
        }

        fn with_properties(id: u128, properties: &str) -> Self {
            let mut node = Self::new(id);
            node.spec.properties = serde_json::from_str(properties).unwrap();
            node
        }

        fn candidate(&self) -> Candidate<'_> {
            let Self { id, name, rack, has_power, spec } = self;
            Candidate { node: node_id(*id), name, rack, state: State::Available, has_power: *has_power, spec }
        }
    }

    fn node_id(id: u128) -> NodeId {
        NodeId::new(Uuid::from_u128(id))
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn big() -> AllocationSpec {
        AllocationSpec { resource_class: Some("big".to_owned()), ..AllocationSpec::default() }
    }

    fn in_group(order: PlacementOrder, anti_affinity: AntiAffinity) -> AllocationSpec {
        let mut allocation = big();
        allocation.placement.group = "db".to_owned();
        allocation.placement.order = order;
        allocation.placement.anti_affinity = anti_affinity;
        allocation
    }

    fn chosen(allocation: &AllocationSpec, nodes: &[Node], context: &Context<'_>) -> Result<u128, String> {
        let chosen = choose(allocation, 0, nodes.iter().map(Node::candidate), context);
        chosen.map(|node| node.uuid().as_u128())
    }

    fn alone(allocation: &AllocationSpec, nodes: &[Node]) -> Result<u128, String> {
        chosen(allocation, nodes, &Context::default())
    }

    #[test]
    fn a_node_is_free_suitable_and_preferably_of_the_allocations_name() {
        let mut nodes = [1, 2, 3, 4, 5].map(Node::new);
        nodes[0].spec.instance_uuid = Some("taken".to_owned());
        nodes[1].spec.maintenance = true;
        nodes[2].has_power = false;
        nodes[3].spec.traits = texts(&["CUSTOM_A"]);
        nodes[4].spec.traits = texts(&["CUSTOM_A", "CUSTOM_B"]);
        nodes[4].name = "mine";
        assert_eq!(alone(&big(), &nodes), Ok(4));
        assert_eq!(alone(&AllocationSpec { traits: texts(&["CUSTOM_B"]), ..big() }, &nodes), Ok(5));
        assert_eq!(alone(&AllocationSpec { name: Some("mine".to_owned()), ..big() }, &nodes), Ok(5));
        assert_eq!(alone(&AllocationSpec { candidate_nodes: vec![node_id(5)], ..big() }, &nodes), Ok(5));
    }

    #[test]
    fn the_reason_that_no_node_is_suitable_is_reported() {
        let nodes = [Node::new(4)];
        let small = AllocationSpec { resource_class: Some("small".to_owned()), ..big() };
        assert_eq!(alone(&small, &nodes).unwrap_err(), "no available nodes match the resource class small");
        let traits = AllocationSpec { traits: texts(&["CUSTOM_Q"]), ..big() };
        assert_eq!(alone(&traits, &nodes).unwrap_err(), "no suitable nodes have the requested traits CUSTOM_Q");
        assert!(alone(&AllocationSpec { owner: Some("me".to_owned()), ..big() }, &nodes).is_err());
    }

    #[test]
    fn capabilities_are_read_as_text_and_as_an_object() {
        let nodes = [
            Node::with_properties(1, r#"{"capabilities": "boot_mode:bios,raid:5"}"#),
            Node::with_properties(2, r#"{"capabilities": {"boot_mode": "uefi"}}"#),
        ];
        let with = |name: &str, value: &str| {
            let mut allocation = big();
            allocation.placement.capabilities.insert(name.to_owned(), value.to_owned());
            allocation
        };
        assert_eq!(alone(&with("boot_mode", "bios"), &nodes), Ok(1));
        assert_eq!(alone(&with("boot_mode", "uefi"), &nodes), Ok(2));
        let none = alone(&with("raid", "1"), &nodes).unwrap_err();
        assert_eq!(none, "no suitable nodes have the requested capabilities");
    }

    #[test]
    fn a_group_is_spread_over_racks_or_packed_into_one() {
        let nodes = [Node::in_rack(1, "r1"), Node::in_rack(2, "r2")];
        let other = Node::in_rack(9, "r1");
        let context = Context { group_nodes: vec![other.candidate()], ..Context::default() };
        assert_eq!(chosen(&in_group(PlacementOrder::Spread, AntiAffinity::None), &nodes, &context), Ok(2));
        assert_eq!(chosen(&in_group(PlacementOrder::Pack, AntiAffinity::None), &nodes, &context), Ok(1));
        // Without a group, nodes in use are counted.
        let mut used = Node::in_rack(8, "r2");
        used.spec.instance_uuid = Some("i".to_owned());
        let context = Context { in_use: in_use([used.candidate()].into_iter()), ..Context::default() };
        let by = |order| {
            let mut allocation = big();
            allocation.placement.order = order;
            allocation
        };
        assert_eq!(chosen(&by(PlacementOrder::Pack), &nodes, &context), Ok(2));
        assert_eq!(chosen(&by(PlacementOrder::Spread), &nodes, &context), Ok(1));
    }

    #[test]
    fn nodes_of_a_group_are_kept_apart_by_rack_and_by_power_domain() {
        let at = |id, rack, domain: &str| Node { rack, ..Node::with_properties(id, domain) };
        let nodes = [
            at(1, "r1", r#"{"power_domain": "p2"}"#),
            at(2, "r2", r#"{"power_domain": "p1"}"#),
            at(3, "r3", r#"{"power_domain": null}"#),
        ];
        let other = at(9, "r1", r#"{"power_domain": "p1"}"#);
        let context = Context { group_nodes: vec![other.candidate()], ..Context::default() };
        let apart = |anti_affinity| in_group(PlacementOrder::Any, anti_affinity);
        let reasons =
            |anti_affinity| nodes.each_ref().map(|node| unsuitable(&apart(anti_affinity), &node.candidate(), &context));
        let shared = |anti_affinity, name: &str| Some(Unsuitable::SharedWithGroup(anti_affinity, name.to_owned()));
        assert_eq!(reasons(AntiAffinity::Rack), [shared(AntiAffinity::Rack, "r1"), None, None]);
        let by_domain = [None, shared(AntiAffinity::PowerDomain, "p1"), Some(Unsuitable::PowerDomainUnknown)];
        assert_eq!(reasons(AntiAffinity::PowerDomain), by_domain);
        assert_eq!(chosen(&apart(AntiAffinity::PowerDomain), &nodes, &context), Ok(1));
        let none = chosen(&apart(AntiAffinity::Rack), &nodes[..1], &context).unwrap_err();
        assert_eq!(none, "no suitable nodes are apart from those of the group db");
    }

    #[test]
    fn a_later_allocation_does_not_take_what_an_earlier_one_waits_for() {
        let nodes = [Node::with_traits(1, &["CUSTOM_A"]), Node::new(2)];
        let ahead = [AllocationSpec { traits: texts(&["CUSTOM_A"]), ..big() }];
        let context = Context { ahead: &ahead, ..Context::default() };
        assert_eq!(chosen(&big(), &nodes, &context), Ok(2));
        let none = chosen(&ahead[0].clone(), &nodes, &context).unwrap_err();
        assert_eq!(none, "all suitable nodes are reserved for allocations that have waited longer");
    }
}
