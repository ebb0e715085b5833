//! Creates, changes and deletes ports.

use std::net::Ipv4Addr;

use domain::{
    id::{NodeId, PortId, RackId},
    net::MacAddr,
    provision::State,
};
use keyspace::{
    Change, Expect, key,
    store::Versioned,
    value::{NodeSpec, Port, PortSpec, Stamped},
};

use super::{Registry, holder, ports};
use crate::{Error, RequestContext};

/// Port and its key.
#[derive(Debug, Clone)]
pub struct StoredPort {
    /// Rack of the port's node.
    pub rack: RackId,
    /// MAC address.
    pub mac: MacAddr,
    /// Record of the port.
    pub port: Versioned<Port>,
}

impl StoredPort {
    /// Name of the port. `None` if it has none.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.port.value.spec.as_ref()?.spec.name.as_deref()
    }
}

/// New state of a port.
#[derive(Debug, Clone)]
pub(crate) struct PortChange {
    /// Id of the port.
    pub id: PortId,
    /// MAC address.
    pub mac: MacAddr,
    /// Node of the port.
    pub node: NodeId,
    /// Rack of the node.
    pub rack: RackId,
    /// Whether the node can boot from it, so that it gets an address on the rack's network.
    pub boots: bool,
    /// Fields that clients set.
    pub spec: Stamped<PortSpec>,
}

impl Registry {
    /// Lists all ports of all racks, in the order of their creation.
    pub fn ports(&self) -> Vec<StoredPort> {
        let all = self.port_index.all().into_iter();
        let mut all: Vec<_> = all.map(|((rack, mac), port)| StoredPort { rack, mac, port }).collect();
        all.sort_by_key(|one| {
            let spec = one.port.value.spec.as_ref();
            (spec.map(|spec| spec.created_at).unwrap_or_default(), one.port.value.id)
        });
        all
    }

    /// Checks that no port and no enrolled node has one of these MACs.
    ///
    /// # Errors
    /// [`Error::MacTaken`]
    pub(crate) fn check_macs_are_free(&self, macs: &[MacAddr]) -> Result<(), Error> {
        let taken = macs.iter().find_map(|mac| Some((*mac, self.view().get(&key::mac(*mac))?.value)));
        match taken {
            Some((mac, holder)) => Err(Error::MacTaken { mac, kind: holder.kind, holder: holder.name }),
            None => Ok(()),
        }
    }

    /// Adds a port.
    pub(crate) async fn create_port(&self, context: &RequestContext, new: &PortChange) -> Result<(), Error> {
        let _alone = self.enrolling.lock().await;
        let change = self.put_port(self.mesh.as_member()?, new)?;
        self.commit(context, change).await
    }

    /// Changes a port. A changed MAC changes its key.
    pub(crate) async fn change_port(
        &self,
        context: &RequestContext,
        before: &StoredPort,
        new: &PortChange,
    ) -> Result<(), Error> {
        let _alone = self.enrolling.lock().await;
        let stays = before.mac == new.mac && before.rack == new.rack;
        let change = self.mesh.as_member()?;
        let change = if stays {
            self.rewrite_port(change, before, new)?
        } else {
            self.put_port(remove_port(change, before.rack, before.mac, &before.port), new)?
        };
        self.commit(context, change).await
    }

