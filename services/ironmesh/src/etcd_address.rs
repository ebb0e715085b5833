//! Where the member of etcd of a host is.

use std::net::{IpAddr, SocketAddr};

use service_kit::ports::ETCD_PEER_PORT as PEER_PORT;
pub(crate) use service_kit::ports::ETCD_PORT as CLIENT_PORT;

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
