//! A process as an instance of the mesh: what it is told of itself, and what it may take.

mod live;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{
    id::{InstanceId, NodeId, SlotId},
    ring::{
        fence::Times,
        handover::{Absences, Debts},
    },
    service::Service,
    time::Timestamp,
};
use keyspace::{
    Store, View,
    key::{self, Scope},
    store::Versioned,
    value::StoredRing,
};
use service_kit::clock;
use tokio::sync::watch;

use crate::{
    Error, Fence, SafetyParams, WorkGuard, group_commit::GroupCommit, journal::Written,
    store_incarnation::StoreIncarnation, work_guard::WorkTable,
};

pub(crate) use live::ANSWER;

/// Where an instance is reached, each as `host:port`; empty: not.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// By gRPC, from within the mesh.
    pub endpoint: String,
    /// By machines.
    pub data_endpoint: String,
    /// By agents that speak Ironic's protocol.
    pub ironic_endpoint: String,
}

/// What an instance says of itself.
#[derive(Debug, Clone)]
pub struct MemberConfig {
    /// Its service.
    pub service: Service,
    /// Where it belongs.
    pub scope: Scope,
    /// Where it is reached.
    pub endpoints: Endpoints,
    /// What its safety stands on.
    pub safety: SafetyParams,
}

/// This process as an instance of the mesh. Clones are the same.
#[derive(Debug, Clone)]
pub struct Mesh {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: MemberConfig,
    pub(crate) store: Store,
    pub(crate) view: View,
    pub(crate) fence: Arc<Fence>,
    pub(crate) guards: WorkTable,
    pub(crate) written: Written,
    pub(crate) group_commit: GroupCommit,
    pub(crate) membership: watch::Sender<Option<Membership>>,
    pub(crate) absences: Mutex<Absences<Duration>>,
    pub(crate) debts: Mutex<Debts<Duration>>,
    pub(crate) away: Mutex<Option<Timestamp>>,
}

impl Inner {
    pub(crate) fn now(&self) -> Duration {
        self.config.safety.clock.now()
    }
}

/// A membership that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) instance: InstanceId,
    pub(crate) lease: i64,
    /// The revision at which the member key came to be.
    pub(crate) created: i64,
    /// The life of the store that it is in.
    pub(crate) incarnation: StoreIncarnation,
    /// The highest ring that was acknowledged.
    pub(crate) acknowledged: i64,
    /// Its member key says that it is stopping.
    stopping: bool,
    slot: SlotId,
}

impl Mesh {
    /// Prepares; nothing is written before [`Self::live`].
    #[must_use]
    pub fn new(config: MemberConfig, store: Store, view: View) -> Self {
        let fence = Fence::new(&config.safety);
        Self {
            inner: Arc::new(Inner {
                config,
                store,
                view,
                fence,
                guards: WorkTable::default(),
                written: Written::default(),
                group_commit: GroupCommit::default(),
                membership: watch::Sender::new(None),
                absences: Mutex::default(),
                debts: Mutex::default(),
                away: Mutex::new(Some(clock::now())),
            }),
        }
    }

    /// The view that ownership is read from.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.inner.view
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Whose nodes are meant.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.inner.config.scope
    }

    /// The present instance; none before it has joined, and while it is cut off.
    #[must_use]
    pub fn instance(&self) -> Option<InstanceId> {
        self.membership().map(|membership| membership.instance)
    }

    /// The time on the clock that fences.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.inner.now()
    }

    /// The safety's times.
    #[must_use]
    pub fn times(&self) -> Times {
        self.inner.config.safety.times
    }

    pub(crate) fn membership(&self) -> Option<Membership> {
        *self.inner.membership.borrow()
    }

    /// Waits until it has joined. Safe to drop at any await and call again.
    pub async fn wait_until_joined(&self) {
        // The sender lives as long as this.
        let _ = self.inner.membership.subscribe().wait_for(Option::is_some).await;
    }

    pub(crate) fn ring(&self) -> Option<Versioned<StoredRing>> {
        self.inner.view.get(&key::ring(self.inner.config.scope, self.inner.config.service))
    }

    /// Whether the ring gives this node to this instance.
    #[must_use]
    pub fn owns(&self, node: NodeId) -> bool {
        self.rank(node) == Some(0)
    }

    /// How many instances stand before this one for the node; 0: it is the owner.
    #[must_use]
    pub fn rank(&self, node: NodeId) -> Option<usize> {
        self.ring()?.value.ring.rank(node, self.instance()?)
    }

    /// Whether this instance is its ring's leader, as far as it can know: false as soon as its lease may have run out.
    #[must_use]
    pub fn leads(&self) -> bool {
        let config = &self.inner.config;
        let leader = self.inner.view.get(&key::election(config.scope, config.service));
        !self.inner.fence.is_up() && leader.is_some_and(|leader| Some(leader.value.instance) == self.instance())
    }

    /// A guard in a node that this instance owns.
    ///
    /// # Errors
    /// [`Error::NotOwner`], [`Error::HandingOver`], [`Error::Island`]
    pub fn begin_work(&self, node: NodeId) -> Result<WorkGuard, Error> {
        self.check_island()?;
        // The guard comes first and the ring is looked at after: a ring that was applied in between has either seen
        // this guard and ends it, or is the one that is looked at.
        let guard = self.inner.guards.take(node).ok_or(Error::HandingOver { node })?;
        let (ring, me) = (self.ring().ok_or(Error::HandingOver { node })?, self.instance());
        let owner = ring.value.ring.owner(node).ok_or(Error::HandingOver { node })?;
        if Some(owner) == me {
            return Ok(guard);
        }
        let config = &self.inner.config;
        let member = self.inner.view.get(&key::member(config.scope, config.service, owner));
        let member = member.ok_or(Error::HandingOver { node })?.value;
        Err(Error::NotOwner { node, instance: owner, endpoint: member.endpoint, data_endpoint: member.data_endpoint })
    }
}
