//! Indexes of ports by node and of racks by node. The view keeps them up to date, so that a lookup reads neither all nodes nor
//! all racks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use domain::{
    id::{NodeId, RackId},
    net::MacAddr,
};
use keyspace::{
    View, key,
    store::Versioned,
    value::Port,
    view::{Feed, Touches},
};

/// Key of a port's record: rack and MAC.
type Place = (RackId, MacAddr);

#[derive(Debug)]
struct Inner {
    feed: Feed,
    ports: BTreeMap<Place, Versioned<Port>>,
    of_node: HashMap<NodeId, BTreeSet<Place>>,
}

/// Index of ports. A reader first applies the view's changes since the last read.
#[derive(Debug)]
pub(super) struct Ports {
    view: View,
    inner: Mutex<Inner>,
}

impl Ports {
    pub(super) fn new(view: View) -> Self {
        let inner = Inner { feed: Feed::new(&view), ports: BTreeMap::new(), of_node: HashMap::new() };
        Self { view, inner: Mutex::new(inner) }
    }

    /// Returns the ports of a node, in the order of their MACs.
    pub(super) fn of(&self, node: NodeId) -> Vec<(Place, Versioned<Port>)> {
        self.with(|inner| {
            let places = inner.of_node.get(&node).into_iter().flatten();
            places.filter_map(|place| Some((*place, inner.ports.get(place)?.clone()))).collect()
        })
    }

    /// Returns all ports.
    pub(super) fn all(&self) -> Vec<(Place, Versioned<Port>)> {
        self.with(|inner| inner.ports.iter().map(|(place, port)| (*place, port.clone())).collect())
    }

    fn with<T>(&self, read: impl FnOnce(&Inner) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        self.catch_up(&mut inner);
        read(&inner)
    }

    fn catch_up(&self, inner: &mut Inner) {
        let changed = inner.feed.take(touches).unwrap_or_else(|| {
            inner.ports.clear();
            inner.of_node.clear();
            let racks = self.view.list(&key::racks()).into_iter().map(|(_, rack)| rack.value.id);
            let paths = racks.flat_map(|rack| self.view.paths(key::ports(rack).path()));
            paths.filter_map(|path| key::port_of(&path)).collect()
        });
        changed.into_iter().for_each(|place| self.put(inner, place));
    }

    fn put(&self, inner: &mut Inner, place: Place) {
        if let Some(before) = inner.ports.remove(&place)
            && let Some(places) = inner.of_node.get_mut(&before.value.node)
        {
            places.remove(&place);
            if places.is_empty() {
                inner.of_node.remove(&before.value.node);
            }
        }
        if let Some(port) = self.view.get(&key::port(place.0, place.1)) {
            inner.of_node.entry(port.value.node).or_default().insert(place);
            inner.ports.insert(place, port);
        }
    }
}

/// Another rack has ports of its own.
fn touches(path: &str) -> Touches<Place> {
    match key::port_of(path) {
        Some(place) => Touches::One(place),
        None if path.starts_with(key::racks().path()) => Touches::All,
        None => Touches::Nothing,
    }
}

#[derive(Debug)]
struct Places {
    feed: Feed,
    racks: HashMap<NodeId, RackId>,
}

/// Index of racks. A reader first applies the view's changes since the last read.
#[derive(Debug)]
pub(super) struct Nodes {
    view: View,
    places: Mutex<Places>,
}

impl Nodes {
    pub(super) fn new(view: View) -> Self {
        let places = Places { feed: Feed::new(&view), racks: HashMap::new() };
        Self { view, places: Mutex::new(places) }
    }

    /// Returns the rack of a node.
    pub(super) fn rack_of(&self, node: NodeId) -> Option<RackId> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = places.feed.take(lives).unwrap_or_else(|| {
            places.racks.clear();
            let racks = self.view.paths(key::racks().path()).into_iter().filter_map(|path| key::last(&path));
            racks.flat_map(|rack| self.view.nodes(rack).into_iter().map(move |node| (rack, node))).collect()
        });
        for (rack, node) in changed {
            if self.view.has(&key::life(rack, node)) {
                places.racks.insert(node, rack);
            } else if places.racks.get(&node) == Some(&rack) {
                places.racks.remove(&node);
            }
        }
        places.racks.get(&node).copied()
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
