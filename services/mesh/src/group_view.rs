//! The members, the ring, the acknowledgments and the proofs of death of a group, decoded once per change.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use domain::{id::InstanceId, ring::handover::Presence};
use keyspace::{
    View, key,
    store::Versioned,
    value::{Ack, Election, Member, StoredRing},
    view::{Feed, Touches},
};
use parking_lot::Mutex;

use crate::death_proof::Group;

/// Kinds of the keys that are decoded here.
const KINDS: [&str; 5] = ["member", "election", "ring", "ack", "dead"];

/// What the view holds of a group.
#[derive(Debug)]
pub(crate) struct GroupState {
    pub(crate) ring: Option<Arc<Versioned<StoredRing>>>,
    pub(crate) election: Option<Versioned<Election>>,
    pub(crate) members: BTreeMap<InstanceId, Versioned<Member>>,
    pub(crate) acks: BTreeMap<InstanceId, Versioned<Ack>>,
    pub(crate) dead: BTreeSet<InstanceId>,
}

impl GroupState {
    /// Reads it from the view. The ring comes first: an instance counts as absent only in a view that is not older than the
    /// ring that names it.
    fn read(view: &View, group: Group) -> Self {
        let Group { scope, service } = group;
        let ring = view.ring(scope, service);
        let members = view.list(&key::members(scope, service));
        let acks = view.list(&key::acks(scope, service));
        let dead = view.paths(key::deads(scope, service).path());
        Self {
            ring,
            election: view.get(&key::election(scope, service)),
            members: members.into_iter().filter_map(|(path, member)| Some((key::last(&path)?, member))).collect(),
            acks: acks.into_iter().filter_map(|(path, ack)| Some((key::last(&path)?, ack))).collect(),
            dead: dead.iter().filter_map(|path| key::last(path)).collect(),
        }
    }

    /// What each member says of itself, for the next ring.
    pub(crate) fn present(&self) -> BTreeMap<InstanceId, Presence> {
        let presence =
            |member: &Member| Presence { weight: member.weight_percent, stopping: member.stopping, slot: member.slot };
        self.members.iter().map(|(instance, member)| (*instance, presence(&member.value))).collect()
    }

    /// The highest epoch that an instance has acknowledged.
    pub(crate) fn acknowledged(&self, instance: InstanceId) -> Option<i64> {
        self.acks.get(&instance).map(|ack| ack.value.epoch)
    }
}

/// Keeps the decoded state of a group.
pub(crate) struct GroupView {
    view: View,
    group: Group,
    /// Everything of the group is under it.
    prefix: String,
    cached: Mutex<Cached>,
}

struct Cached {
    feed: Feed,
    state: Option<Arc<GroupState>>,
}

impl fmt::Debug for GroupView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupView").field("group", &self.group).finish_non_exhaustive()
    }
}

impl GroupView {
    pub(crate) fn new(view: View, group: Group) -> Self {
        let ring = key::ring(group.scope, group.service);
        let prefix = ring.path().trim_end_matches("ring").to_owned();
        let cached = Mutex::new(Cached { feed: Feed::new(&view), state: None });
        Self { view, group, prefix, cached }
    }

    /// The state of the group as the view has it now.
    pub(crate) fn state(&self) -> Arc<GroupState> {
        let mut cached = self.cached.lock();
        // The feed is emptied before the view is read: what changes in between is in the feed again.
        let changed = cached.feed.take(|path| self.touches(path));
        let is_current = changed.is_some_and(|changed| changed.is_empty());
        match &cached.state {
            Some(state) if is_current => Arc::clone(state),
            Some(_) | None => Arc::clone(cached.state.insert(Arc::new(GroupState::read(&self.view, self.group)))),
        }
    }

    fn touches(&self, path: &str) -> Touches<()> {
        let kind = path.strip_prefix(&self.prefix).and_then(|rest| rest.split('/').next());
        if kind.is_some_and(|kind| KINDS.contains(&kind)) { Touches::One(()) } else { Touches::Nothing }
    }
}
