//! The in-memory store as a whole: the data, what is on its way to it, and the watches.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{faults::WatchDelivery, members::Members, state::State};
use crate::store::connection::{Event, Failure, WatchMessage, Watcher};

/// What is carried out when a delayed request arrives.
type Arrival = Box<dyn FnOnce(&mut World, Instant) + Send>;

/// The world and whom to wake when its next event comes earlier than it did.
pub(super) struct Shared {
    pub(super) world: Mutex<World>,
    pub(super) earlier: Notify,
    /// Whether [`MemoryEtcd::drive`](super::MemoryEtcd::drive) carries out what is due. Otherwise those who wait do.
    pub(super) is_driven: AtomicBool,
}

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), earlier: Notify::new(), is_driven: AtomicBool::new(false) }
    }

    pub(super) fn is_driven(&self) -> bool {
        self.is_driven.load(Ordering::Relaxed)
    }
}

/// An open stream of watches.
struct Stream {
    client: u64,
    watchers: Vec<Watcher>,
    queue: VecDeque<Message>,
    is_broken: bool,
    wake: Arc<Notify>,
}

struct Message {
    at: Instant,
    message: WatchMessage,
}

/// The next thing that a stream has for its client.
pub(super) enum Next {
    Message(WatchMessage),
    Broken,
    /// Nothing before this time.
    Wait(Option<Instant>),
}

pub(super) struct World {
    pub(super) state: State,
    pub(super) members: Members,
    pub(super) is_stopped: bool,
    /// How much later than it is due a lease expires.
    pub(super) expiry_lag: Duration,
    /// Requests on their way, by the time of their arrival and the order in which they were sent.
    arrivals: BTreeMap<Arrive, Arrival>,
    streams: BTreeMap<u64, Stream>,
    /// Streams that their clients have closed.
    closed: Arc<Mutex<Vec<u64>>>,
    /// How each client's watch messages are delivered, unless at once.
    deliveries: BTreeMap<u64, WatchDelivery>,
    ids: u64,
}

/// When a request arrives; requests that arrive together do so in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Arrive {
    at: Instant,
    number: u64,
}

impl World {
    pub(super) fn new(state: State) -> Self {
        Self {
            state,
            members: Members::default(),
            is_stopped: false,
            expiry_lag: Duration::ZERO,
            arrivals: BTreeMap::new(),
            streams: BTreeMap::new(),
            closed: Arc::default(),
            deliveries: BTreeMap::new(),
            ids: 0,
        }
    }

