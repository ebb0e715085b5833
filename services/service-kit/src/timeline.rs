//! The running timeline of one replica: what it saw of boots, in memory, for whoever watches.
//!
//! Hot facts never enter the store. A watcher gets what is still remembered, then what happens.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    generation::Generation,
    id::NodeId,
    timeline::{Amount, Entry, LONGEST, Mark},
};
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::clock;

/// Nodes remembered; the one that was silent longest is forgotten first.
const NODES: usize = 4096;
/// Entries that a slow watcher may lag behind; it sees a gap then, and the boots go on.
const LAG: usize = 4096;

/// What was seen of a node's boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whose.
    pub node: NodeId,
    /// Of which boot; zero: of none of ours.
    pub generation: Generation,
    /// What.
    pub entry: Entry,
}

/// The timeline. Clones are the same.
#[derive(Debug, Clone)]
pub struct Timeline {
    by: Arc<str>,
    remembered: Arc<Mutex<Remembered>>,
    sender: broadcast::Sender<Seen>,
}

#[derive(Debug, Default)]
struct Remembered {
    by_node: HashMap<NodeId, VecDeque<Seen>>,
    order: VecDeque<NodeId>,
}

impl Timeline {
    /// Empty. `by` names the replica in each entry.
    #[must_use]
    pub fn new(by: String) -> Self {
        Self { by: by.into(), remembered: Arc::default(), sender: broadcast::Sender::new(LAG) }
    }

    /// Notes something.
    pub fn note(&self, node: NodeId, generation: Generation, mark: Mark, subject: impl Into<String>) {
        self.note_amount(node, generation, mark, subject, None);
    }

    /// Notes something that has come so far.
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
        let seen = Seen { node, generation, entry };
        self.remember(seen.clone());
        // Nobody watches: it is remembered.
        let _ = self.sender.send(seen);
    }

    fn remember(&self, seen: Seen) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if !remembered.by_node.contains_key(&seen.node) {
            remembered.order.push_back(seen.node);
            if remembered.order.len() > NODES
                && let Some(oldest) = remembered.order.pop_front()
            {
                remembered.by_node.remove(&oldest);
            }
        }
        let of_node = remembered.by_node.entry(seen.node).or_default();
        of_node.retain(|known| known.generation >= seen.generation);
        // Progress replaces progress: a long image must not push the boot's beginning out.
        if let (Some(last), Mark::ImageProgress) = (of_node.back_mut(), seen.entry.mark)
            && last.entry.mark == Mark::ImageProgress
        {
            *last = seen;
            return;
        }
        if of_node.len() < LONGEST {
            of_node.push_back(seen);
        }
    }

    /// What is remembered, then what happens. A watcher may see an entry twice, never half of one.
    pub fn watch(&self) -> impl Stream<Item = Seen> + Send + 'static {
        let live = BroadcastStream::new(self.sender.subscribe());
        let remembered: Vec<_> = {
            let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            remembered.by_node.values().flatten().cloned().collect()
        };
        stream::iter(remembered).chain(live.filter_map(async |seen| seen.ok()))
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
