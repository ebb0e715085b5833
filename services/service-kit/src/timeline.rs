//! The in-memory timeline of one replica: what it observed of boots.
//!
//! These events are never stored. A watcher receives the remembered events, then new ones.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use domain::{
    generation::Generation,
    id::NodeId,
    timeline::{Amount, Entry, MAX_ENTRIES, Mark},
};
use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::clock;

/// Maximum number of nodes history. The oldest one is forgotten first.
const MAX_NODES: usize = 4096;
/// Number of events that a slow watcher may lag behind before it misses some.
const MAX_LAG: usize = 4096;

/// An event of a node's boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEvent {
    /// The node.
    pub node: NodeId,
    /// Generation of the boot; zero if the boot was not requested by us.
    pub generation: Generation,
    /// The event.
    pub entry: Entry,
}

/// The timeline of this replica. Clones share the same state.
#[derive(Debug, Clone)]
pub struct Timeline {
    by: Arc<str>,
    history: Arc<Mutex<History>>,
    sender: broadcast::Sender<NodeEvent>,
}

#[derive(Debug, Default)]
struct History {
    by_node: HashMap<NodeId, VecDeque<NodeEvent>>,
    order: VecDeque<NodeId>,
}

impl Timeline {
    /// Creates an empty timeline. `by` is the name of the replica in each event.
    #[must_use]
    pub fn new(by: String) -> Self {
        Self { by: by.into(), history: Arc::default(), sender: broadcast::Sender::new(MAX_LAG) }
    }

    /// Records an event.
    pub fn note(&self, node: NodeId, generation: Generation, mark: Mark, subject: impl Into<String>) {
        self.note_amount(node, generation, mark, subject, None);
    }

    /// Records an event with its progress.
    pub fn note_amount(
        &self,
        node: NodeId,
        generation: Generation,
        mark: Mark,
        subject: impl Into<String>,
        amount: Option<Amount>,
    ) {
        let entry = Entry { at: clock::now(), by: self.by.to_string(), mark, subject: subject.into(), amount };
        tracing::info!(node = %node, generation = %generation, "{entry}");
        let event = NodeEvent { node, generation, entry };
        self.remember(event.clone());
        // Without watchers sending fails; the event is remembered.
        let _ = self.sender.send(event);
    }

    fn remember(&self, event: NodeEvent) {
        let mut history = self.history.lock();
        if !history.by_node.contains_key(&event.node) {
            history.order.push_back(event.node);
            if history.order.len() > MAX_NODES
                && let Some(oldest) = history.order.pop_front()
            {
                history.by_node.remove(&oldest);
            }
        }
        let of_node = history.by_node.entry(event.node).or_default();
        of_node.retain(|known| known.generation >= event.generation);
        // A progress event replaces the previous one, so that a large image does not displace the start of the boot.
        if let (Some(last), Mark::ImageProgress) = (of_node.back_mut(), event.entry.mark)
            && last.entry.mark == Mark::ImageProgress
        {
            *last = event;
            return;
        }
        if of_node.len() < MAX_ENTRIES {
            of_node.push_back(event);
        }
    }

    /// Streams the remembered events, then new ones. A watcher may see an event twice.
    pub fn watch(&self) -> impl Stream<Item = NodeEvent> + Send + 'static {
        let live = BroadcastStream::new(self.sender.subscribe());
        let history: Vec<_> = {
            let history = self.history.lock();
            history.by_node.values().flatten().cloned().collect()
        };
        stream::iter(history).chain(live.filter_map(async |event| event.ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId::new(format!("00000000-0000-0000-0000-{n:012}").parse::<NodeId>().unwrap().uuid())
    }

    #[tokio::test]
    async fn a_watcher_gets_what_is_remembered_and_then_what_happens() {
        let (timeline, one) = (Timeline::new("test".to_owned()), Generation::from_number(1));
        timeline.note(node(1), one, Mark::DhcpDiscover, "");
        let mut watch = std::pin::pin!(timeline.watch());
        timeline.note(node(1), one, Mark::DhcpAck, "");
        assert_eq!(watch.next().await.unwrap().entry.mark, Mark::DhcpDiscover);
        assert_eq!(watch.next().await.unwrap().entry.mark, Mark::DhcpAck);
    }

    #[tokio::test]
    async fn a_new_boot_forgets_the_one_before_and_progress_replaces_progress() {
        let timeline = Timeline::new("test".to_owned());
        let (one, two) = (Generation::from_number(1), Generation::from_number(2));
        timeline.note(node(1), one, Mark::DhcpDiscover, "");
        for done in 0..1000 {
            let amount = Some(Amount { done, total: 1000 });
            timeline.note_amount(node(1), two, Mark::ImageProgress, "", amount);
        }
        let mut watch = std::pin::pin!(timeline.watch());
        assert_eq!(watch.next().await.unwrap().entry.amount, Some(Amount { done: 999, total: 1000 }));
        assert!(futures::poll!(watch.next()).is_pending());
    }
}
