//! Live state: observations that the leaves stream, in memory. They are never stored; a replica that has just started
//! receives what the leaves still remember.

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

/// Number of events remembered for new subscribers.
const MAX_REMEMBERED_EVENTS: usize = 1000;
/// Number of boots of a node in memory.
const MAX_BOOTS_PER_NODE: usize = 4;

/// Event for operators.
#[derive(Debug, Clone)]
pub struct Event {
    /// Time of the event.
    pub at: Timestamp,
    /// Node that it is about, if any.
    pub node: Option<NodeId>,
    /// Kind of the event, such as `STATE`.
    pub kind: &'static str,
    /// Description.
    pub text: String,
}

/// Live state of a node.
#[derive(Debug, Clone, Default)]
pub struct NodeLive {
    /// Boots by generation, the latest last.
    pub boots: VecDeque<(Generation, Vec<Entry>)>,
    /// Time of the agent's last call.
    pub heard: Option<Timestamp>,
    /// Progress that leaves reported, with its generation.
    pub answered: Option<(Generation, Answered)>,
    /// Whether entries arrived since its boots were stored.
    is_unkept: bool,
}

/// Progress that leaves reported for the acts of one generation.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// Progress of the request that checks the BMC.
    pub bmc: Progress,
    /// Progress of fetching the images.
    pub images: Progress,
    /// Progress of the pxe-service.
    pub boot: Progress,
}

/// Live state of all nodes. Clones share the state.
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
            sender: broadcast::Sender::new(MAX_REMEMBERED_EVENTS),
            touched: broadcast::Sender::new(MAX_REMEMBERED_EVENTS),
        }
    }
}

impl LiveState {
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, NodeLive>> {
        self.nodes.lock()
    }

    /// Returns the live state of a node.
    pub fn of(&self, node: NodeId) -> NodeLive {
        self.lock().get(&node).cloned().unwrap_or_default()
    }

    /// Returns the entries of one boot.
    pub fn boot(&self, node: NodeId, generation: Generation) -> Vec<Entry> {
        let nodes = self.lock();
        let of_node = nodes.get(&node);
        let boot = of_node.and_then(|of_node| of_node.boots.iter().find(|(known, _)| *known == generation));
        boot.map(|(_, entries)| entries.clone()).unwrap_or_default()
    }

    /// Subscribes to the ids of nodes whose live state changes.
    pub fn touched(&self) -> broadcast::Receiver<NodeId> {
        self.touched.subscribe()
    }

    /// Returns the remembered events and a subscription to later ones.
    pub fn events(&self, most: usize) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let live = self.sender.subscribe();
        let events = self.events.lock();
        (events.iter().skip(events.len().saturating_sub(most)).cloned().collect(), live)
    }

    /// Publishes an event.
    pub fn tell(&self, node: Option<NodeId>, kind: &'static str, text: String) {
        self.tell_at(clock::now(), node, kind, text);
    }

    fn tell_at(&self, at: Timestamp, node: Option<NodeId>, kind: &'static str, text: String) {
        let event = Event { at, node, kind, text };
        let mut events = self.events.lock();
        if events.len() >= MAX_REMEMBERED_EVENTS {
            events.pop_front();
        }
        events.push_back(event.clone());
        // Without subscribers the event is only stored.
        let _ = self.sender.send(event);
    }

    fn touch(&self, node: NodeId) {
        let _ = self.touched.send(node);
    }

    /// Records the progress that a leaf reported.
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

    /// Returns whether entries arrived since they were last taken.
    pub fn is_unkept(&self, node: NodeId) -> bool {
        self.lock().get(&node).is_some_and(|of_node| of_node.is_unkept)
    }

    /// Returns whether entries arrived since the last call.
    pub fn take_unkept(&self, node: NodeId) -> bool {
        self.lock().get_mut(&node).is_some_and(|of_node| std::mem::take(&mut of_node.is_unkept))
    }

    /// Removes a deleted node.
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

    /// Inserts an entry by its time. A repeated entry, from a restarted stream, changes nothing.
    fn remember(&self, node: NodeId, generation: Generation, entry: Entry) -> bool {
        let mut nodes = self.lock();
        let of_node = nodes.entry(node).or_default();
        let index = match of_node.boots.iter().position(|(known, _)| *known == generation) {
            Some(index) => index,
            None => {
                let at = of_node.boots.iter().take_while(|(known, _)| *known < generation).count();
                of_node.boots.insert(at, (generation, Vec::new()));
                if of_node.boots.len() > MAX_BOOTS_PER_NODE {
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
