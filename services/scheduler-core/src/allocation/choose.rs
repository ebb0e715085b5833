//! Which node an allocation gets, and why not another. Pure.

use std::{collections::HashMap, fmt};

use serde_json::{Map, Value};

use super::wish::{Apart, Order, Wish};

/// A node as Ironic's clients see it.
type Whole = Map<String, Value>;

/// Why a node is not one for an allocation: the first thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is not available.
    State(String),
    /// Nobody knows its power.
    Power,
    /// It has an instance.
    Taken,
    /// Somebody works on it.
    Maintenance,
    /// It is of another resource class.
    Class(String),
    /// It is somebody else's.
    Owner,
    /// It is none of the candidates.
    Candidates,
    /// It lacks these.
    Traits(Vec<String>),
    /// It has not these values.
    Capabilities(Vec<String>),
    /// It says nothing of its power domain.
    NoDomain,
    /// One of the group is in the same rack or power domain.
    Together(Apart, String),
    /// It is for one that waits longer.
    Reserved,
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => write!(out, "it is {state}, not available"),
            Self::Power => write!(out, "nobody knows its power: its BMC did not answer yet"),
            Self::Taken => write!(out, "it has an instance"),
            Self::Maintenance => write!(out, "it is in maintenance"),
            Self::Class(class) if class.is_empty() => write!(out, "it has no resource class"),
            Self::Class(class) => write!(out, "its resource class is {class}"),
            Self::Owner => write!(out, "it is another owner's"),
            Self::Candidates => write!(out, "it is none of the candidates"),
            Self::Traits(lacks) => write!(out, "it lacks {}", lacks.join(", ")),
            Self::Capabilities(lacks) => write!(out, "it has not {}", lacks.join(", ")),
            Self::NoDomain => write!(out, "it says nothing of its power domain (properties.power_domain)"),
            Self::Together(Apart::PowerDomain, name) => {
                write!(out, "one of the group is in its power domain, {name}")
            }
            Self::Together(_, name) if name.is_empty() => write!(out, "one of the group is in its rack"),
            Self::Together(_, name) => write!(out, "one of the group is in its rack, {name}"),
            Self::Reserved => write!(out, "it is for an allocation that waits longer"),
        }
    }
}

/// What counts beside the nodes themselves.
#[derive(Debug, Default)]
pub(super) struct Around<'a> {
    /// Nodes that other allocations of the group have.
    pub mates: Vec<&'a Whole>,
    /// Allocations that wait longer, and go first.
    pub ahead: &'a [Wish],
    /// Nodes in use by rack: what a wish without a group is spread or packed by.
    pub in_use: HashMap<&'a str, usize>,
}

/// Nodes in use, by rack.
pub(super) fn in_use<'a>(nodes: impl Iterator<Item = &'a Whole>) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    for node in nodes.filter(|node| text(node, "instance_uuid").is_some()) {
        *counts.entry(rack(node)).or_default() += 1;
    }
    counts
}

/// Whether anybody could be given it at all.
pub fn is_free(node: &Whole) -> bool {
    unfree(node).is_none()
}

/// The id of the node, or why there is none.
pub(super) fn choose<'a>(
    wish: &Wish,
    nodes: impl Iterator<Item = &'a Whole>,
    around: &Around<'_>,
) -> Result<String, String> {
    let (mut fit, mut lacks) = (Vec::new(), 0);
    for node in nodes {
        match why_not(wish, node, around) {
            None => fit.push(node),
            Some(why) => lacks = lacks.max(stage(&why)),
        }
    }
    let named = fit.iter().position(|node| wish.name.is_some() && text(node, "name") == wish.name.as_deref());
    if let Some(node) = named.and_then(|at| fit.get(at)) {
        return Ok(text(node, "uuid").unwrap_or_default().to_owned());
    }
    let counts = counts(wish, around);
    let count = |node: &&Whole| counts.get(rack(node)).copied().unwrap_or(0);
    let best = match wish.placement.order {
        Order::Any => None,
        Order::Spread => fit.iter().map(count).min(),
        Order::Pack => fit.iter().map(count).max(),
    };
    fit.retain(|node| best.is_none_or(|best| count(node) == best));
    let many = u128::try_from(fit.len()).ok().filter(|many| *many > 0);
    let chosen = many.and_then(|many| fit.get(usize::try_from(wish.seed % many).ok()?));
    chosen.and_then(|node| text(node, "uuid")).map(str::to_owned).ok_or_else(|| refusal(wish, lacks))
}

/// Why a node is not one for a wish; none: it fits.
pub(super) fn why_not(wish: &Wish, node: &Whole, around: &Around<'_>) -> Option<Why> {
    unfree(node).or_else(|| unlike(wish, node)).or_else(|| together(wish, node, &around.mates)).or_else(|| {
        // Whether the ones ahead want it apart from their own counts for nothing here: they are asked before.
        around.ahead.iter().any(|ahead| unlike(ahead, node).is_none()).then_some(Why::Reserved)
    })
}

