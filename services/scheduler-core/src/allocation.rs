//! Allocations: each is given a suitable node, now or when one becomes free.
//!
//! An allocation is stored first and given its node by a second write, so that it survives the scheduler that accepted it:
//! the leading scheduler serves those that are left or wait in the queue, oldest first. A later allocation is not given what
//! an earlier one waits for. Allocations of one group are given their nodes one after the other: each such write is
//! conditional on the last one of the group.

mod surroundings;

pub use surroundings::{Surroundings, is_free};

use std::{sync::Arc, time::Duration};

use domain::{
    id::NodeId,
    placement::{NoSuitableNode, PlacementOrder},
    provision::State,
};
use keyspace::{
    Expect,
    collection::{Collection, delete_from},
    key,
    value::{AllocationSpec, AllocationState, ExtraFields, Holder, NodeSpec, Stamped, clear_traits, set_traits},
};
use service_kit::{clock, status::chain};
use uuid::Uuid;

use crate::{Error, RequestContext, app_state::AppState, node_view::NodeView, resource_store::Stored};

/// The kind of the key under which each node of a group is given.
const GROUP: &str = "allocation-group";
/// Interval at which the leader looks for allocations that nothing serves.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// Time that the scheduler which accepted an allocation has to serve it.
const GRACE_PERIOD: Duration = Duration::from_secs(2);
/// Number of nodes that are tried for one allocation while others take them.
const MAX_TRIES: u32 = 20;
/// Pause between two tries.
const RETRY_DELAY: Duration = Duration::from_millis(20);
/// Maximum number of allocations in the queue.
const MAX_QUEUE_LENGTH: usize = 1000;

impl AppState {
    /// Allocations that wait in the queue, oldest first.
    #[must_use]
    pub fn waiting_allocations(&self) -> Vec<(Uuid, AllocationSpec)> {
        let now = clock::now();
        let all = self.resources::<AllocationSpec>().into_iter().map(|stored| (stored.id, stored.record.value.spec));
        all.filter(|(_, spec)| spec.is_allocating() && spec.waits(now)).collect()
    }

