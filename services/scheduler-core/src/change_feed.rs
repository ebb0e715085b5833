//! Feed of changed nodes for watchers, from the view: a watcher causes no read of the store.
//!
//! The feed records only when each node changed last, and when deleted nodes were deleted, not each change. A slow watcher
//! costs no memory; one that falls behind the remembered deletions starts again with all nodes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    change_index::{ChangeIndex, ChangeTime, ChangedNodes, WatchPosition},
    id::{NodeId, RackId},
    net::MacAddr,
};
use keyspace::{
    View, key,
    view::{Feed, Touches},
};
use parking_lot::Mutex;
use service_kit::Host;
use tokio::time::sleep;

/// Minimum time between two updates from the view.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// Changes that a watcher does not know yet.
#[derive(Debug)]
pub struct Batch {
    /// Whether the watcher must start again: `nodes` are all existing nodes.
    pub is_all: bool,
    /// Changed nodes, with their racks.
    pub nodes: Vec<(NodeId, RackId)>,
    /// Deleted nodes.
    pub gone: Vec<NodeId>,
    /// Revision up to which the watcher then knows all changes, on any replica.
    pub revision: i64,
    /// Position of the watcher after this batch.
    pub at: WatchPosition,
}

#[derive(Debug)]
struct Inner {
    feed: Feed,
    change_index: ChangeIndex,
    ports: HashMap<(RackId, MacAddr), NodeId>,
    round: u64,
}

/// Feed of changed nodes. Clones share the state.
#[derive(Debug)]
pub struct ChangeFeed {
    view: View,
    inner: Mutex<Inner>,
}

/// Subject of a changed path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Node(RackId, NodeId),
    Port(RackId, MacAddr),
}

impl ChangeFeed {
    /// Creates a feed of the changes that a view shows.
    pub fn new(view: View) -> Self {
        let inner =
            Inner { feed: Feed::new(&view), change_index: ChangeIndex::default(), ports: HashMap::new(), round: 0 };
        Self { view, inner: Mutex::new(inner) }
    }

    /// Returns the changes after a position.
    pub fn since(&self, at: WatchPosition) -> Batch {
        let mut inner = self.inner.lock();
        let revision = self.catch_up(&mut inner);
        let ChangedNodes { is_all, nodes, gone } = inner.change_index.changes_since(at);
        Batch { is_all, nodes, gone, revision, at: WatchPosition::Round(inner.round) }
    }

    /// Keeps the feed up to date even without watchers, so that a watcher that comes from another replica can continue here.
    pub async fn keep(self: Arc<Self>, host: Host) {
        let mut news = self.view.subscribe();
        loop {
            self.catch_up(&mut self.inner.lock());
            tokio::select! {
                () = host.stopping() => return,
                told = news.next() => if told.is_none() { return },
            }
            sleep(UPDATE_INTERVAL).await;
        }
    }

    /// Applies the view's changes. Returns the revision up to which they are complete.
    fn catch_up(&self, inner: &mut Inner) -> i64 {
        // Read before the changes: all changes up to this revision were received.
        let revision = self.view.freshness().revision;
        let changed = inner.feed.take(touches);
        // Read after the changes: no received change is newer.
        let when = ChangeTime { round: inner.round.saturating_add(1), revision: self.view.newest() };
        match changed {
            None => self.begin(inner, when),
            Some(changed) if changed.is_empty() => return revision,
            Some(changed) => changed.into_iter().for_each(|about| self.note(inner, about, when)),
        }
        inner.round = when.round;
        revision
    }

    /// Marks every node as changed.
    fn begin(&self, inner: &mut Inner, when: ChangeTime) {
        inner.ports.clear();
        let mut nodes = Vec::new();
        for (_, rack) in self.view.list(&key::racks()) {
            let rack = rack.value.id;
            nodes.extend(self.view.nodes(rack).into_iter().map(|node| (node, rack)));
            let ports = self.view.list(&key::ports(rack)).into_iter();
            inner.ports.extend(ports.filter_map(|(path, port)| Some((key::port_of(&path)?, port.value.node))));
        }
        inner.change_index.reset(nodes, when);
    }

    fn note(&self, inner: &mut Inner, about: About, when: ChangeTime) {
        match about {
            About::Node(rack, node) if self.view.get(&key::life(rack, node)).is_some() => {
                inner.change_index.record_change(node, rack, when);
            }
            About::Node(rack, node) => inner.change_index.record_departure(node, rack, when),
            About::Port(rack, mac) => {
                let now = self.view.get(&key::port(rack, mac)).map(|port| port.value.node);
                let before = match now {
                    Some(node) => inner.ports.insert((rack, mac), node),
                    None => inner.ports.remove(&(rack, mac)),
                };
                for node in [before, now].into_iter().flatten() {
                    inner.change_index.record_touch(node, when);
                }
            }
        }
    }
}

fn touches(path: &str) -> Touches<About> {
    if let Some((rack, node)) = key::node_of(path) {
        return Touches::One(About::Node(rack, node));
    }
    key::port_of(path).map_or(Touches::Nothing, |(rack, mac)| Touches::One(About::Port(rack, mac)))
}

/// Returns whether a changed path is relevant to watchers.
pub fn concerns(path: &str) -> bool {
    touches(path) != Touches::Nothing
}
