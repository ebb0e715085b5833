//! Hardware addresses of network interfaces: `htype`, `hlen` and `chaddr` of RFC 2131 §2.
#![deny(clippy::arithmetic_side_effects)]

use std::fmt;

/// Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Mac {
    /// Returns whether it is the address of one interface: neither a group's nor all zero.
    pub(crate) fn is_unicast(self) -> bool {
        let Self(octets) = self;
        let [first, ..] = octets;
        first & 1 == 0 && octets != [0; 6]
    }
}

/// Interface of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hardware {
    /// Ethernet: `htype` 1 with 6 octets.
    Ethernet(Mac),
    /// InfiniBand: `htype` 32.
    Infiniband(InfinibandAddress),
}

impl Hardware {
    /// Returns the MAC address of the interface. An InfiniBand interface has one for people and inventories, which is
    /// computed from its GUID; `None` if it did not send that.
    #[must_use]
    pub fn mac(&self) -> Option<Mac> {
        match self {
            Self::Ethernet(mac) => Some(*mac),
            Self::Infiniband(address) => address.mac(),
        }
    }
}

impl From<Mac> for Hardware {
    fn from(mac: Mac) -> Self {
        Self::Ethernet(mac)
    }
}

/// What an InfiniBand interface sends as its address. RFC 4390 §2.1 requires none, because an address of 20 octets does not
/// fit; iPXE sends the GUID of 8 octets all the same, and UEFI firmware a MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InfinibandAddress {
    chaddr: [u8; Self::MAX_OCTETS],
    length: usize,
}

impl InfinibandAddress {
    /// Size of `chaddr`, in octets.
    pub(crate) const MAX_OCTETS: usize = 16;

    /// Copies an address. What is longer than `chaddr` is cut.
    pub(crate) fn new(octets: &[u8]) -> Self {
        let mut chaddr = [0; Self::MAX_OCTETS];
        for (to, from) in chaddr.iter_mut().zip(octets) {
            *to = *from;
        }
        Self { chaddr, length: octets.len().min(Self::MAX_OCTETS) }
    }

    pub(crate) fn octets(&self) -> &[u8] {
        self.chaddr.get(..self.length).unwrap_or_default()
    }

    /// Returns the MAC address: the outer six octets of the GUID, as in the names that Linux, Ironic and xCAT give to the
    /// interface (github.com/xcat2/xcat-core/pull/7418).
    fn mac(&self) -> Option<Mac> {
        let mac = match *self.octets() {
            [a, b, c, _, _, d, e, f] | [a, b, c, d, e, f] => Mac([a, b, c, d, e, f]),
            _ => return None,
        };
        mac.is_unicast().then_some(mac)
    }
}
