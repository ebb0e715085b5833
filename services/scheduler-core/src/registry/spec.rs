//! Specifications of nodes, stored in one transaction with the intents.

use std::time::Duration;

use domain::{
    failure::Failure,
    id::{NodeId, RackId},
    net::BmcAddr,
};
use keyspace::{
    Change, Expect,
    collection::delete_from,
    key,
    store::Versioned,
    value::{Holder, Intent, Life, NodeSpec, Rack, Stamped},
};
use tokio::time::timeout;

use super::{Registry, holder};
use crate::{Error, RequestContext};

/// Node as read for a change.
#[derive(Debug, Clone)]
pub struct Held {
    /// Rack of the node.
    pub rack: RackId,
    /// Id of the node.
    pub node: NodeId,
    /// Intended state.
    pub intent: Versioned<Intent>,
    /// Provisioning state and generation.
    pub life: Versioned<Life>,
    /// Fields that clients set, if any.
    pub spec: Option<Versioned<Stamped<NodeSpec>>>,
}

/// Time to wait for another replica's write to appear in the view.
const VIEW_LAG_TIMEOUT: Duration = Duration::from_millis(200);
/// Kind of the key that makes an instance's id unique among nodes.
const INSTANCE: &str = "instance";

impl Registry {
    /// Reads a node for a change.
    pub fn held(&self, node: NodeId) -> Option<Held> {
        let (rack, view) = (self.rack_of(node)?, self.view());
        Some(Held {
            rack,
            node,
            intent: view.get(&key::intent(rack, node))?,
            life: view.get(&key::life(rack, node))?,
            spec: view.get(&key::node_spec(rack, node)),
        })
    }

    /// Enrolls a node with its specification.
    pub async fn create_with(
        &self,
        context: &RequestContext,
        rack: &Versioned<Rack>,
        node: NodeId,
        intent: &Intent,
        life: &Life,
        spec: &Stamped<NodeSpec>,
    ) -> Result<(), Error> {
        let id = rack.value.id;
        let of = holder(node, &intent.name);
        let mut change = self
            .mesh
            .as_member()?
            .expect(&key::rack(id), Expect::Revision(rack.revision))
            .put(&key::intent(id, node), intent, Expect::Absent)?
            .put(&key::life(id, node), life, Expect::Absent)?
            .put(&key::node_spec(id, node), spec, Expect::Absent)?;
        if !intent.name.is_empty() {
            change = change.put(&key::node_name(&intent.name), &of, Expect::Absent)?;
        }
        if let Some(instance) = spec.spec.instance() {
            change = change.put(&key::name(INSTANCE, instance), &of, Expect::Absent)?;
        }
        self.commit(context, self.take_bmc(change, None, intent, &of)?).await
    }

    /// Changes the specification of a node.
    pub async fn change_with(
        &self,
        context: &RequestContext,
        held: &Held,
        intent: &Intent,
        spec: &Stamped<NodeSpec>,
    ) -> Result<(), Error> {
        let change = self.add_spec(self.mesh.as_member()?, held, intent, spec)?;
        self.commit(context, change).await
    }

    /// Records a failure outside an operation.
    pub async fn note_failure(&self, context: &RequestContext, held: &Held, failure: Failure) -> Result<(), Error> {
        let mut life = held.life.value.clone();
        life.set_failure(Some(failure));
        self.replace(context, &key::life(held.rack, held.node), &held.life, &life).await
    }

    /// Waits briefly for the view to show a concurrent change of a node.
    pub async fn seen_anew(&self, held: &Held) {
        let mut news = self.view().subscribe();
        let is_old = || {
            let now = self.held(held.node);
            now.is_some_and(|now| {
                let revisions = |held: &Held| {
                    (held.intent.revision, held.life.revision, held.spec.as_ref().map(|spec| spec.revision))
                };
                revisions(&now) == revisions(held)
            })
        };
        let waiting = async { while is_old() && news.next().await.is_some() {} };
        drop(timeout(VIEW_LAG_TIMEOUT, waiting).await);
    }

