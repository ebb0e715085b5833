//! Every node as clients see it, ready to be read: fed by the view, so that a read costs no store and no parsing.
//!
//! A reader first takes what the view told since the last one. So whoever wrote something and waited until the view had
//! it reads it here.

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
    key::{self, Parsed, Scope},
    view::{Feed, Touches},
};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use wire_ironic::page::Direction;

use crate::{
    document::{Parts, step_field, whole},
    secret,
};

/// A node on the node_cache.
#[derive(Debug)]
pub struct NodeView {
    pub rack: RackId,
    pub node: NodeId,
    /// All of it at the newest version, secrets masked.
    pub whole: Map<String, Value>,
    /// The store's revision of its last change.
    pub revision: i64,
}

/// Nodes in the order of their creation.
type Order = (Timestamp, NodeId);

#[derive(Debug)]
struct Inner {
    feed: Feed,
    nodes: BTreeMap<Order, Arc<NodeView>>,
    order: HashMap<NodeId, Order>,
}

/// The node_cache.
#[derive(Debug)]
pub struct NodeCache {
    view: View,
    inner: Mutex<Inner>,
}

impl NodeCache {
    pub fn new(view: View) -> Self {
        let inner = Inner { feed: Feed::new(&view), nodes: BTreeMap::new(), order: HashMap::new() };
        Self { view, inner: Mutex::new(inner) }
    }

    /// The node of this id.
    pub fn get(&self, node: NodeId) -> Option<Arc<NodeView>> {
        self.with(|inner| inner.nodes.get(inner.order.get(&node)?).cloned())
    }

    /// All nodes, in the order of their creation.
    pub fn all(&self) -> Vec<Arc<NodeView>> {
        self.those(|_| true)
    }

    /// Those that are wanted, in the order of their creation.
    pub fn those(&self, wanted: impl Fn(&NodeView) -> bool) -> Vec<Arc<NodeView>> {
        self.with(|inner| inner.nodes.values().filter(|node| wanted(node)).cloned().collect())
    }

    /// The first of those that are wanted, in the order of their creation or against it, from behind a node on. None:
    /// that node is not there.
    pub fn next(
        &self,
        behind: Option<NodeId>,
        direction: Direction,
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
            Some(match direction {
                Direction::Up => {
                    inner.nodes.range(up).map(|(_, node)| node).filter(wanted).take(most).cloned().collect()
                }
                Direction::Down => {
                    let all = inner.nodes.range(down).rev().map(|(_, node)| node);
                    all.filter(wanted).take(most).cloned().collect()
                }
            })
        })
    }

    /// Does something with what is there by now. No lock outlives it.
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
        let Some(parts) = parts(&self.view, rack, node) else {
            // Another rack has it by now, where it was moved.
            if let Some(before) = before.filter(|before| before.rack != rack) {
                self.put(inner, before.rack, node);
            }
            return;
        };
        let order = (parts.intent.enrolled_at, node);
        let mut whole = whole(&parts);
        secret::hide(&mut whole);
        inner.order.insert(node, order);
        inner.nodes.insert(order, Arc::new(NodeView { rack, node, whole, revision: parts.revision }));
    }
}

/// Names of racks, and who looks after nodes, are all nodes'.
fn touches(path: &str) -> Touches<(RackId, NodeId)> {
    let Some(key) = key::parse(path) else { return Touches::Nothing };
    if matches!(key, Parsed::Rack { .. } | Parsed::Ring { service: Service::Power, .. }) {
        return Touches::All;
    }
    let about = key.about();
    about.rack.zip(about.node).map_or(Touches::Nothing, Touches::One)
}

/// What the store has about a node.
pub fn parts(view: &View, rack: RackId, node: NodeId) -> Option<Parts> {
    let scope = Scope::Rack(rack);
    let ring = view.get(&key::ring(scope, Service::Power));
    let owner = ring.as_ref().and_then(|ring| ring.value.ring.owner(node));
    let member = owner.and_then(|owner| view.get(&key::member(scope, Service::Power, owner)));
    let (own, intent) = (view.get(&key::rack(rack)), view.get(&key::intent(rack, node))?);
    let (life, power) = (view.get(&key::life(rack, node))?, view.get(&key::power(rack, node)));
    let (sheet, firmware) = (view.get(&key::sheet(rack, node)), view.get(&key::firmware(rack, node)));
    let operation = step_field(life.value.state).and_then(|_| view.get(&key::operation(rack, node)));
    let others = [
        own.as_ref().map(|read| read.revision),
        ring.as_ref().map(|read| read.revision),
        member.as_ref().map(|read| read.revision),
        power.as_ref().map(|read| read.revision),
        sheet.as_ref().map(|read| read.revision),
        firmware.as_ref().map(|read| read.revision),
        operation.as_ref().map(|read| read.revision),
    ];
    let revision = others.into_iter().flatten().fold(intent.revision.max(life.revision), i64::max);
    Some(Parts {
        node,
        rack: own.map(|read| read.value.name).unwrap_or_default(),
        intent: intent.value,
        life: life.value,
        power: power.map(|read| read.value),
        sheet: sheet.map(|read| read.value),
        firmware: firmware.map(|read| read.value),
        operation: operation.map(|read| read.value),
        conductor: member.map(|member| member.value.endpoint),
        revision,
    })
}
