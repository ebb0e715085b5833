//! The addresses and ports of a host: the one table from which services are configured and firewalls are opened.

use std::net::{IpAddr, SocketAddr};

use domain::service::Service;
use serde::Serialize;

use super::config::{HostConfig, RackConfig};

pub(crate) use service_kit::ports::{
    AGENTS_PORT, AUTHORITY_PORT, BOOT_FILES_PORT, ETCD_PEER_PORT, ETCD_PORT, IMAGES_PORT, IRONIC_AGENTS_PORT,
    SCHEDULER_PORT,
};
use service_kit::ports::{MONITOR_OFFSET, RACK_PORT, RACK_STRIDE};

/// Which way a connection is opened, as seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// To the host.
    In,
    /// From the host.
    Out,
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// A port that a firewall must let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Port {
    pub(crate) direction: Direction,
    pub(crate) protocol: Protocol,
    /// The address on the host, if the connection is to it.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    /// The other side.
    pub(crate) peer: String,
    pub(crate) purpose: String,
}

/// Returns the port of a service for gRPC. The slot says which of the host's racks the service serves.
pub(crate) const fn grpc(service: Service, slot: u8) -> u16 {
    let number = match service {
        Service::Power => 0,
        Service::Pxe => 1,
        Service::Storage => 2,
        Service::Inventory => 3,
        Service::Scheduler => return SCHEDULER_PORT,
    };
    RACK_PORT + RACK_STRIDE * slot as u16 + number
}

/// Returns the port of a service for metrics and health.
pub(crate) const fn monitor(service: Service, slot: u8) -> u16 {
    grpc(service, slot) + MONITOR_OFFSET
}

/// Returns all ports of a host, those to it first.
pub(crate) fn table(host: &HostConfig, is_authority: bool) -> Vec<Port> {
    let mut ports = Vec::new();
    if is_authority {
        ports.push(on_host(host, AUTHORITY_PORT, "hosts", "join, certificates (TLS)"));
    }
    if host.store {
        ports.push(on_host(host, ETCD_PORT, "hosts", "etcd, clients (TLS)"));
        ports.push(on_host(host, ETCD_PEER_PORT, "hosts with the store", "etcd, members (TLS)"));
    }
    if let Some(scheduler) = &host.scheduler {
        let peer = "hosts, users of ironmesh";
        ports.push(on_host(host, SCHEDULER_PORT, peer, "scheduler-service, gRPC (TLS)"));
        if !scheduler.rest.ip().is_loopback() {
            ports.push(incoming(Protocol::Tcp, scheduler.rest, "users of Ironic's API", "scheduler-service, REST"));
        }
        monitors(host, Service::Scheduler, 0, &mut ports);
    }
    for rack in &host.racks {
        of_rack(host, rack, &mut ports);
    }
    outgoing(host, is_authority, &mut ports);
    ports
}

fn of_rack(host: &HostConfig, rack: &RackConfig, ports: &mut Vec<Port>) {
    let name = &rack.name;
    for service in &rack.services {
        let purpose = format!("{service} of rack {name:?}, gRPC (TLS)");
        ports.push(on_host(host, grpc(*service, rack.slot), "hosts", &purpose));
        monitors(host, *service, rack.slot, ports);
    }
    let peer = format!("machines of rack {name:?}");
    for address in rack.addresses.iter().map(|address| IpAddr::from(*address)).take(1) {
        let mut add = |service: Service, protocol, port, purpose: &str| {
            if rack.services.contains(&service) {
                ports.push(incoming(protocol, SocketAddr::new(address, port), &peer, purpose));
            }
        };
        add(Service::Pxe, Protocol::Udp, 67, "DHCP (broadcasts to 255.255.255.255 too)");
        add(Service::Pxe, Protocol::Udp, 69, "TFTP, and replies from other ports");
        add(Service::Pxe, Protocol::Tcp, BOOT_FILES_PORT, "boot files, HTTP");
        add(Service::Storage, Protocol::Tcp, IMAGES_PORT, "images, HTTP");
        add(Service::Inventory, Protocol::Tcp, AGENTS_PORT, "agents (TLS)");
        add(Service::Inventory, Protocol::Tcp, IRONIC_AGENTS_PORT, "agents of Ironic (TLS)");
    }
}

