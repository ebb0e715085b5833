//! Creates, changes and deletes ports.

use domain::{
    id::{NodeId, PortId, RackId},
    net::MacAddr,
};
use keyspace::{
    Change, Expect, key,
    store::Versioned,
    value::{Port, PortSpec, Stamped},
};

use super::{Registry, holder, ports};
use crate::Error;

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

/// New state of a port.
#[derive(Debug, Clone)]
pub struct PortChange {
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
        let all = self.index.all().into_iter();
        let mut all: Vec<_> = all.map(|((rack, mac), port)| StoredPort { rack, mac, port }).collect();
        all.sort_by_key(|one| {
            let spec = one.port.value.spec.as_ref();
            (spec.map(|spec| spec.created_at).unwrap_or_default(), one.port.value.id)
        });
        all
    }

    /// Adds a port.
    pub async fn create_port(&self, new: &PortChange) -> Result<(), Error> {
        let _alone = self.enrolling.lock().await;
        let change = self.put_port(self.mesh.as_member()?, new)?;
        self.commit(change).await
    }

    /// Changes a port. A changed MAC changes its key.
    pub async fn change_port(&self, before: &StoredPort, new: &PortChange) -> Result<(), Error> {
        let _alone = self.enrolling.lock().await;
        let had = before.port.value.address;
        let same = before.mac == new.mac && before.rack == new.rack && had.is_some() == new.boots;
        let change = self.mesh.as_member()?;
        let change = if same {
            let port = Port { id: new.id, node: new.node, address: had, spec: Some(new.spec.clone()) };
            let key = key::port(new.rack, new.mac);
            let change = change.put(&key, &port, Expect::Revision(before.port.revision))?;
            if before.port.value.node == new.node { change } else { self.rehold(change, new)? }
        } else {
            self.put_port(take_away(change, before), new)?
        };
        self.commit(change).await
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
    pub async fn delete_port(&self, port: &StoredPort) -> Result<(), Error> {
        let change = take_away(self.mesh.as_member()?, port);
        self.commit(change).await
    }

    fn put_port(&self, mut change: Change, new: &PortChange) -> Result<Change, Error> {
        let of = holder(new.node, &self.name_of(new));
        let rack = self.rack(new.rack).map(|rack| rack.value);
        let network = rack.as_ref().filter(|_| new.boots).and_then(|rack| rack.network.as_ref().map(|net| (rack, net)));
        let address = match network {
            None => None,
            Some((rack, network)) => {
                let free = ports::free_addresses(self.view(), rack.id, network).next();
                Some(free.ok_or_else(|| ports::no_address(rack, network))?)
            }
        };
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

fn take_away(change: Change, port: &StoredPort) -> Change {
    let change =
        change.clear(&key::mac(port.mac)).delete(&key::port(port.rack, port.mac), Expect::Revision(port.port.revision));
    match port.port.value.address {
        Some(address) => change.clear(&key::address(port.rack, address)),
        None => change,
    }
}
