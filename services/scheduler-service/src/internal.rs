//! Addresses that the store knows to be internal: provisioning networks, and BMCs.

use std::net::IpAddr;

use domain::net::BmcAddr;
use keyspace::{key, rack_networks, view::View};

/// Returns whether an address is in a provisioning network of a rack, or that of a BMC.
pub(crate) fn contains(view: &View, address: IpAddr) -> bool {
    is_bmc(view, address) || rack_networks::contains(view, address)
}

/// A BMC that is registered by name is not found: its address is that of a resolver.
fn is_bmc(view: &View, address: IpAddr) -> bool {
    let of_port = |port| key::bmc(&BmcAddr { host: address.to_string(), port });
    let any = of_port(0);
    // The key ends with the port.
    any.path().rsplit_once(':').is_some_and(|(host, _)| !view.paths(&format!("{host}:")).is_empty())
}

#[cfg(test)]
mod tests {
    use domain::{net::Subnet, provision::State};
    use keyspace::value::{Network, Rack};
    use scheduler_testing::{RACK, TestNode, World};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn networks_of_racks_and_registered_bmcs_are_internal() {
        let world = World::up().await.unwrap();
        let view = world.app.registry.view().clone();
        let subnet: Subnet = "10.77.1.0/24".parse().unwrap();
        let at = |last| std::net::Ipv4Addr::new(10, 77, 1, last);
        let network = Network {
            subnet,
            first: at(100),
            last: at(199),
            router: None,
            name_servers: Vec::new(),
            server_identifier: at(3),
        };
        let rack = view.get(&key::rack(RACK)).unwrap().value;
        world.write(&key::rack(RACK), &Rack { network: Some(network), ..rack }).unwrap();
        let bmc: BmcAddr = "10.9.9.9:623".parse().unwrap();
        let holder = keyspace::value::Holder {
            kind: "node".to_owned(),
            id: TestNode::new(7, State::Available).id.uuid(),
            name: "n7".to_owned(),
        };
        let last = world.write(&key::bmc(&bmc), &holder).unwrap();
        world.sees(last).await.unwrap();
        for (address, is_internal) in [
            ("10.77.1.101", true),
            ("10.77.1.1", true),
            ("10.77.2.1", false),
            ("10.9.9.9", true),
            ("10.9.9.99", false),
            ("10.9.9.8", false),
            ("fd00::9", false),
        ] {
            assert_eq!(contains(&view, address.parse().unwrap()), is_internal, "{address}");
        }
    }
}