fn outgoing(host: &HostConfig, is_authority: bool, ports: &mut Vec<Port>) {
    let mut add = |protocol, port, peer: &str, purpose: &str| {
        let (peer, purpose) = (peer.to_owned(), purpose.to_owned());
        ports.push(Port { direction: Direction::Out, protocol, address: None, port, peer, purpose });
    };
    if !is_authority && let Some(port) = port_of(&host.authority) {
        add(Protocol::Tcp, port, &host.authority, "the authority: join, certificates (TLS)");
    }
    for member in &host.etcd {
        let authority = member.strip_prefix("https://").unwrap_or(member);
        add(Protocol::Tcp, port_of(authority).unwrap_or(ETCD_PORT), authority, "etcd, clients (TLS)");
    }
    if host.store {
        add(Protocol::Tcp, ETCD_PEER_PORT, "hosts with the store", "etcd, members (TLS)");
    }
    if host.scheduler.is_some() {
        add(Protocol::Tcp, RACK_PORT, "hosts with racks", "services of racks, gRPC (TLS), 7400 to 7483");
    }
    let has = |service| host.racks.iter().any(|rack| rack.services.contains(&service));
    if has(Service::Power) {
        add(Protocol::Udp, 623, "BMCs", "IPMI");
        add(Protocol::Tcp, 443, "BMCs", "Redfish (HTTPS)");
    }
    if host.scheduler.is_none() && (has(Service::Inventory) || has(Service::Pxe)) {
        add(Protocol::Tcp, SCHEDULER_PORT, "hosts with a scheduler", "scheduler-service, gRPC (TLS)");
    }
}

/// Metrics and health, which are plain HTTP, if they can be reached from elsewhere.
fn monitors(host: &HostConfig, service: Service, slot: u8, ports: &mut Vec<Port>) {
    if !host.monitor.is_loopback() {
        let at = SocketAddr::new(host.monitor, monitor(service, slot));
        ports.push(incoming(Protocol::Tcp, at, "monitoring", &format!("{service}, metrics and health (HTTP)")));
    }
}

fn on_host(host: &HostConfig, port: u16, peer: &str, purpose: &str) -> Port {
    incoming(Protocol::Tcp, SocketAddr::new(host.advertise, port), peer, purpose)
}

fn incoming(protocol: Protocol, at: SocketAddr, peer: &str, purpose: &str) -> Port {
    Port {
        direction: Direction::In,
        protocol,
        address: Some(at.ip()),
        port: at.port(),
        peer: peer.to_owned(),
        purpose: purpose.to_owned(),
    }
}

fn port_of(authority: &str) -> Option<u16> {
    authority.rsplit_once(':')?.1.parse().ok()
}

/// Formats ports as a table for people.
pub(crate) fn shown(ports: &[Port]) -> String {
    let rows = ports.iter().map(|port| {
        let direction = if port.direction == Direction::In { "in" } else { "out" };
        let protocol = if port.protocol == Protocol::Tcp { "tcp" } else { "udp" };
        let address = port.address.map_or_else(|| "any".to_owned(), |address| address.to_string());
        let [direction, protocol] = [direction, protocol].map(str::to_owned);
        vec![direction, protocol, address, port.port.to_string(), port.peer.clone(), port.purpose.clone()]
    });
    let heading = ["DIRECTION", "PROTOCOL", "ADDRESS", "PORT", "PEER", "PURPOSE"];
    crate::store::columns(&heading, rows.collect())
}

#[cfg(test)]
mod tests {
    use service_kit::ports::MAX_RACKS;

    use super::*;
    use crate::host::config::tests::host;

