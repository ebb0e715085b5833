//! Addresses that the store knows to be internal: provisioning networks, and BMCs.

use std::net::IpAddr;

use domain::net::BmcAddr;
use keyspace::{key, view::View};

/// Returns whether an address is in a provisioning network of a rack, or that of a BMC.
pub(crate) fn contains(view: &View, address: IpAddr) -> bool {
    is_bmc(view, address) || in_network(view, address)
}

fn in_network(view: &View, address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    let racks = view.list(&key::racks()).into_iter();
    racks.filter_map(|(_, rack)| rack.value.network).any(|network| network.subnet.contains(address))
}

/// A BMC that is registered by name is not found: its address is that of a resolver.
fn is_bmc(view: &View, address: IpAddr) -> bool {
    let of_port = |port| key::bmc(&BmcAddr { host: address.to_string(), port });
    let any = of_port(0);
    // The key ends with the port.
    any.path().rsplit_once(':').is_some_and(|(host, _)| !view.paths(&format!("{host}:")).is_empty())
}
