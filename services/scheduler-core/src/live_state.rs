//! LiveState facts: what the leaves stream, in memory. They never enter the store; a replica that has just started gets what
//! the leaves still remember.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use domain::{
    generation::Generation,
    id::NodeId,
    plan::Progress,
    time::Timestamp,
    timeline::{Entry, MAX_ENTRIES, Mark},
};
use parking_lot::{Mutex, MutexGuard};
use proto::common::v1::NodeTimelineEntry;
use service_kit::clock;
use tokio::sync::broadcast;

/// Events remembered for those who begin to watch.
const REMEMBERED: usize = 1000;
/// Boots of one node kept in memory.
const BOOTS: usize = 4;

/// Something that people may want to see as it happens.
#[derive(Debug, Clone)]
pub struct Event {
    pub at: Timestamp,
    pub node: Option<NodeId>,
    pub kind: &'static str,
    pub text: String,
}

/// What is known of a node beside the store.
#[derive(Debug, Clone, Default)]
pub struct NodeLive {
    /// Boots by generation, the latest last.
    pub boots: VecDeque<(Generation, Vec<Entry>)>,
    /// The agent's last sign.
    pub heard: Option<Timestamp>,
    /// What leaves answered for this generation.
    pub answered: Option<(Generation, Answered)>,
    /// Entries came since its boots were kept.
    is_unkept: bool,
}

/// What leaves answered to the acts of one generation.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    pub bmc: Progress,
    pub images: Progress,
    pub boot: Progress,
}

/// All of it. Clones are the same.
#[derive(Debug, Clone)]
pub struct LiveState {
    nodes: Arc<Mutex<HashMap<NodeId, NodeLive>>>,
    events: Arc<Mutex<VecDeque<Event>>>,
    sender: broadcast::Sender<Event>,
    touched: broadcast::Sender<NodeId>,
}

impl Default for LiveState {
    fn default() -> Self {
        Self {
            nodes: Arc::default(),
            events: Arc::default(),
            sender: broadcast::Sender::new(REMEMBERED),
            touched: broadcast::Sender::new(REMEMBERED),
        }
    }
}

impl LiveState {
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, NodeLive>> {
        self.nodes.lock()
    }

    /// What is known of a node.
    pub fn of(&self, node: NodeId) -> NodeLive {
        self.lock().get(&node).cloned().unwrap_or_default()
    }

    /// The entries of one boot.
    pub fn boot(&self, node: NodeId, generation: Generation) -> Vec<Entry> {
        let nodes = self.lock();
        let of_node = nodes.get(&node);
        let boot = of_node.and_then(|of_node| of_node.boots.iter().find(|(known, _)| *known == generation));
        boot.map(|(_, entries)| entries.clone()).unwrap_or_default()
    }

    /// Nodes about which something hot changed.
    pub fn touched(&self) -> broadcast::Receiver<NodeId> {
        self.touched.subscribe()
    }

    /// Remembered events, and those to come.
    pub fn events(&self, most: usize) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let live = self.sender.subscribe();
        let events = self.events.lock();
        (events.iter().skip(events.len().saturating_sub(most)).cloned().collect(), live)
    }

    /// Tells of something.
    pub fn tell(&self, node: Option<NodeId>, kind: &'static str, text: String) {
        self.tell_at(clock::now(), node, kind, text);
    }

    fn tell_at(&self, at: Timestamp, node: Option<NodeId>, kind: &'static str, text: String) {
        let event = Event { at, node, kind, text };
        let mut events = self.events.lock();
        if events.len() >= REMEMBERED {
            events.pop_front();
        }
        events.push_back(event.clone());
        // Without subscribers the event is only stored.
        let _ = self.sender.send(event);
    }

    fn touch(&self, node: NodeId) {
        let _ = self.touched.send(node);
    }

    /// Notes what a leaf answered.
    pub fn answered(&self, node: NodeId, generation: Generation, note: impl FnOnce(&mut Answered)) {
        let mut nodes = self.lock();
        let of_node = nodes.entry(node).or_default();
        match &mut of_node.answered {
            Some((known, answered)) if *known == generation => note(answered),
            other => {
                let mut answered = Answered::default();
                note(&mut answered);
                *other = Some((generation, answered));
            }
        }
    }

    /// Whether entries came since they were last taken.
    pub fn is_unkept(&self, node: NodeId) -> bool {
        self.lock().get(&node).is_some_and(|of_node| of_node.is_unkept)
    }

    /// Whether entries came since this was last asked.
    pub fn take_unkept(&self, node: NodeId) -> bool {
        self.lock().get_mut(&node).is_some_and(|of_node| std::mem::take(&mut of_node.is_unkept))
    }

    /// Forgets a node that is no more.
    pub fn forget(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    pub(crate) fn heard(&self, node: NodeId, at: Timestamp) {
        let mut nodes = self.lock();
        let heard = &mut nodes.entry(node).or_default().heard;
        *heard = (*heard).max(Some(at));
    }

    pub(crate) fn entry(&self, entry: NodeTimelineEntry) {
        let generation = Generation::from_number(entry.generation);
        let (Ok(node), Some(entry)) = (entry.node.parse::<NodeId>(), entry.entry) else { return };
        let Ok(entry) = Entry::try_from(entry) else { return };
        if self.remember(node, generation, entry.clone()) {
            if entry.mark != Mark::ImageProgress {
                self.tell_at(entry.at, Some(node), "TIMELINE", entry.to_string());
            }
            self.touch(node);
        }
    }

    /// Puts an entry in its place by time; a repetition (a stream that began anew) is known and changes nothing.
    fn remember(&self, node: NodeId, generation: Generation, entry: Entry) -> bool {
        let mut nodes = self.lock();
        let of_node = nodes.entry(node).or_default();
        let index = match of_node.boots.iter().position(|(known, _)| *known == generation) {
            Some(index) => index,
            None => {
                let at = of_node.boots.iter().take_while(|(known, _)| *known < generation).count();
                of_node.boots.insert(at, (generation, Vec::new()));
                if of_node.boots.len() > BOOTS {
                    of_node.boots.pop_front();
                }
                match of_node.boots.iter().position(|(known, _)| *known == generation) {
                    Some(index) => index,
                    None => return false,
                }
            }
        };
        let Some((_, entries)) = of_node.boots.get_mut(index) else { return false };
        if entries.contains(&entry) {
            return false;
        }
        if entry.mark == Mark::ImageProgress {
            entries.retain(|known| known.mark != Mark::ImageProgress || known.by != entry.by);
        }
        if entries.len() >= MAX_ENTRIES {
            return false;
        }
        let at = entries.iter().take_while(|known| known.at <= entry.at).count();
        entries.insert(at, entry);
        of_node.is_unkept = true;
        true
    }
}
