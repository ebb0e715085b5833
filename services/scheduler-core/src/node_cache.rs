//! Cache of every node as clients see it. The view keeps it up to date, so that a read needs neither the store nor parsing.
//!
//! A reader first applies the view's changes since the last read, so that a client that waited for the view to show its
//! write reads that write here.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use domain::{
    id::{NodeId, RackId},
    service::Service,
    time::Timestamp,
};
use keyspace::{
    View,
    key::{self, Parsed},
    view::{Feed, Touches},
};
use parking_lot::Mutex;

use crate::node_view::NodeView;

/// Order of nodes in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListOrder {
    /// The oldest first.
    OldestFirst,
    /// The newest first.
    NewestFirst,
}

/// Nodes in the order of their creation.
type Order = (Timestamp, NodeId);

#[derive(Debug)]
struct Inner {
    feed: Feed,
    nodes: BTreeMap<Order, Arc<NodeView>>,
    order: HashMap<NodeId, Order>,
}

/// Cache of every node. Clones share the state.
#[derive(Debug)]
pub struct NodeCache {
    view: View,
    inner: Mutex<Inner>,
}

impl NodeCache {
    /// Creates a cache of the nodes that a view shows.
    pub fn new(view: View) -> Self {
        let inner = Inner { feed: Feed::new(&view), nodes: BTreeMap::new(), order: HashMap::new() };
        Self { view, inner: Mutex::new(inner) }
    }

    /// Returns the node with an id.
    pub fn get(&self, node: NodeId) -> Option<Arc<NodeView>> {
        self.with(|inner| inner.nodes.get(inner.order.get(&node)?).cloned())
    }

    /// Returns all nodes, in the order of their creation.
    pub fn all(&self) -> Vec<Arc<NodeView>> {
        self.those(|_| true)
    }

    /// Returns the nodes that match, in the order of their creation.
    pub fn those(&self, wanted: impl Fn(&NodeView) -> bool) -> Vec<Arc<NodeView>> {
        self.with(|inner| inner.nodes.values().filter(|node| wanted(node)).cloned().collect())
    }

    /// Returns the first nodes that match after a node, in the order of their creation or in reverse. `None` without that node.
    pub fn next(
        &self,
        behind: Option<NodeId>,
        order: ListOrder,
        most: usize,
        wanted: impl Fn(&NodeView) -> bool,
    ) -> Option<Vec<Arc<NodeView>>> {
        self.with(|inner| {
            let behind = match behind {
                Some(node) => Bound::Excluded(*inner.order.get(&node)?),
                None => Bound::Unbounded,
            };
            let (up, down) = ((behind, Bound::Unbounded), (Bound::Unbounded, behind));
            let wanted = |node: &&Arc<NodeView>| wanted(node);
            Some(match order {
                ListOrder::OldestFirst => {
                    inner.nodes.range(up).map(|(_, node)| node).filter(wanted).take(most).cloned().collect()
                }
                ListOrder::NewestFirst => {
                    let all = inner.nodes.range(down).rev().map(|(_, node)| node);
                    all.filter(wanted).take(most).cloned().collect()
                }
            })
        })
    }

    /// Runs a function on the current nodes, under the lock.
    fn with<T>(&self, read: impl FnOnce(&Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        self.catch_up(&mut inner);
        read(&inner)
    }

    fn catch_up(&self, inner: &mut Inner) {
        match inner.feed.take(touches) {
            None => self.put_all(inner),
            Some(changed) => changed.into_iter().for_each(|(rack, node)| self.put(inner, rack, node)),
        }
    }

    fn put_all(&self, inner: &mut Inner) {
        inner.nodes.clear();
        inner.order.clear();
        for (_, rack) in self.view.list(&key::racks()) {
            let rack = rack.value.id;
            for node in self.view.nodes(rack) {
                self.put(inner, rack, node);
            }
        }
    }

    fn put(&self, inner: &mut Inner, rack: RackId, node: NodeId) {
        let before = inner.order.remove(&node).and_then(|order| inner.nodes.remove(&order));
        let Some(now) = NodeView::read(&self.view, rack, node) else {
            // The node moved to another rack.
            if let Some(before) = before.filter(|before| before.rack != rack) {
                self.put(inner, before.rack, node);
            }
            return;
        };
        let order = (now.intent.enrolled_at, node);
        inner.order.insert(node, order);
        inner.nodes.insert(order, Arc::new(now));
    }
}

/// A rack's name and the owners of nodes are part of every node.
fn touches(path: &str) -> Touches<(RackId, NodeId)> {
    let Some(key) = key::parse(path) else { return Touches::Nothing };
    if matches!(key, Parsed::Rack { .. } | Parsed::Ring { service: Service::Power, .. }) {
        return Touches::All;
    }
    let about = key.about();
    about.rack.zip(about.node).map_or(Touches::Nothing, Touches::One)
}
