//! One simulated process's way to the in-memory store.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    faults::{Call, CallKind, Delivery, Leg, WatchDelivery},
    streams::{MemorySnapshot, MemoryWatch, sleep_to},
    world::{Shared, World},
};
use crate::{
    Store,
    access::{Present, Step},
    store::{
        Alarm, ClusterMember, Endpoints, MemberState, RaisedAlarm,
        connection::{
            Answer, Connection, Failure, Keys, MemberChange, Operation, Range, RangeAnswer, SnapshotStream,
            Transaction, TransactionAnswer, WatchStream, Watcher,
        },
    },
};

type Plan = Box<dyn FnMut(&Call) -> Delivery + Send>;

/// A simulated process's handle of the in-memory store. Clones share its faults; the stores that it makes are
/// connections of the same process.
#[derive(Clone)]
pub struct MemoryClient {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    id: u64,
    plan: Mutex<Plan>,
}

impl fmt::Debug for MemoryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryClient").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

impl MemoryClient {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let id = shared.world.lock().id();
        let plan: Plan = Box::new(|_| Delivery::PROMPT);
        Self { inner: Arc::new(Inner { shared, id, plan: Mutex::new(plan) }) }
    }

    /// A store with a connection to one member.
    #[must_use]
    pub fn store(&self) -> Store {
        self.store_with_members(1)
    }

    /// A store with connections to this many members, of which it uses one at a time. All have the same data; a plan can
    /// tell them apart by [`Call::member`].
    #[must_use]
    pub fn store_with_members(&self, members: usize) -> Store {
        let connection = |member: usize| (format!("memory-{member}"), self.connection(member));
        Store::over(Endpoints::new((0..members).map(connection).collect(), 0))
    }

    pub(crate) fn connection(&self, member: usize) -> Arc<dyn Connection> {
        Arc::new(MemoryConnection { inner: Arc::clone(&self.inner), member })
    }

    /// Decides about every request from now on when it is sent. The plan may look at the [`MemoryEtcd`](super::MemoryEtcd),
    /// and must not change this client's plan.
    pub fn set_plan(&self, plan: impl FnMut(&Call) -> Delivery + Send + 'static) {
        *self.inner.plan.lock() = Box::new(plan);
    }

    /// The same for all requests from now on.
    pub fn set_delivery(&self, delivery: Delivery) {
        self.set_plan(move |_| delivery);
    }

    /// How watch messages are delivered from now on. What is held back or delayed already arrives in order.
    pub fn set_watch_delivery(&self, delivery: WatchDelivery) {
        self.inner.shared.world.lock().set_delivery(self.inner.id, delivery);
    }

    /// Breaks this process's open watch streams. It may open new ones.
    pub fn break_watches(&self) {
        self.inner.shared.world.lock().break_streams(Some(self.inner.id));
    }

    /// Nothing passes between this process and the store: requests are lost and watches stall.
    pub fn partition(&self) {
        self.set_delivery(Delivery::LOST);
        self.set_watch_delivery(WatchDelivery::Stalled);
    }

    /// Everything is delivered at once again.
    pub fn heal(&self) {
        self.set_delivery(Delivery::PROMPT);
        self.set_watch_delivery(WatchDelivery::Prompt);
    }
}

struct MemoryConnection {
    inner: Arc<Inner>,
    member: usize,
}

impl MemoryConnection {
    /// Sends a request, which is carried out when it arrives.
    fn send<T: Send + 'static>(
        &self,
        kind: CallKind,
        path: String,
        request: impl FnOnce(&mut World, Instant) -> Result<T, Failure> + Send + 'static,
    ) -> Answer<T> {
        let (inner, call) = (Arc::clone(&self.inner), Call { kind, path, member: self.member });
        Box::pin(async move {
            let delivery = (inner.plan.lock())(&call);
            let outcome = match delivery.request {
                Leg::Lost => std::future::pending().await,
                Leg::Broken => return Err(Failure::Unavailable(None)),
                Leg::Arrives(delay) => inner.arrive(delay, request).await,
            };
            match delivery.answer {
                Leg::Lost => std::future::pending().await,
                Leg::Broken => Err(Failure::Unavailable(None)),
                Leg::Arrives(delay) => {
                    if !delay.is_zero() {
                        sleep(delay).await;
                    }
                    outcome
                }
            }
        })
    }
}

