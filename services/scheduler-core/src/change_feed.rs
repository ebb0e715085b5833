//! What changed of nodes and when, for all who watch: fed by the view, so that a watcher costs no read of the store.
//!
//! Who watches is told what nodes are, not each of their changes: noted is only when each changed last, and of those that
//! are gone when they went. So a reader may be as slow as he likes and nothing grows for him; who is slower than what is
//! remembered begins again.

mod change_index;

pub use change_index::At;

use std::{collections::HashMap, sync::Arc, time::Duration};

use change_index::{ChangeIndex, When};
use domain::{
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

/// How often it takes what was told, at most.
const PACE: Duration = Duration::from_millis(100);

/// What a watcher does not know yet.
#[derive(Debug)]
pub struct Batch {
    /// What he knew counts for nothing: `nodes` are all that there are.
    pub is_all: bool,
    pub nodes: Vec<(NodeId, RackId)>,
    pub gone: Vec<NodeId>,
    /// With it he knows all up to this revision, by any board.
    pub revision: i64,
    /// With it he is here.
    pub at: At,
}

#[derive(Debug)]
struct Inner {
    feed: Feed,
    change_index: ChangeIndex,
    ports: HashMap<(RackId, MacAddr), NodeId>,
    round: u64,
}

/// The board.
#[derive(Debug)]
pub struct ChangeFeed {
    view: View,
    inner: Mutex<Inner>,
}

/// What a changed path is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Node(RackId, NodeId),
    Port(RackId, MacAddr),
}

impl ChangeFeed {
    pub fn new(view: View) -> Self {
        let inner =
            Inner { feed: Feed::new(&view), change_index: ChangeIndex::default(), ports: HashMap::new(), round: 0 };
        Self { view, inner: Mutex::new(inner) }
    }

    /// Returns the changes after a position.
    pub fn since(&self, at: At) -> Batch {
        let mut inner = self.inner.lock();
        let revision = self.catch_up(&mut inner);
        let news = inner.change_index.since(at);
        Batch { is_all: news.is_all, nodes: news.nodes, gone: news.gone, revision, at: At::Round(inner.round) }
    }

    /// Keeps it up, watched or not: who comes from another replica goes on here from what changed meanwhile.
    pub async fn keep(self: Arc<Self>, host: Host) {
        let mut news = self.view.subscribe();
        loop {
            self.catch_up(&mut self.inner.lock());
            tokio::select! {
                () = host.stopping() => return,
                told = news.next() => if told.is_none() { return },
            }
            sleep(PACE).await;
        }
    }

    /// Takes what was told; says up to which revision that is all.
    fn catch_up(&self, inner: &mut Inner) -> i64 {
        // Read first: what is not newer was told before.
        let revision = self.view.freshness().revision;
        let changed = inner.feed.take(touches);
        // Read last: what was told is not newer.
        let when = When { round: inner.round.saturating_add(1), revision: self.view.newest() };
        match changed {
            None => self.begin(inner, when),
            Some(changed) if changed.is_empty() => return revision,
            Some(changed) => changed.into_iter().for_each(|about| self.note(inner, about, when)),
        }
        inner.round = when.round;
        revision
    }

    /// Anything may have changed.
    fn begin(&self, inner: &mut Inner, when: When) {
        inner.ports.clear();
        let mut nodes = Vec::new();
        for (_, rack) in self.view.list(&key::racks()) {
            let rack = rack.value.id;
            nodes.extend(self.view.nodes(rack).into_iter().map(|node| (node, rack)));
            let ports = self.view.list(&key::ports(rack)).into_iter();
            inner.ports.extend(ports.filter_map(|(path, port)| Some((key::port_of(&path)?, port.value.node))));
        }
        inner.change_index.begin(nodes, when);
    }

    fn note(&self, inner: &mut Inner, about: About, when: When) {
        match about {
            About::Node(rack, node) if self.view.get(&key::life(rack, node)).is_some() => {
                inner.change_index.changed(node, rack, when);
            }
            About::Node(rack, node) => inner.change_index.went(node, rack, when),
            About::Port(rack, mac) => {
                let now = self.view.get(&key::port(rack, mac)).map(|port| port.value.node);
                let before = match now {
                    Some(node) => inner.ports.insert((rack, mac), node),
                    None => inner.ports.remove(&(rack, mac)),
                };
                for node in [before, now].into_iter().flatten() {
                    inner.change_index.touched(node, when);
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

/// Whether a changed path may be something to tell.
pub fn concerns(path: &str) -> bool {
    touches(path) != Touches::Nothing
}