    /// Adds the change of a specification to a larger change.
    pub fn add_spec(
        &self,
        change: Change,
        held: &Held,
        intent: &Intent,
        spec: &Stamped<NodeSpec>,
    ) -> Result<Change, Error> {
        let (rack, node) = (held.rack, held.node);
        let (key, expect) = (key::intent(rack, node), Expect::Revision(held.intent.revision));
        let change = self.add_unique(change, held, intent, Some(&spec.spec))?;
        let change = if *intent == held.intent.value {
            change.expect(&key, expect)
        } else {
            change.put(&key, intent, expect)?
        };
        Ok(change.put(&key::node_spec(rack, node), spec, Expect::same(held.spec.as_ref()))?)
    }

    /// Updates the unique keys of a node: name, instance and BMC.
    pub(super) fn add_unique(
        &self,
        mut change: Change,
        held: &Held,
        intent: &Intent,
        spec: Option<&NodeSpec>,
    ) -> Result<Change, Error> {
        let (node, before) = (held.node, &held.intent.value);
        let of = holder(node, &intent.name);
        if intent.name != before.name {
            if !before.name.is_empty() {
                change = change.clear(&key::node_name(&before.name));
            }
            if !intent.name.is_empty() {
                change = change.put(&key::node_name(&intent.name), &of, Expect::Absent)?;
            }
        }
        let old = held.spec.as_ref().and_then(|read| read.value.spec.instance());
        let new = spec.and_then(NodeSpec::instance);
        if old != new {
            change = self.give_up_instance(change, node, old);
            if let Some(new) = new {
                change = change.put(&key::name(INSTANCE, new), &of, Expect::Absent)?;
            }
        }
        if intent == before { Ok(change) } else { self.take_bmc(change, Some(before), intent, &of) }
    }

    /// Releases the key of a node's instance.
    pub fn give_up_instance(&self, change: Change, node: NodeId, instance: Option<&str>) -> Change {
        let Some(key) = instance.map(|instance| key::name(INSTANCE, instance)) else { return change };
        match self.view().get(&key).filter(|held| held.value.id == node.uuid()) {
            Some(held) => change.delete(&key, Expect::Revision(held.revision)),
            None => change,
        }
    }

    /// Deletes the allocation of a node, and the key of its name.
    pub(super) fn end_allocation(&self, change: Change, spec: &NodeSpec) -> Change {
        let Some(id) = spec.allocation_uuid else { return change };
        let Some(read) = self.view().get(&key::allocation(id)) else { return change };
        delete_from(change, id, &read)
    }

    /// Returns the holder of an instance.
    pub fn instance_holder(&self, instance: &str) -> Option<Holder> {
        self.view().get(&key::name(INSTANCE, instance)).map(|held| held.value)
    }

    /// Takes the key of a free BMC and releases the previous one. Ironic allows two nodes with the same BMC; the second
    /// one has no key.
    fn take_bmc(
        &self,
        mut change: Change,
        before: Option<&Intent>,
        now: &Intent,
        of: &Holder,
    ) -> Result<Change, Error> {
        let address = |intent: &Intent| intent.bmc.as_ref().map(|bmc| bmc.address.clone());
        let (old, new) = (before.and_then(address), address(now));
        if old == new {
            return Ok(change);
        }
        if let Some(old) = old {
            change = self.give_up_bmc(change, &old, of);
        }
        if let Some(new) = new.filter(|new| self.view().get(&key::bmc(new)).is_none()) {
            change = change.put(&key::bmc(&new), of, Expect::Absent)?;
        }
        Ok(change)
    }

    /// Releases the key of a BMC, if this node holds it.
    pub(super) fn give_up_bmc(&self, change: Change, address: &BmcAddr, of: &Holder) -> Change {
        let key = key::bmc(address);
        match self.view().get(&key).filter(|held| held.value.id == of.id) {
            Some(held) => change.delete(&key, Expect::Revision(held.revision)),
            None => change,
        }
    }
}
