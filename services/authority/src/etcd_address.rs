//! Where the member of etcd of a host is.

use std::net::{IpAddr, SocketAddr};

use service_kit::ports::{ETCD_PEER_PORT, ETCD_PORT};

/// The peer URLs of the member of a host at this address.
#[must_use]
pub fn peer_urls(advertise: IpAddr) -> Vec<String> {
    vec![url(advertise, ETCD_PEER_PORT)]
}

/// The client URLs of the member of a host at this address.
#[must_use]
pub fn client_urls(advertise: IpAddr) -> Vec<String> {
    vec![url(advertise, ETCD_PORT)]
}

/// With brackets around an address of IPv6.
#[must_use]
pub fn url(address: IpAddr, port: u16) -> String {
    format!("https://{}", SocketAddr::new(address, port))
}