    /// Changes a port under the keys that it has: a transaction that deletes a key cannot write it too. The port gets an
    /// address if the machine boots from it from now on, and gives its address up if the machine no longer does.
    fn rewrite_port(&self, mut change: Change, before: &StoredPort, new: &PortChange) -> Result<Change, Error> {
        let had = before.port.value.address;
        let address = match had.filter(|_| new.boots) {
            Some(had) => Some(had),
            None => self.free_address(new)?,
        };
        match (had, address) {
            (Some(had), None) => change = change.clear(&key::address(new.rack, had)),
            (None, Some(given)) => {
                let of = holder(new.node, &self.name_of(new));
                change = change.put(&key::address(new.rack, given), &of, Expect::Absent)?;
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        let port = Port { id: new.id, node: new.node, address, spec: Some(new.spec.clone()) };
        let change = change.put(&key::port(new.rack, new.mac), &port, Expect::Revision(before.port.revision))?;
        if before.port.value.node == new.node { Ok(change) } else { self.rehold(change, new) }
    }

    /// Moves the MAC to another node.
    fn rehold(&self, change: Change, new: &PortChange) -> Result<Change, Error> {
        let held = self.view().get(&key::mac(new.mac));
        let of = holder(new.node, &self.name_of(new));
        Ok(change.put(&key::mac(new.mac), &of, Expect::same(held.as_ref()))?)
    }

    fn name_of(&self, new: &PortChange) -> String {
        self.view().get(&key::intent(new.rack, new.node)).map(|intent| intent.value.name).unwrap_or_default()
    }

    /// Deletes a port.
    pub(crate) async fn delete_port(&self, context: &RequestContext, port: &StoredPort) -> Result<(), Error> {
        let change = remove_port(self.mesh.as_member()?, port.rack, port.mac, &port.port);
        self.commit(context, change).await
    }

    /// A free address of the rack, for a port that the machine boots from; `None` if the rack has no network.
    fn free_address(&self, new: &PortChange) -> Result<Option<Ipv4Addr>, Error> {
        let rack = self.rack(new.rack).filter(|_| new.boots).map(|rack| rack.value);
        let Some((rack, network)) = rack.as_ref().and_then(|rack| Some((rack, rack.network.as_ref()?))) else {
            return Ok(None);
        };
        let free = ports::free_addresses(self.view(), rack.id, network).next();
        free.map(Some).ok_or_else(|| ports::no_address(rack, network))
    }

    fn put_port(&self, mut change: Change, new: &PortChange) -> Result<Change, Error> {
        let of = holder(new.node, &self.name_of(new));
        let address = self.free_address(new)?;
        let port = Port { id: new.id, node: new.node, address, spec: Some(new.spec.clone()) };
        // The ports of a node that has moved are in its new rack.
        let life = key::life(new.rack, new.node);
        let missing = || Error::Missing { kind: "node", name: new.node.to_string() };
        let born = self.view().get(&life).ok_or_else(missing)?.created;
        change = change
            .expect_created(&life, born)
            .put(&key::mac(new.mac), &of, Expect::Absent)?
            .put(&key::port(new.rack, new.mac), &port, Expect::Absent)?
            .clear(&key::unknown(new.rack, new.mac));
        if let Some(address) = address {
            change = change.put(&key::address(new.rack, address), &of, Expect::Absent)?;
        }
        Ok(change)
    }
}

/// Deletes a port, its MAC's key and its address.
pub(super) fn remove_port(change: Change, rack: RackId, mac: MacAddr, port: &Versioned<Port>) -> Change {
    detach_port(change.clear(&key::mac(mac)), rack, mac, port)
}

/// Deletes a port from its rack with its address. Its MAC stays that of its node.
pub(super) fn detach_port(change: Change, rack: RackId, mac: MacAddr, port: &Versioned<Port>) -> Change {
    let change = change.delete(&key::port(rack, mac), Expect::Revision(port.revision));
    match port.value.address {
        Some(address) => change.clear(&key::address(rack, address)),
        None => change,
    }
}

/// Returns whether the MAC addresses of a node's ports cannot be exchanged: it is in use, and not in maintenance. Its ports
/// can still be deleted and added.
pub(crate) fn keeps_macs(state: State, spec: &NodeSpec) -> bool {
    let is_in_use = state == State::Active || spec.instance().is_some();
    is_in_use && !spec.maintenance && !is_rearrangeable(state)
}

/// Returns whether the ports of a node in this state can be rewired.
pub(crate) const fn is_rearrangeable(state: State) -> bool {
    matches!(state, State::Enroll | State::Inspecting { .. } | State::Manageable)
}
