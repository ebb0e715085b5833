//! A process as an instance of the mesh: what it is told of itself, and what it may take.

mod live;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{
    id::{InstanceId, NodeId, SeatId},
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

use crate::{Error, Fence, Footing, Stake, journal::Written, root::Root, stake::Stakes, together::Together};

pub(crate) use live::ANSWER;

/// Where an instance is reached, each as `host:port`; empty: not.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// By gRPC, from within the mesh.
    pub endpoint: String,
    /// By machines.
    pub data_endpoint: String,
    /// By agents that speak Ironic's protocol.
    pub ironic_endpoint: String,
}

/// What an instance says of itself.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its service.
    pub service: Service,
    /// Where it belongs.
    pub scope: Scope,
    /// Where it is reached.
    pub places: Places,
    /// What its safety stands on.
    pub footing: Footing,
}

/// This process as an instance of the mesh. Clones are the same.
#[derive(Debug, Clone)]
pub struct Mesh {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) setting: Setting,
    pub(crate) store: Store,
    pub(crate) view: View,
    pub(crate) fence: Arc<Fence>,
    pub(crate) stakes: Stakes,
    pub(crate) written: Written,
    pub(crate) together: Together,
    pub(crate) standing: watch::Sender<Option<Standing>>,
    pub(crate) absences: Mutex<Absences<Duration>>,
    pub(crate) debts: Mutex<Debts<Duration>>,
    pub(crate) away: Mutex<Option<Timestamp>>,
}

impl Inner {
    pub(crate) fn now(&self) -> Duration {
        self.setting.footing.clock.now()
    }
}

/// A membership that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) instance: InstanceId,
    pub(crate) lease: i64,
    /// The revision at which the member key came to be.
    pub(crate) created: i64,
    /// The life of the store that it is in.
    pub(crate) root: Root,
    /// The highest ring that was acknowledged.
    pub(crate) acknowledged: i64,
    /// Its member key says that it is stopping.
    stopping: bool,
    seat: SeatId,
}

impl Mesh {
    /// Prepares; nothing is written before [`Self::live`].
    #[must_use]
    pub fn new(setting: Setting, store: Store, view: View) -> Self {
        let fence = Fence::new(&setting.footing);
        Self {
            inner: Arc::new(Inner {
                setting,
                store,
                view,
                fence,
                stakes: Stakes::default(),
                written: Written::default(),
                together: Together::default(),
                standing: watch::Sender::new(None),
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
        self.inner.setting.scope
    }

    /// The present instance; none before it has joined, and while it is cut off.
    #[must_use]
    pub fn instance(&self) -> Option<InstanceId> {
        self.standing().map(|standing| standing.instance)
    }

    /// The time on the clock that fences.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.inner.now()
    }

    /// The safety's times.
    #[must_use]
    pub fn times(&self) -> Times {
        self.inner.setting.footing.times
    }

    pub(crate) fn standing(&self) -> Option<Standing> {
        *self.inner.standing.borrow()
    }

    /// Waits until it has joined. Safe to drop at any await and call again.
    pub async fn joined(&self) {
        // The sender lives as long as this.
        let _ = self.inner.standing.subscribe().wait_for(Option::is_some).await;
    }

    pub(crate) fn ring(&self) -> Option<Versioned<StoredRing>> {
        self.inner.view.get(&key::ring(self.inner.setting.scope, self.inner.setting.service))
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
        let setting = &self.inner.setting;
        let leader = self.inner.view.get(&key::election(setting.scope, setting.service));
        !self.inner.fence.is_up() && leader.is_some_and(|leader| Some(leader.value.instance) == self.instance())
    }

    /// A stake in a node that this instance owns.
    ///
    /// # Errors
    /// [`Error::NotOwner`], [`Error::HandingOver`], [`Error::Island`]
    pub fn stake(&self, node: NodeId) -> Result<Stake, Error> {
        self.check_island()?;
        // The stake comes first and the ring is looked at after: a ring that was applied in between has either seen
        // this stake and ends it, or is the one that is looked at.
        let stake = self.inner.stakes.take(node).ok_or(Error::HandingOver { node })?;
        let (ring, me) = (self.ring().ok_or(Error::HandingOver { node })?, self.instance());
        let owner = ring.value.ring.owner(node).ok_or(Error::HandingOver { node })?;
        if Some(owner) == me {
            return Ok(stake);
        }
        let setting = &self.inner.setting;
        let member = self.inner.view.get(&key::member(setting.scope, setting.service, owner));
        let member = member.ok_or(Error::HandingOver { node })?.value;
        Err(Error::NotOwner { node, instance: owner, endpoint: member.endpoint, data_endpoint: member.data_endpoint })
    }
}
