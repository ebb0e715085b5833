//! The provisioning networks of the racks that a service follows: a scheduler all of them, others their own.

use std::net::IpAddr;

use crate::{View, key};

/// Returns whether an address is in the provisioning network of a rack that a view has.
#[must_use]
pub fn contains(view: &View, address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    let racks = view.list(&key::racks()).into_iter();
    racks.filter_map(|(_, rack)| rack.value.network).any(|network| network.subnet.contains(address))
}
