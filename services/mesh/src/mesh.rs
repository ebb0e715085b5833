//! A process as an instance of the mesh: what it knows of itself, of the ring, and of the nodes that it owns.

use std::{sync::Arc, time::Duration};

use domain::{
    id::{InstanceId, NodeId},
    ring::{
        fence::Times,
        handover::{Absences, Debts},
    },
    time::Timestamp,
};
use keyspace::{Store, View, key::Scope, store::Versioned, value::StoredRing};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    death_proof::Group,
    error::Error,
    group_commit::GroupCommit,
    group_view::{GroupState, GroupView},
    journal_cache::JournalCache,
    membership::{MemberConfig, Membership},
    permit::Fence,
    work_guard::{WorkGuard, WorkTable},
};

/// This process as an instance of the mesh. Clones share the same state.
#[derive(Debug, Clone)]
pub struct Mesh {
    pub(crate) inner: Arc<Inner>,
    /// The connections that this handle's requests use.
    pub(crate) store: Store,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: MemberConfig,
    pub(crate) view: View,
    /// What the view holds of the own group.
    pub(crate) group_view: GroupView,
    pub(crate) fence: Arc<Fence>,
    pub(crate) work: WorkTable,
    pub(crate) journals: JournalCache,
    pub(crate) group_commit: GroupCommit,
    pub(crate) membership: watch::Sender<Option<Membership>>,
    pub(crate) absences: Mutex<Absences<Duration>>,
    pub(crate) debts: Mutex<Debts<Duration>>,
    /// Since when the rack is an island.
    pub(crate) island_since: Mutex<Option<Timestamp>>,
}

impl Inner {
    pub(crate) fn now(&self) -> Duration {
        self.config.safety.clock().now()
    }

    pub(crate) fn wall_now(&self) -> Timestamp {
        self.config.wall_now()
    }

    /// What the view holds of the own group now.
    pub(crate) fn group(&self) -> Arc<GroupState> {
        self.group_view.state()
    }
}

impl Mesh {
    /// Prepares an instance. It writes nothing before [`Self::live`].
    #[must_use]
    pub fn new(config: MemberConfig, store: Store, view: View) -> Self {
        let fence = Fence::new(&config.safety);
        let since = config.wall_now();
        let group = Group { scope: config.scope, service: config.service };
        Self {
            store,
            inner: Arc::new(Inner {
                config,
                group_view: GroupView::new(view.clone(), group),
                view,
                fence,
                work: WorkTable::default(),
                journals: JournalCache::default(),
                group_commit: GroupCommit::default(),
                membership: watch::Sender::new(None),
                absences: Mutex::default(),
                debts: Mutex::default(),
                island_since: Mutex::new(Some(since)),
            }),
        }
    }

    /// The same instance, whose requests use these connections. [`Self::live`] needs connections that its own runtime made if
    /// it runs on another runtime than the rest of the process.
    #[must_use]
    pub fn with_connections(&self, store: Store) -> Self {
        Self { store, inner: Arc::clone(&self.inner) }
    }

    /// The view that ownership is read from.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.inner.view
    }

    /// The store, by the connections of this handle.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The rack whose nodes this instance may own, or the datacenter.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.inner.config.scope
    }

    /// The current instance id; `None` before the process has joined and after it was fenced.
    #[must_use]
    pub fn instance(&self) -> Option<InstanceId> {
        self.membership().map(|membership| membership.instance)
    }

    /// The time on the clock that the fence reads.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.inner.now()
    }

    /// The times that safety depends on.
    #[must_use]
    pub fn times(&self) -> Times {
        self.inner.config.safety.times()
    }

    pub(crate) fn membership(&self) -> Option<Membership> {
        *self.inner.membership.borrow()
    }

    /// Waits until the process has joined. Cancel safe.
    pub async fn wait_until_joined(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.inner.membership.subscribe().wait_for(Option::is_some).await;
    }

    pub(crate) fn ring(&self) -> Option<Arc<Versioned<StoredRing>>> {
        self.inner.group().ring.clone()
    }

    /// Returns whether the ring gives this node to this instance.
    #[must_use]
    pub fn owns(&self, node: NodeId) -> bool {
        self.rank(node) == Some(0)
    }

    /// Number of members that rank before this instance for the node; 0 for the owner.
    #[must_use]
    pub fn rank(&self, node: NodeId) -> Option<usize> {
        self.ring()?.value.ring.rank(node, self.instance()?)
    }

    /// Returns whether this instance leads its ring. Returns `false` as soon as its lease may have expired.
    #[must_use]
    pub fn leads(&self) -> bool {
        let group = self.inner.group();
        let leader = group.election.as_ref().map(|election| election.value.instance);
        !self.inner.fence.is_up() && leader.is_some() && leader == self.instance()
    }

    /// Begins work on a node that this instance owns.
    ///
    /// # Errors
    /// * [`Error::NotOwner`] if another instance owns it; ask that one.
    /// * [`Error::HandingOver`] if earlier work on it is still being ended, or it has no owner yet; try again.
    /// * [`Error::Island`]
    pub fn begin_work(&self, node: NodeId) -> Result<WorkGuard, Error> {
        self.check_island()?;
        // The guard is taken before the ring is read: a ring that is applied in between either sees this guard and cancels
        // it, or is the ring that is read.
        let guard = self.inner.work.take(node).ok_or(Error::HandingOver { node })?;
        let (ring, me) = (self.ring().ok_or(Error::HandingOver { node })?, self.instance());
        let owner = ring.value.ring.owner(node).ok_or(Error::HandingOver { node })?;
        if Some(owner) == me {
            return Ok(guard);
        }
        let group = self.inner.group();
        let member = group.members.get(&owner).ok_or(Error::HandingOver { node })?.value.clone();
        Err(Error::NotOwner { node, instance: owner, endpoint: member.endpoint, data_endpoint: member.data_endpoint })
    }
}