/// Why nobody could be given it.
fn unfree(node: &Whole) -> Option<Why> {
    match text(node, "provision_state") {
        Some("available") => {}
        other => return Some(Why::State(other.unwrap_or("nowhere").to_owned())),
    }
    if text(node, "power_state").is_none() {
        return Some(Why::Power);
    }
    if text(node, "instance_uuid").is_some() {
        return Some(Why::Taken);
    }
    node.get("maintenance").and_then(Value::as_bool).unwrap_or_default().then_some(Why::Maintenance)
}

/// Why it is not what is wanted.
fn unlike(wish: &Wish, node: &Whole) -> Option<Why> {
    let class = text(node, "resource_class").unwrap_or_default();
    if class != wish.class {
        return Some(Why::Class(class.to_owned()));
    }
    let owner = wish.owner.as_deref();
    if owner.is_some() && text(node, "owner") != owner && text(node, "lessee") != owner {
        return Some(Why::Owner);
    }
    let is_candidate = |uuid: &str| wish.candidates.iter().any(|one| one == uuid);
    if !wish.candidates.is_empty() && !text(node, "uuid").is_some_and(is_candidate) {
        return Some(Why::Candidates);
    }
    let has = node.get("traits").and_then(Value::as_array);
    let lacks = |one: &&String| !has.is_some_and(|has| has.iter().any(|other| other.as_str() == Some(one)));
    let lacking: Vec<String> = wish.traits.iter().filter(lacks).cloned().collect();
    if !lacking.is_empty() {
        return Some(Why::Traits(lacking));
    }
    let lacking: Vec<String> = wish
        .placement
        .capabilities
        .iter()
        .filter(|(name, value)| capability(node, name) != Some(value.as_str()))
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    (!lacking.is_empty()).then_some(Why::Capabilities(lacking))
}

/// Whether one of the group is where it must not be.
fn together(wish: &Wish, node: &Whole, mates: &[&Whole]) -> Option<Why> {
    let apart = wish.placement.apart;
    let place = |node: &Whole| match apart {
        Apart::Nothing => None,
        Apart::Rack => Some(rack(node).to_owned()),
        Apart::PowerDomain => domain(node).map(str::to_owned),
    };
    if apart == Apart::Nothing {
        return None;
    }
    let Some(own) = place(node) else { return Some(Why::NoDomain) };
    mates.iter().any(|mate| place(mate).as_ref() == Some(&own)).then_some(Why::Together(apart, own))
}

fn counts<'a>(wish: &Wish, around: &'a Around<'_>) -> HashMap<&'a str, usize> {
    if wish.placement.group.is_empty() {
        return around.in_use.clone();
    }
    let mut counts = HashMap::new();
    for mate in &around.mates {
        *counts.entry(rack(mate)).or_default() += 1;
    }
    counts
}

/// How far a node came that is none for a wish: what most of them came to is what is told.
const fn stage(why: &Why) -> u8 {
    match why {
        Why::State(_) | Why::Power | Why::Taken | Why::Maintenance | Why::Class(_) | Why::Owner | Why::Candidates => 0,
        Why::Traits(_) => 1,
        Why::Capabilities(_) => 2,
        Why::NoDomain | Why::Together(..) => 3,
        Why::Reserved => 4,
    }
}

/// The first two are Ironic's words, in its order.
fn refusal(wish: &Wish, stage: u8) -> String {
    match stage {
        0 => format!("no available nodes match the resource class {}", wish.class),
        1 => format!("no suitable nodes have the requested traits {}", wish.traits.join(", ")),
        2 => "no suitable nodes have the requested capabilities".to_owned(),
        3 => format!("no suitable nodes are apart from those of the group {}", wish.placement.group),
        _ => "all suitable nodes are for allocations that wait longer".to_owned(),
    }
}

fn text<'a>(node: &'a Whole, name: &str) -> Option<&'a str> {
    node.get(name).and_then(Value::as_str)
}

fn rack(node: &Whole) -> &str {
    text(node, "conductor_group").unwrap_or_default()
}

fn domain(node: &Whole) -> Option<&str> {
    node.get("properties")?.get("power_domain")?.as_str().filter(|domain| !domain.is_empty())
}