    /// A number that no other client, stream or request has.
    pub(super) fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// When the next request arrives or the next lease expires.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let arrival = self.arrivals.keys().next().map(|arrive| arrive.at);
        let expiry = self.next_expiry().map(|(at, _)| at);
        [arrival, expiry].into_iter().flatten().min()
    }

    fn next_expiry(&self) -> Option<(Instant, i64)> {
        // While etcd is down no lease expires.
        if self.is_stopped {
            return None;
        }
        self.state.next_expiry().map(|(at, lease)| (at + self.expiry_lag, lease))
    }

    /// Carries out everything that is due, in the order of its time.
    pub(super) fn advance(&mut self, now: Instant) {
        for closed in self.closed.lock().drain(..) {
            self.streams.remove(&closed);
        }
        while let Some(at) = self.next_event().filter(|at| *at <= now) {
            // A keep-alive that arrives just in time is in time.
            if self.arrivals.keys().next().is_some_and(|arrive| arrive.at == at) {
                if let Some((_, arrival)) = self.arrivals.pop_first() {
                    arrival(self, at);
                }
            } else if let Some((_, lease)) = self.next_expiry() {
                self.change(|state| drop(state.revoke(at, lease)));
            }
        }
    }

    /// Carries something out when it arrives.
    pub(super) fn arrive(&mut self, at: Instant, arrival: Arrival) {
        let number = self.id();
        self.arrivals.insert(Arrive { at, number }, arrival);
    }

    /// Changes the data and tells the watches.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut State) -> T) -> T {
        let before = self.state.log().len();
        let outcome = change(&mut self.state);
        let Self { state, streams, deliveries, .. } = self;
        for entry in state.log().get(before..).unwrap_or_default() {
            for stream in streams.values_mut() {
                stream.tell(deliveries.get(&stream.client).copied(), entry.at, &entry.events, state.revision);
            }
        }
        outcome
    }

    /// Opens a stream and queues what its watchers ask for and has happened already.
    pub(super) fn open(&mut self, now: Instant, client: u64, watchers: Vec<Watcher>) -> OpenStream {
        let (id, wake) = (self.id(), Arc::new(Notify::new()));
        let mut stream =
            Stream { client, watchers: Vec::new(), queue: VecDeque::new(), is_broken: false, wake: Arc::clone(&wake) };
        for watcher in watchers {
            match self.state.since(watcher.from.max(1)) {
                None => stream.queue.push_back(Message { at: now, message: WatchMessage::Canceled }),
                Some(missed) => {
                    let number = Some(stream.watchers.len());
                    for entry in missed {
                        stream.queue.extend(message(&watcher, number, &entry.events, self.state.revision, now));
                    }
                }
            }
            stream.watchers.push(watcher);
        }
        self.streams.insert(id, stream);
        OpenStream { id, wake, closed: Arc::clone(&self.closed) }
    }

    /// Breaks the streams of one client, or of all of them.
    pub(super) fn break_streams(&mut self, client: Option<u64>) {
        for stream in self.streams.values_mut().filter(|stream| client.is_none_or(|client| client == stream.client)) {
            stream.is_broken = true;
            stream.wake.notify_one();
        }
    }

    pub(super) fn set_delivery(&mut self, client: u64, delivery: WatchDelivery) {
        self.deliveries.insert(client, delivery);
        self.streams.values().filter(|stream| stream.client == client).for_each(|stream| stream.wake.notify_one());
    }

    fn delivery(&self, client: u64) -> WatchDelivery {
        self.deliveries.get(&client).copied().unwrap_or_default()
    }

    /// Takes the next message of a stream.
    pub(super) fn next_message(&mut self, id: u64, now: Instant) -> Next {
        let Some(stream) = self.streams.get(&id) else { return Next::Broken };
        // A broken connection is noticed even where nothing arrives any more.
        if stream.is_broken {
            return Next::Broken;
        }
        let delivery = self.delivery(stream.client);
        let Some(stream) = self.streams.get_mut(&id) else { return Next::Broken };
        let position = match delivery {
            WatchDelivery::Stalled => None,
            WatchDelivery::Deaf => stream.queue.iter().position(|queued| is_progress(&queued.message)),
            WatchDelivery::Prompt | WatchDelivery::Delayed(_) => (!stream.queue.is_empty()).then_some(0),
        };
        let Some(position) = position else { return Next::Wait(None) };
        match stream.queue.get(position) {
            Some(queued) if queued.at > now => Next::Wait(Some(queued.at)),
            _ => stream.queue.remove(position).map_or(Next::Wait(None), |queued| Next::Message(queued.message)),
        }
    }

    /// Queues the answer to a request for progress.
    pub(super) fn progress(&mut self, id: u64, now: Instant) -> Result<(), Failure> {
        let revision = Some(self.state.revision);
        let deliveries = &self.deliveries;
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.is_broken) else {
            return Err(Failure::Unavailable(None));
        };
        let at = stream.arrival(deliveries.get(&stream.client).copied(), now);
        let message = WatchMessage::Changes { watcher: None, revision, changes: Vec::new() };
        stream.queue.push_back(Message { at, message });
        stream.wake.notify_one();
        Ok(())
    }
}

/// A stream that was opened.
pub(super) struct OpenStream {
    pub(super) id: u64,
    pub(super) wake: Arc<Notify>,
    /// Where the client notes that it has closed it.
    pub(super) closed: Arc<Mutex<Vec<u64>>>,
}

impl Stream {
    /// Queues what its watchers have asked for.
    fn tell(&mut self, delivery: Option<WatchDelivery>, now: Instant, events: &[Event], revision: i64) {
        let at = self.arrival(delivery, now);
        let before = self.queue.len();
        for (number, watcher) in self.watchers.iter().enumerate() {
            self.queue.extend(message(watcher, Some(number), events, revision, at));
        }
        if self.queue.len() > before {
            self.wake.notify_one();
        }
    }

    /// When a message that is sent now arrives: not before those that were sent earlier.
    fn arrival(&self, delivery: Option<WatchDelivery>, now: Instant) -> Instant {
        let at = if let Some(WatchDelivery::Delayed(delay)) = delivery { now + delay } else { now };
        self.queue.back().map_or(at, |last| last.at.max(at))
    }
}

/// The changes that a watcher asked for, as a message.
fn message(watcher: &Watcher, number: Option<usize>, events: &[Event], revision: i64, at: Instant) -> Option<Message> {
    let is_wanted = |event: &&Event| event.revision() >= watcher.from && event.path().starts_with(&watcher.prefix);
    let changes: Vec<_> = events.iter().filter(is_wanted).cloned().collect();
    let message = WatchMessage::Changes { watcher: number, revision: Some(revision), changes };
    (!is_progress(&message)).then_some(Message { at, message })
}

fn is_progress(message: &WatchMessage) -> bool {
    matches!(message, WatchMessage::Changes { changes, .. } if changes.is_empty())
}