    /// What is considered beside the nodes for an allocation, behind others that have waited longer.
    #[must_use]
    pub fn surroundings<'a>(
        &self,
        id: Uuid,
        allocation: &AllocationSpec,
        ahead: &'a [AllocationSpec],
    ) -> Surroundings<'a> {
        let placement = &allocation.placement;
        let group = placement.group.as_str();
        // Read before the group's nodes: if one is added in between, the write fails and is tried again.
        let read = (!group.is_empty()).then(|| self.registry.view().get(&key::name(GROUP, group)));
        let group_nodes = if group.is_empty() { Vec::new() } else { self.group_nodes(id, group) };
        let used = match placement.order {
            PlacementOrder::Spread | PlacementOrder::Pack if group.is_empty() => {
                self.node_cache.those(|node| node.spec().instance().is_some())
            }
            PlacementOrder::Any | PlacementOrder::Spread | PlacementOrder::Pack => Vec::new(),
        };
        Surroundings { group_revision: read.flatten().map(|read| read.revision), group_nodes, used, ahead }
    }

    /// The nodes of a group's other allocations.
    fn group_nodes(&self, id: Uuid, group: &str) -> Vec<Arc<NodeView>> {
        let all = self.resources::<AllocationSpec>().into_iter().filter(|other| other.id != id);
        let of_group = all.filter(|other| other.spec().placement.group == group);
        of_group.filter_map(|other| self.node_cache.get(other.spec().node_uuid?)).collect()
    }

    /// Stores a new allocation and gives it a node if one is suitable.
    ///
    /// # Errors
    /// [`Error::Taken`] if another allocation has its name; [`Error::InUse`] if the queue is full.
    pub async fn allocate(&self, context: &RequestContext, id: Uuid, allocation: AllocationSpec) -> Result<(), Error> {
        let queues = allocation.placement.queue_until.is_some();
        if queues && self.waiting_allocations().len() >= MAX_QUEUE_LENGTH {
            let text = format!("{MAX_QUEUE_LENGTH} allocations wait already; see: ironmesh allocation list");
            return Err(Error::InUse(text));
        }
        self.create_resource(context, id, allocation).await?;
        self.place(id).await;
        Ok(())
    }

    /// Gives a new allocation a node, or stores why it failed. One that waits stays in the queue.
    pub async fn place(&self, id: Uuid) {
        let queue = self.waiting_allocations().into_iter();
        let ahead: Vec<_> = queue.take_while(|(other, _)| *other != id).map(|(_, spec)| spec).collect();
        self.place_behind(id, &ahead).await;
    }

    /// The same, behind others that have waited longer. After a failure the sweep tries again.
    async fn place_behind(&self, id: Uuid, ahead: &[AllocationSpec]) {
        for _ in 0..MAX_TRIES {
            let Some(before) = self.resource::<AllocationSpec>(id).filter(|stored| stored.spec().is_allocating())
            else {
                return;
            };
            let surroundings = self.surroundings(id, before.spec(), ahead);
            let outcome = match surroundings.choose(id, before.spec(), &self.node_cache.those(is_free)) {
                Ok(node) => self.give(&before, node, surroundings.group_revision).await,
                Err(_) if before.spec().waits(clock::now()) => return,
                Err(reason) => self.fail(&before, &reason).await,
            };
            match outcome {
                Ok(()) => return,
                Err(error) if error.is_conflict() => tokio::time::sleep(RETRY_DELAY).await,
                Err(error) => {
                    tracing::warn!(%id, error = %chain(&error), "allocation not served yet, will retry");
                    return;
                }
            }
        }
    }

    async fn give(
        &self,
        before: &Stored<AllocationSpec>,
        node: NodeId,
        group_revision: Option<i64>,
    ) -> Result<(), Error> {
        let (registry, id, allocation) = (&self.registry, before.id, before.spec());
        let conflict = || Error::from(mesh::Error::Store(keyspace::Error::Conflict));
        let held = registry.held(node).ok_or_else(conflict)?;
        let mut record = held.spec.as_ref().map(|read| read.value.clone()).unwrap_or_default();
        record.spec.instance_uuid = Some(id.to_string());
        record.spec.allocation_uuid = Some(id);
        if !allocation.traits.is_empty() {
            set_traits(record.spec.instance_info.get_or_insert_with(ExtraFields::new), &allocation.traits);
        }
        let change = registry.add_spec(registry.mesh.as_member()?, &held, &held.intent.value, &record)?;
        let given = AllocationSpec { state: AllocationState::Active, node_uuid: Some(node), ..allocation.clone() };
        let expect = Expect::Revision(before.record.revision);
        let mut change = change.put(&key::allocation(id), &updated(before, given), expect)?;
        let group = &allocation.placement.group;
        if !group.is_empty() {
            let last = Holder { kind: AllocationSpec::KIND.to_owned(), id, name: group.clone() };
            let expect = group_revision.map_or(Expect::Absent, Expect::Revision);
            change = change.put(&key::name(GROUP, group), &last, expect)?;
        }
        registry.commit(&RequestContext::internal(), change).await
    }

    async fn fail(&self, before: &Stored<AllocationSpec>, reason: &NoSuitableNode) -> Result<(), Error> {
        let last_error = Some(format!("Failed to process allocation {}: {reason}.", before.id));
        let failed = AllocationSpec { state: AllocationState::Error, last_error, ..before.spec().clone() };
        let (key, failed) = (key::allocation(before.id), updated(before, failed));
        self.registry.replace(&RequestContext::internal(), &key, &before.record, &failed).await
    }

    /// The reason that an allocation cannot be released. `None` if it can.
    #[must_use]
    pub fn release_blocker(&self, allocation: &Stored<AllocationSpec>) -> Option<String> {
        let node = self.node_cache.get(allocation.spec().node_uuid?)?;
        let is_in_use = node.life.state == State::Active && !node.spec().maintenance;
        is_in_use.then(|| format!("Allocation {} cannot be deleted: its node {} is active", allocation.id, node.node))
    }

    /// Deletes an allocation; its node is free again.
    ///
    /// # Errors
    /// [`Error::InUse`] if its node is in use.
    pub async fn release(&self, context: &RequestContext, before: &Stored<AllocationSpec>) -> Result<(), Error> {
        if let Some(reason) = self.release_blocker(before) {
            return Err(Error::InUse(reason));
        }
        let (registry, allocation) = (&self.registry, before.spec());
        let mut change = registry.mesh.as_member()?;
        if let Some(held) = allocation.node_uuid.and_then(|node| registry.held(node)) {
            let mut record = held.spec.as_ref().map(|read| read.value.clone()).unwrap_or_default();
            forget_allocation(&mut record.spec);
            change = registry.add_spec(change, &held, &held.intent.value, &record)?;
        }
        let group = &allocation.placement.group;
        if !group.is_empty() && self.group_nodes(before.id, group).is_empty() {
            let last = key::name(GROUP, group);
            if let Some(read) = registry.view().get(&last) {
                change = change.delete(&last, Expect::Revision(read.revision));
            }
        }
        registry.commit(context, delete_from(change, before.id, &before.record)).await
    }
}

fn forget_allocation(node: &mut NodeSpec) {
    node.instance_uuid = None;
    node.allocation_uuid = None;
    if let Some(info) = &mut node.instance_info {
        clear_traits(info);
    }
}

fn updated(before: &Stored<AllocationSpec>, spec: AllocationSpec) -> Stamped<AllocationSpec> {
    before.record.value.updated(spec, clock::now())
}

/// Serves allocations that are left or wait in the queue, oldest first, while this scheduler leads.
pub async fn sweep(shared: Arc<AppState>) {
    while shared.leads_after(SWEEP_INTERVAL).await {
        let now = clock::now();
        let mut left = shared.resources::<AllocationSpec>();
        left.retain(|stored| stored.spec().is_allocating());
        if left.is_empty() {
            continue;
        }
        // If no node is free, the queue need not be walked.
        let has_free = !shared.node_cache.those(is_free).is_empty();
        // Allocations that were tried and still wait.
        let mut ahead = Vec::new();
        for stored in left {
            let waits = stored.spec().waits(now);
            if if waits { has_free } else { now.since(stored.record.value.created_at) > GRACE_PERIOD } {
                shared.place_behind(stored.id, &ahead).await;
            }
            let now_stored = shared.resource::<AllocationSpec>(stored.id);
            if waits && now_stored.is_some_and(|stored| stored.spec().is_allocating()) {
                ahead.push(stored.record.value.spec);
            }
        }
    }
}
