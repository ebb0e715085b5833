//! The smallest driver of `router_advertisement`: answers router solicitations on one link, for tracing real
//! firmware. `advertise INTERFACE absent|stateless|managed [NETWORK]`

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use integration_tests::rack::advertisement::{Dhcpv6, Prefix, router_advertisement};
use socket2::{Domain, Protocol, Socket, Type};

/// RFC 4861 §4.1.
const SOLICITATION: u8 = 133;

/// A router throws away what may have come from another link (RFC 4861 §6.1.1, §6.1.2).
const HOPS: u32 = 255;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (interface, dhcpv6, network) = match words.as_slice() {
        [interface, dhcpv6] => (interface, dhcpv6, None),
        [interface, dhcpv6, network] => (interface, dhcpv6, Some(network)),
        _ => return Err(io::Error::other("usage: advertise INTERFACE absent|stateless|managed [NETWORK]")),
    };
    let dhcpv6 = match dhcpv6.as_str() {
        "absent" => Dhcpv6::Absent,
        "stateless" => Dhcpv6::Stateless,
        _ => Dhcpv6::Managed,
    };
    let network = network.map(|network| network.parse()).transpose().map_err(io::Error::other)?;
    let prefix = network.map(|network| Prefix { network, length: 64, seconds: 3600 });
    let message = router_advertisement(prefix, dhcpv6);
    let index = fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
    let index = index.trim().parse().map_err(io::Error::other)?;
    answer(&socket(interface, index)?, index, &message)
}

/// A raw socket bound to one link. It needs CAP_NET_RAW. (To std a raw socket and a UDP socket are alike.)
fn socket(interface: &str, index: u32) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_unicast_hops_v6(HOPS)?;
    socket.set_multicast_hops_v6(HOPS)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_loop_v6(false)?;
    // Otherwise a bridge that snoops keeps solicitations from us.
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    Ok(socket.into())
}

fn answer(socket: &UdpSocket, index: u32, message: &[u8]) -> io::Result<()> {
    let everyone = SocketAddr::V6(SocketAddrV6::new(ALL_NODES, 0, 0, index));
    socket.send_to(message, everyone)?;
    let mut buffer = [0; 1500];
    loop {
        // The kernel gives a raw ICMPv6 socket the message without its IPv6 header.
        let (_, from) = socket.recv_from(&mut buffer)?;
        if buffer.first() == Some(&SOLICITATION) {
            eprintln!("< solicitation from {from}");
            // One without an address yet hears what all hear (RFC 4861 §6.2.6).
            socket.send_to(message, if from.ip().is_unspecified() { everyone } else { from })?;
        }
    }
}