/// The value of a capability: they are a text with commas, or an object.
fn capability<'a>(node: &'a Whole, name: &str) -> Option<&'a str> {
    match node.get("properties")?.get("capabilities")? {
        Value::String(all) => {
            all.split(',').filter_map(|one| one.trim().split_once(':')).find(|(key, _)| *key == name).map(|(_, it)| it)
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.get(name)?.as_str()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn node(uuid: &str, more: Value) -> Whole {
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

    fn placed(more: Value) -> Wish {
        wish(json!({ "placement": more }))
    }

    fn alone(wish: &Wish, nodes: &[Whole]) -> Result<String, String> {
        choose(wish, nodes.iter(), &Around::default())
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
        assert_eq!(alone(&wish(json!({})), &nodes).unwrap(), "d");
        assert_eq!(alone(&wish(json!({"traits": ["CUSTOM_B"]})), &nodes).unwrap(), "e");
        assert_eq!(alone(&wish(json!({"name": "mine"})), &nodes).unwrap(), "e");
        assert_eq!(alone(&wish(json!({"candidate_nodes": ["e"]})), &nodes).unwrap(), "e");
    }

    #[test]
    fn why_there_is_none_is_said() {
        let nodes = [node("d", json!({}))];
        let none = alone(&wish(json!({"resource_class": "small"})), &nodes).unwrap_err();
        assert_eq!(none, "no available nodes match the resource class small");
        let none = alone(&wish(json!({"traits": ["CUSTOM_Q"]})), &nodes).unwrap_err();
        assert_eq!(none, "no suitable nodes have the requested traits CUSTOM_Q");
        assert!(alone(&wish(json!({"owner": "me"})), &nodes).is_err());
    }

    #[test]
    fn capabilities_are_read_as_text_and_as_an_object() {
        let nodes = [
            node("a", json!({"properties": {"capabilities": "boot_mode:bios,raid:5"}})),
            node("b", json!({"properties": {"capabilities": {"boot_mode": "uefi"}}})),
        ];
        for (value, node) in [("bios", "a"), ("uefi", "b")] {
            assert_eq!(alone(&placed(json!({"capabilities": {"boot_mode": value}})), &nodes).unwrap(), node);
        }
        let none = alone(&placed(json!({"capabilities": {"raid": "1"}})), &nodes).unwrap_err();
        assert_eq!(none, "no suitable nodes have the requested capabilities");
    }

    #[test]
    fn a_group_is_spread_over_racks_or_packed_into_one() {
        let at = |uuid: &str, rack: &str| node(uuid, json!({ "conductor_group": rack }));
        let nodes = [at("a", "r1"), at("b", "r2")];
        let mate = at("m", "r1");
        let around = Around { mates: vec![&mate], ..Around::default() };
        let group = |order: &str| placed(json!({"group": "db", "order": order}));
        assert_eq!(choose(&group("spread"), nodes.iter(), &around).unwrap(), "b");
        assert_eq!(choose(&group("pack"), nodes.iter(), &around).unwrap(), "a");
        // Without a group what is in use counts.
        let used = node("u", json!({"conductor_group": "r2", "instance_uuid": "i"}));
        let around = Around { in_use: in_use([&used].into_iter()), ..Around::default() };
        assert_eq!(choose(&placed(json!({"order": "pack"})), nodes.iter(), &around).unwrap(), "b");
        assert_eq!(choose(&placed(json!({"order": "spread"})), nodes.iter(), &around).unwrap(), "a");
    }

    #[test]
    fn a_group_is_kept_apart_by_rack_and_by_power_domain() {
        let at = |uuid: &str, rack: &str, domain: Value| {
            node(uuid, json!({"conductor_group": rack, "properties": {"power_domain": domain}}))
        };
        let nodes = [at("a", "r1", json!("p2")), at("b", "r2", json!("p1")), at("c", "r3", Value::Null)];
        let mate = at("m", "r1", json!("p1"));
        let around = Around { mates: vec![&mate], ..Around::default() };
        let wish = |apart: &str| placed(json!({"group": "db", "apart": apart}));
        let whys = |wish: &Wish| nodes.iter().map(|node| why_not(wish, node, &around)).collect::<Vec<_>>();
        let together = |apart, name: &str| Some(Why::Together(apart, name.to_owned()));
        assert_eq!(whys(&wish("rack")), [together(Apart::Rack, "r1"), None, None]);
        let by_domain = [None, together(Apart::PowerDomain, "p1"), Some(Why::NoDomain)];
        assert_eq!(whys(&wish("power-domain")), by_domain);
        assert_eq!(choose(&wish("power-domain"), nodes.iter(), &around).unwrap(), "a");
        let none = choose(&wish("rack"), nodes.iter().take(1), &around).unwrap_err();
        assert_eq!(none, "no suitable nodes are apart from those of the group db");
    }

    #[test]
    fn who_comes_later_does_not_take_what_another_one_waits_for() {
        let nodes = [node("a", json!({"traits": ["CUSTOM_A"]})), node("b", json!({}))];
        let ahead = [wish(json!({"traits": ["CUSTOM_A"]}))];
        let around = Around { ahead: &ahead, ..Around::default() };
        assert_eq!(choose(&wish(json!({})), nodes.iter(), &around).unwrap(), "b");
        let none = choose(&wish(json!({"traits": ["CUSTOM_A"]})), nodes.iter(), &around).unwrap_err();
        assert_eq!(none, "all suitable nodes are for allocations that wait longer");
    }
}
