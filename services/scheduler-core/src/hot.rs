//! Hot facts: what the leaves stream, in memory. They never enter the store; a replica that has just started gets what
//! the leaves still remember.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    generation::Generation,
    id::{InstanceId, NodeId, RackId},
    plan::Progress,
    service::Service,
    time::Timestamp,
    timeline::{Entry, LONGEST, Mark},
};
use futures::StreamExt as _;
use keyspace::{
    key::{self, Parsed},
    value::Rack,
    view::{News, Subscription},
};
use proto::{
    common::v1::NodeTimelineEntry,
    inventory::v1::{
        WatchAgentsRequest, inventory_service_client::InventoryServiceClient, watch_agents_response::Sign,
    },
    power::v1::power_service_client::PowerServiceClient,
    pxe::v1::pxe_service_client::PxeServiceClient,
};
use service_kit::clock;
use tokio::sync::broadcast;

use crate::{app_state::AppState, lines::Replica};

/// Events remembered for those who begin to watch.
const REMEMBERED: usize = 1000;
/// Boots of one node kept in memory.
const BOOTS: usize = 4;
/// Between two looks at which leaves there are.
const LOOK: Duration = Duration::from_secs(2);
/// Before a stream that broke is opened again.
const AGAIN: Duration = Duration::from_millis(500);

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
pub struct OfNode {
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
pub struct Hot {
    nodes: Arc<Mutex<HashMap<NodeId, OfNode>>>,
    events: Arc<Mutex<VecDeque<Event>>>,
    sender: broadcast::Sender<Event>,
    touched: broadcast::Sender<NodeId>,
}

impl Default for Hot {
    fn default() -> Self {
        Self {
            nodes: Arc::default(),
            events: Arc::default(),
            sender: broadcast::Sender::new(REMEMBERED),
            touched: broadcast::Sender::new(REMEMBERED),
        }
    }
}

impl Hot {
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, OfNode>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a node.
    pub fn of(&self, node: NodeId) -> OfNode {
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
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        (events.iter().skip(events.len().saturating_sub(most)).cloned().collect(), live)
    }

    /// Tells of something.
    pub fn tell(&self, node: Option<NodeId>, kind: &'static str, text: String) {
        self.tell_at(clock::now(), node, kind, text);
    }

    fn tell_at(&self, at: Timestamp, node: Option<NodeId>, kind: &'static str, text: String) {
        let event = Event { at, node, kind, text };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() >= REMEMBERED {
            events.pop_front();
        }
        events.push_back(event.clone());
        // Nobody watches: it is remembered.
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

    fn heard(&self, node: NodeId, at: Timestamp) {
        let mut nodes = self.lock();
        let heard = &mut nodes.entry(node).or_default().heard;
        *heard = (*heard).max(Some(at));
    }

    fn entry(&self, entry: NodeTimelineEntry) {
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
        if entries.len() >= LONGEST {
            return false;
        }
        let at = entries.iter().take_while(|known| known.at <= entry.at).count();
        entries.insert(at, entry);
        of_node.is_unkept = true;
        true
    }
}

/// Keeps a stream open to every replica of every leaf that has something to tell.
pub async fn listen(shared: Arc<AppState>) {
    let mut known: HashSet<(InstanceId, Service)> = HashSet::new();
    let gone = Arc::new(Mutex::new(Vec::<(InstanceId, Service)>::new()));
    let mut news = shared.registry.view().subscribe();
    loop {
        for ended in gone.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            known.remove(&ended);
        }
        for (_, rack) in shared.registry.view().list(&key::racks()) {
            let rack: Rack = rack.value;
            for service in [Service::Power, Service::Pxe, Service::Inventory] {
                for replica in shared.lines.replicas(rack.id, service) {
                    if known.insert((replica.instance, service)) {
                        spawn(&shared, rack.id, service, replica, Arc::clone(&gone));
                    }
                }
            }
        }
        tokio::select! {
            () = shared.host.stopping() => return,
            () = of_members(&mut news) => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Waits for news of members.
async fn of_members(news: &mut Subscription) {
    while let Some(News::Path(path)) = news.next().await {
        if matches!(key::parse(&path), Some(Parsed::Member { .. })) {
            return;
        }
    }
}

fn spawn(
    shared: &Arc<AppState>,
    rack: RackId,
    service: Service,
    replica: Replica,
    gone: Arc<Mutex<Vec<(InstanceId, Service)>>>,
) {
    let inner = Arc::clone(shared);
    shared.host.spawn(async move {
        loop {
            let stream = follow(&inner, rack, service, &replica);
            tokio::select! {
                () = inner.host.stopping() => return,
                outcome = stream => if let Err(error) = outcome {
                    tracing::debug!(%service, endpoint = replica.member.endpoint, %error, "a leaf's stream ended");
                },
            }
            let still = inner.lines.replicas(rack, service).iter().any(|member| member.instance == replica.instance);
            if !still {
                gone.lock().unwrap_or_else(PoisonError::into_inner).push((replica.instance, service));
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    });
}

async fn follow(shared: &AppState, rack: RackId, service: Service, replica: &Replica) -> Result<(), String> {
    let line = shared.lines.to(rack, service, &replica.member.endpoint, None).map_err(|error| error.to_string())?;
    let refused = |status: tonic::Status| status.to_string();
    match service {
        Service::Power => {
            let request = proto::power::v1::WatchTimelineRequest {};
            let mut stream = PowerServiceClient::new(line).watch_timeline(request).await.map_err(refused)?.into_inner();
            while let Some(entry) = stream.next().await {
                entry.map_err(refused)?.entry.into_iter().for_each(|entry| shared.hot.entry(entry));
            }
        }
        Service::Pxe => {
            let request = proto::pxe::v1::WatchTimelineRequest {};
            let mut stream = PxeServiceClient::new(line).watch_timeline(request).await.map_err(refused)?.into_inner();
            while let Some(entry) = stream.next().await {
                entry.map_err(refused)?.entry.into_iter().for_each(|entry| shared.hot.entry(entry));
            }
        }
        Service::Inventory => {
            let mut client = InventoryServiceClient::new(line);
            let mut stream = client.watch_agents(WatchAgentsRequest {}).await.map_err(refused)?.into_inner();
            while let Some(sign) = stream.next().await {
                match sign.map_err(refused)?.sign {
                    Some(Sign::Entry(entry)) => shared.hot.entry(entry),
                    Some(Sign::Heartbeat(beat)) => {
                        if let Ok(node) = beat.node.parse() {
                            shared.hot.heard(node, Timestamp::from_millis(beat.at_ms));
                        }
                    }
                    None => {}
                }
            }
        }
        Service::Storage | Service::Scheduler => {}
    }
    Ok(())
}
