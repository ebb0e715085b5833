use uuid::Uuid;

use super::*;

/// A node that is available and has the resource class `big`.
#[derive(Debug, Clone, Default)]
struct Node {
    id: u128,
    name: &'static str,
    rack: &'static str,
    power_domain: Option<&'static str>,
    is_power_unknown: bool,
    has_instance: bool,
    is_in_maintenance: bool,
    traits: Vec<String>,
    capabilities: Vec<(&'static str, &'static str)>,
}

impl Node {
    fn new(id: u128) -> Self {
        Self { id, ..Self::default() }
    }

    fn in_rack(id: u128, rack: &'static str) -> Self {
        Self { rack, ..Self::new(id) }
    }

    fn with_traits(id: u128, traits: &[&str]) -> Self {
        Self { traits: texts(traits), ..Self::new(id) }
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            node: node_id(self.id),
            name: self.name,
            rack: self.rack,
            power_domain: self.power_domain,
            state: State::Available,
            is_power_known: !self.is_power_unknown,
            has_instance: self.has_instance,
            is_in_maintenance: self.is_in_maintenance,
            resource_class: "big",
            owner: None,
            lessee: None,
            traits: &self.traits,
            capabilities: self.capabilities.clone(),
        }
    }
}

fn node_id(id: u128) -> NodeId {
    NodeId::new(Uuid::from_u128(id))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

const NO_CAPABILITIES: &BTreeMap<String, String> = &BTreeMap::new();

/// An allocation that asks for the resource class `big`.
const BIG: Requirements<'_> = Requirements {
    name: "",
    resource_class: "big",
    owner: None,
    candidate_nodes: &[],
    traits: &[],
    capabilities: NO_CAPABILITIES,
    group: "",
    order: PlacementOrder::Any,
    anti_affinity: AntiAffinity::None,
};

fn in_group(order: PlacementOrder, anti_affinity: AntiAffinity) -> Requirements<'static> {
    Requirements { group: "db", order, anti_affinity, ..BIG }
}

fn chosen(wanted: &Requirements<'_>, nodes: &[Node], context: &PlacementContext<'_>) -> Result<u128, String> {
    let chosen = choose(wanted, 0, nodes.iter().map(Node::candidate), context);
    chosen.map(|node| node.uuid().as_u128()).map_err(|why| why.to_string())
}

fn alone(wanted: &Requirements<'_>, nodes: &[Node]) -> Result<u128, String> {
    chosen(wanted, nodes, &PlacementContext::default())
}

#[test]
fn a_node_is_free_suitable_and_preferably_of_the_allocations_name() {
    let nodes = [
        Node { has_instance: true, ..Node::new(1) },
        Node { is_in_maintenance: true, ..Node::new(2) },
        Node { is_power_unknown: true, ..Node::new(3) },
        Node::with_traits(4, &["CUSTOM_A"]),
        Node { name: "mine", ..Node::with_traits(5, &["CUSTOM_A", "CUSTOM_B"]) },
    ];
    assert_eq!(alone(&BIG, &nodes), Ok(4));
    assert_eq!(alone(&Requirements { traits: &texts(&["CUSTOM_B"]), ..BIG }, &nodes), Ok(5));
    assert_eq!(alone(&Requirements { name: "mine", ..BIG }, &nodes), Ok(5));
    assert_eq!(alone(&Requirements { candidate_nodes: &[node_id(5)], ..BIG }, &nodes), Ok(5));
}

#[test]
fn the_reason_that_no_node_is_suitable_is_reported() {
    let nodes = [Node::new(4)];
    let small = Requirements { resource_class: "small", ..BIG };
    assert_eq!(alone(&small, &nodes).unwrap_err(), "no available nodes match the resource class small");
    let traits = texts(&["CUSTOM_Q"]);
    let traits = Requirements { traits: &traits, ..BIG };
    assert_eq!(alone(&traits, &nodes).unwrap_err(), "no suitable nodes have the requested traits CUSTOM_Q");
    assert!(alone(&Requirements { owner: Some("me"), ..BIG }, &nodes).is_err());
}

