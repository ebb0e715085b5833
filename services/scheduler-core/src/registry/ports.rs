//! MACs and the addresses reserved for them.

use std::{collections::HashSet, net::Ipv4Addr};

use domain::{
    id::{NodeId, PortId, RackId},
    net::MacAddr,
};
use keyspace::{
    Change, Expect, View, key,
    value::{Holder, Network, Port, Rack},
};

use crate::Error;

/// Returns the unassigned addresses of a rack, in order.
pub(super) fn free_addresses(view: &View, rack: RackId, network: &Network) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let taken: HashSet<Ipv4Addr> =
        view.paths(key::addresses(rack).path()).iter().filter_map(|path| key::last(path)).collect();
    let (first, last) = (network.first.to_bits(), network.last.to_bits());
    let others = [Some(network.server_identifier), network.router];
    (first..=last)
        .map(Ipv4Addr::from_bits)
        .filter(move |address| !taken.contains(address) && !others.contains(&Some(*address)))
}

/// Returns the error for a rack without a free address.
pub(super) fn no_address(rack: &Rack, network: &Network) -> Error {
    Error::NoAddress { rack: rack.name.clone(), first: network.first, last: network.last }
}

/// Adds ports with their addresses and unique keys.
pub(super) fn add(
    mut change: Change,
    view: &View,
    rack: &Rack,
    node: NodeId,
    holder: &Holder,
    macs: &[MacAddr],
) -> Result<Change, Error> {
    let mut free = rack.network.as_ref().map(|network| (network, free_addresses(view, rack.id, network)));
    for mac in macs {
        let address = match &mut free {
            None => None,
            Some((network, free)) => Some(free.next().ok_or_else(|| no_address(rack, network))?),
        };
        change = put(change, rack.id, node, holder, *mac, address)?;
        if let Some(address) = address {
            change = change.put(&key::address(rack.id, address), holder, Expect::Absent)?;
        }
    }
    Ok(change)
}

/// Adds ports that an inspection found. They get no address, because most NICs of a machine are not on the provisioning
/// network; an operator assigns addresses.
pub(super) fn find(
    mut change: Change,
    rack: RackId,
    node: NodeId,
    holder: &Holder,
    macs: &[MacAddr],
) -> Result<Change, keyspace::Error> {
    for mac in macs {
        change = put(change, rack, node, holder, *mac, None)?;
    }
    Ok(change)
}

fn put(
    change: Change,
    rack: RackId,
    node: NodeId,
    holder: &Holder,
    mac: MacAddr,
    address: Option<Ipv4Addr>,
) -> Result<Change, keyspace::Error> {
    let port = Port { id: PortId::new(uuid::Uuid::new_v4()), node, address, spec: None };
    Ok(change
        .put(&key::mac(mac), holder, Expect::Absent)?
        .put(&key::port(rack, mac), &port, Expect::Absent)?
        .clear(&key::unknown(rack, mac)))
}
