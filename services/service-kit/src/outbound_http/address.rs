//! What kind of address a destination is. The special ranges are those of IANA's registries (RFC 6890), with the addresses
//! of cloud metadata services, and with IPv4 addresses that are embedded in IPv6 addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reason that an address is not an ordinary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// `0.0.0.0/8` (RFC 1122 §3.2.1.3; Linux connects 0.0.0.0 to itself) and `::`.
    Unspecified,
    /// `127.0.0.0/8` (RFC 1122 §3.2.1.3) and `::1` (RFC 4291 §2.5.3).
    Loopback,
    /// `169.254.0.0/16` (RFC 3927), which includes the metadata services of most clouds, `fe80::/10` (RFC 4291 §2.5.6) and
    /// `fec0::/10` (RFC 3879).
    LinkLocal,
    /// `224.0.0.0/4` (RFC 5771) and `ff00::/8` (RFC 4291 §2.7).
    Multicast,
    /// `255.255.255.255` and the reserved `240.0.0.0/4` (RFC 1112 §4), `100::/64` (RFC 6666).
    Reserved,
    /// A cloud's metadata or host service outside the link-local range.
    Metadata,
    /// An address of this host.
    ThisHost,
    /// An address of a BMC or of a provisioning network.
    Internal,
}

/// Metadata and host services with addresses outside the link-local range: Azure's wire server, Alibaba Cloud, and EC2 over
/// IPv6.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Returns the class of an address by the registries alone. `None` for an ordinary address. The address must not be mapped
/// ([`IpAddr::to_canonical`]).
pub(super) fn class(address: IpAddr) -> Option<AddressClass> {
    if METADATA.contains(&address) {
        return Some(AddressClass::Metadata);
    }
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

fn class_v4(address: Ipv4Addr) -> Option<AddressClass> {
    match address.octets() {
        [0, ..] => Some(AddressClass::Unspecified),
        [127, ..] => Some(AddressClass::Loopback),
        [169, 254, ..] => Some(AddressClass::LinkLocal),
        [224..=239, ..] => Some(AddressClass::Multicast),
        [240..=255, ..] => Some(AddressClass::Reserved),
        _ => None,
    }
}

fn class_v6(address: Ipv6Addr) -> Option<AddressClass> {
    if address.is_unspecified() {
        return Some(AddressClass::Unspecified);
    }
    if address.is_loopback() {
        return Some(AddressClass::Loopback);
    }
    match address.segments() {
        [0xfe80..=0xfeff, ..] => Some(AddressClass::LinkLocal),
        [0xff00..=0xffff, ..] => Some(AddressClass::Multicast),
        [0x100, 0, 0, 0, ..] => Some(AddressClass::Reserved),
        _ => None,
    }
}

/// Returns the IPv4 addresses that a router or a translator may take from an IPv6 address.
pub(super) fn embedded(address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return Vec::new() };
    let bits = address.to_bits();
    let v4 = |shift: u32| Ipv4Addr::from_bits(u32::try_from((bits >> shift) & u128::from(u32::MAX)).unwrap_or(0));
    match address.segments() {
        // IPv4-compatible (RFC 4291 §2.5.5.1), and IPv4-translated (RFC 2765 §2.1).
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => vec![v4(0)],
        // NAT64: the well-known prefix (RFC 6052 §2.1), and the one for local use (RFC 8215), whose networks may be a /48 or
        // a /96 (RFC 6052 §2.2: bits 64 to 71 are zero).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![v4(0)],
        [0x64, 0xff9b, 1, high, low, next, ..] => {
            let [a, b] = high.to_be_bytes();
            let [_, c] = low.to_be_bytes();
            let [d, _] = next.to_be_bytes();
            let both = [v4(0), Ipv4Addr::new(a, b, c, d)];
            // The reading that does not apply has zeros.
            both.into_iter().filter(|address| address.octets().first() != Some(&0)).collect()
        }
        // 6to4 (RFC 3056 §2).
        [0x2002, ..] => vec![v4(80)],
        // Teredo (RFC 4380 §4): the server, and the client with all bits inverted.
        [0x2001, 0, ..] => vec![v4(64), Ipv4Addr::from_bits(!v4(0).to_bits())],
        // ISATAP (RFC 5214 §6.1).
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![v4(0)],
        _ => Vec::new(),
    }
}
