//! Which ports are whose: fed by the view, so that a node's are found without looking at all others'.

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
    store::Revised,
    value::Port,
    view::{News, Subscription},
};

/// Where a port is kept.
type Place = (RackId, MacAddr);

#[derive(Debug)]
struct Inner {
    news: Subscription,
    /// Nothing was read yet.
    is_new: bool,
    ports: BTreeMap<Place, Revised<Port>>,
    of_node: HashMap<NodeId, BTreeSet<Place>>,
}

/// The index. A reader first takes what the view told since the last one.
#[derive(Debug)]
pub(crate) struct Ports {
    view: View,
    inner: Mutex<Inner>,
}

impl Ports {
    pub(crate) fn new(view: View) -> Self {
        let inner = Inner { news: view.subscribe(), is_new: true, ports: BTreeMap::new(), of_node: HashMap::new() };
        Self { view, inner: Mutex::new(inner) }
    }

    /// The ports of a node, in the order of their MACs.
    pub(crate) fn of(&self, node: NodeId) -> Vec<(Place, Revised<Port>)> {
        self.with(|inner| {
            let places = inner.of_node.get(&node).into_iter().flatten();
            places.filter_map(|place| Some((*place, inner.ports.get(place)?.clone()))).collect()
        })
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<(Place, Revised<Port>)> {
        self.with(|inner| inner.ports.iter().map(|(place, port)| (*place, port.clone())).collect())
    }

    fn with<T>(&self, read: impl FnOnce(&Inner) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        self.catch_up(&mut inner);
        read(&inner)
    }

    fn catch_up(&self, inner: &mut Inner) {
        let mut all = std::mem::take(&mut inner.is_new);
        let mut changed = BTreeSet::new();
        while let Some(news) = inner.news.take() {
            match news {
                News::Everything => all = true,
                News::Path(path) => match key::port_of(&path) {
                    Some(place) => drop(changed.insert(place)),
                    // Another rack has ports of its own.
                    None => all |= path.starts_with(key::racks().path()),
                },
            }
        }
        if all {
            inner.ports.clear();
            inner.of_node.clear();
            for (_, rack) in self.view.list(&key::racks()) {
                let rack = rack.value.id;
                changed.extend(self.view.paths(key::ports(rack).path()).iter().filter_map(|path| key::port_of(path)));
            }
        }
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