#[test]
fn the_first_value_of_a_capability_counts() {
    let nodes = [
        Node { capabilities: vec![("boot_mode", "bios"), ("raid", "5"), ("raid", "1")], ..Node::new(1) },
        Node { capabilities: vec![("boot_mode", "uefi")], ..Node::new(2) },
    ];
    let with = |name: &str, value: &str| {
        let capabilities = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        alone(&Requirements { capabilities: &capabilities, ..BIG }, &nodes)
    };
    assert_eq!(with("boot_mode", "bios"), Ok(1));
    assert_eq!(with("boot_mode", "uefi"), Ok(2));
    assert_eq!(with("raid", "1").unwrap_err(), "no suitable nodes have the requested capabilities");
}

#[test]
fn a_group_is_spread_over_racks_or_packed_into_one() {
    let nodes = [Node::in_rack(1, "r1"), Node::in_rack(2, "r2")];
    let other = Node::in_rack(9, "r1");
    let context = PlacementContext { group_nodes: vec![other.candidate()], ..PlacementContext::default() };
    assert_eq!(chosen(&in_group(PlacementOrder::Spread, AntiAffinity::None), &nodes, &context), Ok(2));
    assert_eq!(chosen(&in_group(PlacementOrder::Pack, AntiAffinity::None), &nodes, &context), Ok(1));
    // Without a group, nodes in use are counted.
    let used = Node { has_instance: true, ..Node::in_rack(8, "r2") };
    let in_use = count_in_use([used.candidate()].into_iter());
    let context = PlacementContext { in_use, ..PlacementContext::default() };
    assert_eq!(chosen(&Requirements { order: PlacementOrder::Pack, ..BIG }, &nodes, &context), Ok(2));
    assert_eq!(chosen(&Requirements { order: PlacementOrder::Spread, ..BIG }, &nodes, &context), Ok(1));
}

#[test]
fn nodes_of_a_group_are_kept_apart_by_rack_and_by_power_domain() {
    let at = |id, rack, power_domain| Node { power_domain, ..Node::in_rack(id, rack) };
    let nodes = [at(1, "r1", Some("p2")), at(2, "r2", Some("p1")), at(3, "r3", None)];
    let other = at(9, "r1", Some("p1"));
    let context = PlacementContext { group_nodes: vec![other.candidate()], ..PlacementContext::default() };
    let apart = |anti_affinity| in_group(PlacementOrder::Any, anti_affinity);
    let verdicts =
        |anti_affinity| nodes.each_ref().map(|node| check_suitable(&apart(anti_affinity), &node.candidate(), &context));
    let shared = |anti_affinity, name: &str| Err(Unsuitable::SharedWithGroup(anti_affinity, name.to_owned()));
    assert_eq!(verdicts(AntiAffinity::Rack), [shared(AntiAffinity::Rack, "r1"), Ok(()), Ok(())]);
    let by_domain = [Ok(()), shared(AntiAffinity::PowerDomain, "p1"), Err(Unsuitable::PowerDomainUnknown)];
    assert_eq!(verdicts(AntiAffinity::PowerDomain), by_domain);
    assert_eq!(chosen(&apart(AntiAffinity::PowerDomain), &nodes, &context), Ok(1));
    let none = chosen(&apart(AntiAffinity::Rack), &nodes[..1], &context).unwrap_err();
    assert_eq!(none, "no suitable nodes are apart from those of the group db");
}

#[test]
fn a_later_allocation_does_not_take_what_an_earlier_one_waits_for() {
    let nodes = [Node::with_traits(1, &["CUSTOM_A"]), Node::new(2)];
    let traits = texts(&["CUSTOM_A"]);
    let earlier = Requirements { traits: &traits, ..BIG };
    let context = PlacementContext { ahead: vec![earlier], ..PlacementContext::default() };
    assert_eq!(chosen(&BIG, &nodes, &context), Ok(2));
    let none = chosen(&earlier, &nodes, &context).unwrap_err();
    assert_eq!(none, "all suitable nodes are reserved for allocations that have waited longer");
}