impl Inner {
    async fn arrive<T: Send + 'static>(
        &self,
        delay: Duration,
        request: impl FnOnce(&mut World, Instant) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (sender, mut receiver) = oneshot::channel();
        {
            let (mut world, now) = (self.shared.world.lock(), Instant::now());
            world.advance(now);
            let next = world.next_event();
            let arrival = move |world: &mut World, at| {
                let outcome = if world.is_stopped { Err(Failure::Unavailable(None)) } else { request(world, at) };
                // The sender may have given up; the request is carried out all the same.
                drop(sender.send(outcome));
            };
            if delay.is_zero() {
                arrival(&mut world, now);
            } else {
                world.arrive(now + delay, Box::new(arrival));
            }
            let is_earlier = world.next_event().is_some_and(|at| next.is_none_or(|next| at < next));
            drop(world);
            if is_earlier {
                self.shared.earlier.notify_waiters();
            }
        }
        loop {
            if self.shared.is_driven() {
                return receiver.await.unwrap_or(Err(Failure::Unavailable(None)));
            }
            let earlier = self.shared.earlier.notified();
            let next = {
                let mut world = self.shared.world.lock();
                world.advance(Instant::now());
                match receiver.try_recv() {
                    Ok(outcome) => return outcome,
                    Err(oneshot::error::TryRecvError::Closed) => return Err(Failure::Unavailable(None)),
                    Err(oneshot::error::TryRecvError::Empty) => world.next_event(),
                }
            };
            tokio::select! {
                biased;
                () = earlier => {}
                () = sleep_to(next) => {}
            }
        }
    }
}

impl Connection for MemoryConnection {
    fn range(&self, range: Range) -> Answer<RangeAnswer> {
        let path = match &range.keys {
            Keys::One(path) => path.clone(),
            Keys::Under { prefix, .. } => prefix.clone(),
        };
        self.send(CallKind::Read, path, move |world, _| world.state.range(&range))
    }

    fn transact(&self, transaction: Transaction) -> Answer<TransactionAnswer> {
        let path = transaction.then.first().map_or_else(String::new, |first| match first {
            Operation::Put { path, .. } | Operation::Delete(path) | Operation::Get(path) => path.clone(),
        });
        let only_reads = transaction.then.iter().all(|operation| matches!(operation, Operation::Get(_)));
        let kind = if only_reads { CallKind::Read } else { CallKind::Write };
        self.send(kind, path, move |world, now| world.change(|state| state.transact(now, transaction)))
    }

    fn grant(&self, seconds: i64) -> Answer<i64> {
        self.send(CallKind::Grant, String::new(), move |world, now| world.state.grant(now, seconds))
    }

    fn revoke(&self, lease: i64) -> Answer<()> {
        let revoke = move |world: &mut World, now| world.change(|state| state.revoke(now, lease));
        self.send(CallKind::Revoke, String::new(), revoke)
    }

    fn keep_alive(&self, lease: i64) -> Answer<bool> {
        self.send(CallKind::KeepAlive, String::new(), move |world, now| Ok(world.state.keep_alive(now, lease)))
    }

    fn watch(&self, watchers: Vec<Watcher>) -> Answer<Box<dyn WatchStream>> {
        let path = watchers.first().map_or_else(String::new, |watcher| watcher.prefix.clone());
        let (client, shared) = (self.inner.id, Arc::clone(&self.inner.shared));
        self.send(CallKind::Watch, path, move |world, now| {
            let opened = world.open(now, client, watchers);
            Ok(Box::new(MemoryWatch::new(shared, opened)) as Box<dyn WatchStream>)
        })
    }

    fn status(&self) -> Answer<MemberState> {
        self.send(CallKind::Maintenance, String::new(), |world, _| {
            Ok(MemberState {
                version: "memory".to_owned(),
                id: 1,
                leader: 1,
                cluster: world.state.cluster,
                revision: world.state.revision,
                ..MemberState::default()
            })
        })
    }

    fn members(&self) -> Answer<Vec<ClusterMember>> {
        self.send(CallKind::Maintenance, String::new(), |world, _| Ok(world.members.list()))
    }

    fn change_members(&self, change: MemberChange) -> Answer<u64> {
        self.send(CallKind::Maintenance, String::new(), |world, _| world.members.change(change))
    }

    fn alarms(&self) -> Answer<Vec<RaisedAlarm>> {
        let full = RaisedAlarm { member: 1, alarm: Alarm::NoSpace };
        let alarms = move |world: &mut World, _| Ok(if world.state.is_full { vec![full] } else { Vec::new() });
        self.send(CallKind::Maintenance, String::new(), alarms)
    }

    fn snapshot(&self) -> Answer<Box<dyn SnapshotStream>> {
        self.send(CallKind::Maintenance, String::new(), |world, _| {
            let pairs: Vec<_> = world.state.pairs().collect();
            let bytes = serde_json::to_vec(&pairs).map_err(|_| Failure::Unavailable(None))?;
            Ok(Box::new(MemorySnapshot(Some(bytes))) as Box<dyn SnapshotStream>)
        })
    }

    fn access(&self) -> Answer<Present> {
        self.send(CallKind::Maintenance, String::new(), |_, _| Ok(Present::default()))
    }

    fn change_access(&self, _: Step) -> Answer<()> {
        self.send(CallKind::Maintenance, String::new(), |_, _| Ok(()))
    }

    fn defragment(&self) -> Answer<()> {
        self.send(CallKind::Maintenance, String::new(), |_, _| Ok(()))
    }
}
