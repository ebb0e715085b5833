//! Where the member of etcd of a host is.

use std::net::{IpAddr, SocketAddr};

/// Port for clients of a host's member.
pub(crate) const CLIENT_PORT: u16 = 2379;
/// Port for the other members of a host's member.
const PEER_PORT: u16 = 2380;

/// The peer URLs of the member of a host at this address.
pub(crate) fn peer_urls(advertise: IpAddr) -> Vec<String> {
    vec![url(advertise, PEER_PORT)]
}

/// The client URLs of the member of a host at this address.
pub(crate) fn client_urls(advertise: IpAddr) -> Vec<String> {
    vec![url(advertise, CLIENT_PORT)]
}

/// With brackets around an address of IPv6.
pub(crate) fn url(address: IpAddr, port: u16) -> String {
    format!("https://{}", SocketAddr::new(address, port))
}