    #[test]
    fn no_two_services_of_a_host_share_a_port() {
        let mut all = vec![AUTHORITY_PORT, SCHEDULER_PORT, 6385, ETCD_PORT, ETCD_PEER_PORT];
        all.push(monitor(Service::Scheduler, 0));
        for slot in 0..MAX_RACKS {
            for service in [Service::Power, Service::Pxe, Service::Storage, Service::Inventory] {
                all.extend([grpc(service, slot), monitor(service, slot)]);
            }
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        // Another rack would collide.
        assert_eq!(grpc(Service::Power, MAX_RACKS), monitor(Service::Scheduler, 0));
    }

    #[test]
    fn the_port_of_a_service_follows_from_the_slot_of_its_rack() {
        for (service, slot, port) in [
            (Service::Power, 0, 7400),
            (Service::Pxe, 0, 7401),
            (Service::Storage, 0, 7402),
            (Service::Inventory, 0, 7403),
            (Service::Power, 1, 7410),
            (Service::Inventory, 8, 7483),
            (Service::Scheduler, 0, 7390),
            (Service::Scheduler, 5, 7390),
        ] {
            assert_eq!((grpc(service, slot), monitor(service, slot)), (port, port + 100), "{service} {slot}");
        }
    }

    #[test]
    fn the_table_has_what_the_host_runs_and_nothing_else() {
        let [v4, v6] = ["10.0.0.12", "fd00::12"].map(|text| text.parse::<IpAddr>().unwrap());
        let incoming = |host: &HostConfig, is_authority| -> Vec<String> {
            let ports = table(host, is_authority);
            let into = ports.iter().filter(|port| port.direction == Direction::In);
            into.map(|port| SocketAddr::new(port.address.unwrap(), port.port).to_string()).collect()
        };
        // What is changed of a host without anything, whether it has the CA's keys, and its addresses.
        let rack = |services: &[Service], addresses: &[&str]| RackConfig {
            services: services.iter().copied().collect(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..RackConfig::named("r7", 2)
        };
        let empty = HostConfig { store: false, scheduler: None, racks: Vec::new(), ..host(v4) };
        let of_rack = |rack| HostConfig { racks: vec![rack], ..empty.clone() };
        for (case, host, is_authority, expected) in [
            ("nothing", empty.clone(), false, vec![]),
            ("the authority", empty.clone(), true, vec!["10.0.0.12:7380"]),
            ("the store", HostConfig { store: true, ..empty.clone() }, false, vec!["10.0.0.12:2379", "10.0.0.12:2380"]),
            (
                "the store, IPv6",
                HostConfig { store: true, advertise: v6, ..empty.clone() },
                false,
                vec!["[fd00::12]:2379", "[fd00::12]:2380"],
            ),
            ("a rack without network", of_rack(rack(&[Service::Power], &[])), false, vec!["10.0.0.12:7420"]),
            (
                "storage with a network",
                of_rack(rack(&[Service::Storage], &["10.77.1.1"])),
                false,
                vec!["10.0.0.12:7422", "10.77.1.1:8081"],
            ),
            (
                "pxe with a network",
                of_rack(rack(&[Service::Pxe], &["10.77.1.1"])),
                false,
                vec!["10.0.0.12:7421", "10.77.1.1:67", "10.77.1.1:69", "10.77.1.1:8080"],
            ),
            (
                "a monitor that can be reached",
                HostConfig { monitor: v4, ..of_rack(rack(&[Service::Power], &[])) },
                false,
                vec!["10.0.0.12:7420", "10.0.0.12:7520"],
            ),
        ] {
            assert_eq!(incoming(&host, is_authority), expected, "{case}");
        }
    }

    #[test]
    fn what_is_called_is_in_the_table() {
        let host = host("10.0.0.12".parse().unwrap());
        let ports = table(&host, false);
        let out: Vec<_> = ports.iter().filter(|port| port.direction == Direction::Out).collect();
        for (port, peer) in [(7380, "10.0.0.11:7380"), (2379, "10.0.0.11:2379"), (623, "BMCs"), (443, "BMCs")] {
            assert!(out.iter().any(|row| row.port == port && row.peer == peer), "{port} {peer}: {out:#?}");
        }
        let text = shown(&ports);
        assert!(text.starts_with("DIRECTION") && text.contains("IPMI"), "{text}");
    }
}
