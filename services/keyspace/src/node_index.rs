//! Indexes by node: its ports, and its rack. They follow a view, so that a lookup reads neither all ports nor all racks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::{
    id::{NodeId, RackId},
    net::MacAddr,
};
use parking_lot::Mutex;

use crate::{
    View, key,
    store::Versioned,
    value::Port,
    view::{Feed, Touches},
};

/// What the key of a port's record names: its rack and its MAC.
pub type PortPlace = (RackId, MacAddr);

/// The ports as of the last read.
#[derive(Debug)]
struct Ports {
    feed: Feed,
    records: BTreeMap<PortPlace, Versioned<Port>>,
    of_node: HashMap<NodeId, BTreeSet<PortPlace>>,
}

/// Index of ports by node. Each read first applies the changes of the view since the last one.
#[derive(Debug)]
pub struct PortIndex {
    view: View,
    ports: Mutex<Ports>,
}

impl PortIndex {
    /// Creates an index of the ports in a view, of all its racks.
    #[must_use]
    pub fn new(view: View) -> Self {
        let ports = Ports { feed: Feed::new(&view), records: BTreeMap::new(), of_node: HashMap::new() };
        Self { view, ports: Mutex::new(ports) }
    }

    /// Returns the ports of a node with their racks and MACs, in this order. A port that was added while its node moved to
    /// another rack may still be in the old one.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Vec<(PortPlace, Versioned<Port>)> {
        self.with(|ports| {
            let places = ports.of_node.get(&node).into_iter().flatten();
            places.filter_map(|place| Some((*place, ports.records.get(place)?.clone()))).collect()
        })
    }

    /// Returns all ports with their racks and MACs, in this order.
    #[must_use]
    pub fn all(&self) -> Vec<(PortPlace, Versioned<Port>)> {
        self.with(|ports| ports.records.iter().map(|(place, port)| (*place, port.clone())).collect())
    }

    fn with<T>(&self, read: impl FnOnce(&Ports) -> T) -> T {
        let mut ports = self.ports.lock();
        self.catch_up(&mut ports);
        read(&ports)
    }

    fn catch_up(&self, ports: &mut Ports) {
        let changed = ports.feed.take(touches).unwrap_or_else(|| {
            ports.records.clear();
            ports.of_node.clear();
            let racks = self.view.list(&key::racks()).into_iter().map(|(_, rack)| rack.value.id);
            let paths = racks.flat_map(|rack| self.view.paths(key::ports(rack).path()));
            paths.filter_map(|path| key::port_of(&path)).collect()
        });
        changed.into_iter().for_each(|place| self.put(ports, place));
    }

    fn put(&self, ports: &mut Ports, place: PortPlace) {
        if let Some(before) = ports.records.remove(&place)
            && let Some(places) = ports.of_node.get_mut(&before.value.node)
        {
            places.remove(&place);
            if places.is_empty() {
                ports.of_node.remove(&before.value.node);
            }
        }
        if let Some(port) = self.view.get(&key::port(place.0, place.1)) {
            ports.of_node.entry(port.value.node).or_default().insert(place);
            ports.records.insert(place, port);
        }
    }
}

/// Another rack has ports of its own.
fn touches(path: &str) -> Touches<PortPlace> {
    match key::port_of(path) {
        Some(place) => Touches::One(place),
        None if path.starts_with(key::racks().path()) => Touches::All,
        None => Touches::Nothing,
    }
}

/// The racks as of the last read.
#[derive(Debug)]
struct Racks {
    feed: Feed,
    of_node: HashMap<NodeId, RackId>,
}

/// Index of racks by node. Each read first applies the changes of the view since the last one.
#[derive(Debug)]
pub struct RackIndex {
    view: View,
    racks: Mutex<Racks>,
}

impl RackIndex {
    /// Creates an index of the nodes in a view, of all its racks.
    #[must_use]
    pub fn new(view: View) -> Self {
        let racks = Racks { feed: Feed::new(&view), of_node: HashMap::new() };
        Self { view, racks: Mutex::new(racks) }
    }

    /// Returns the rack of a node. `None` if the node does not exist.
    #[must_use]
    pub fn rack_of(&self, node: NodeId) -> Option<RackId> {
        let mut racks = self.racks.lock();
        let changed = racks.feed.take(lives).unwrap_or_else(|| {
            racks.of_node.clear();
            let all = self.view.paths(key::racks().path()).into_iter().filter_map(|path| key::last(&path));
            all.flat_map(|rack| self.view.nodes(rack).into_iter().map(move |node| (rack, node))).collect()
        });
        for (rack, node) in changed {
            if self.view.has(&key::life(rack, node)) {
                racks.of_node.insert(node, rack);
            } else if racks.of_node.get(&node) == Some(&rack) {
                racks.of_node.remove(&node);
            }
        }
        racks.of_node.get(&node).copied()
    }
}

/// Another rack may have nodes already.
fn lives(path: &str) -> Touches<(RackId, NodeId)> {
    match key::life_of(path) {
        Some(place) => Touches::One(place),
        None if path.starts_with(key::racks().path()) => Touches::All,
        None => Touches::Nothing,
    }
}
