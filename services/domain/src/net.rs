//! Addresses of NICs, BMCs and provisioning networks.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// MAC address of a NIC. Displayed in lower case with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

/// Error for a text that is not an address of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct ParseAddressError {
    wanted: &'static str,
    text: String,
}

impl ParseAddressError {
    fn new(wanted: &'static str, text: &str) -> Self {
        Self { wanted, text: text.to_owned() }
    }
}

impl MacAddr {
    /// Creates an address from its six octets.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// Returns the six octets.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Returns whether the address can belong to a single NIC: neither all zero nor a group address (IEEE 802, the
    /// lowest bit of the first octet).
    #[must_use]
    pub fn is_unicast(self) -> bool {
        self.0 != [0; 6] && self.0.first().is_some_and(|first| first & 1 == 0)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
impl FromStr for MacAddr {
    type Err = ParseAddressError;
    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let wrong = || ParseAddressError::new("a MAC address such as 52:54:00:12:34:56", text);
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(octets)) }
    }
}

/// Address of a BMC, which is its identity within a datacenter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BmcAddr {
    /// IP address or DNS name, in lower case.
    pub host: String,
    /// UDP port; the default for IPMI is 623 (IPMI 2.0 §13.1.2).
    pub port: u16,
}

/// Port of RMCP (IPMI 2.0 §13.1.2).
pub const IPMI_PORT: u16 = 623;
/// Maximum length of a DNS name (RFC 1035 §2.3.4).
const MAX_NAME_CHARS: usize = 253;

impl fmt::Display for BmcAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
impl FromStr for BmcAddr {
    type Err = ParseAddressError;
    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let wrong = || ParseAddressError::new("a BMC address such as 10.0.0.5, bmc7.example:623", text);
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (text, IPMI_PORT),
        };
        let fits = !host.is_empty()
            && host.len() <= MAX_NAME_CHARS
            && port != 0
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        if fits { Ok(Self { host: host.to_ascii_lowercase(), port }) } else { Err(wrong()) }
    }
}

/// IPv4 network, such as `10.77.1.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// Creates the network of `address`, or returns `None` if `prefix` is more than 30.
    #[must_use]
    pub fn around(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 30).then(|| Self { network: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)), prefix })
    }

    /// Returns whether the address is in the network.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.network.to_bits()
    }

    /// Returns the netmask.
    #[must_use]
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix))
    }

    /// Returns the prefix length.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}
impl FromStr for Subnet {
    type Err = ParseAddressError;
    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        text.split_once('/')
            .and_then(|(address, prefix)| Self::around(address.parse().ok()?, prefix.parse().ok()?))
            .ok_or_else(|| ParseAddressError::new("an IPv4 network such as 10.77.1.0/24", text))
    }
}

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
pub(crate) use as_text;
as_text!(MacAddr, BmcAddr, Subnet);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_parsed_with_colons_or_dashes_and_displayed_with_colons() {
        let mac: MacAddr = "52-54-00-AB-cd-0f".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:0f");
        for wrong in ["", "52:54:00:ab:cd", "52:54:00:ab:cd:0f:11", "52:54:0:ab:cd:0f", "zz:54:00:ab:cd:0f"] {
            assert!(wrong.parse::<MacAddr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bmc_address_without_a_port_has_the_ipmi_port() {
        assert_eq!("10.0.0.5".parse::<BmcAddr>().unwrap().to_string(), "10.0.0.5:623");
        assert_eq!("BMC7:1623".parse::<BmcAddr>().unwrap().to_string(), "bmc7:1623");
        for wrong in ["", ":623", "a b", "10.0.0.5:0", "10.0.0.5:70000"] {
            assert!(wrong.parse::<BmcAddr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_subnet_contains_its_addresses() {
        let subnet: Subnet = "10.77.1.9/24".parse().unwrap();
        assert_eq!(subnet.to_string(), "10.77.1.0/24");
        assert_eq!(subnet.netmask(), Ipv4Addr::new(255, 255, 255, 0));
        assert!(subnet.contains(Ipv4Addr::new(10, 77, 1, 200)) && !subnet.contains(Ipv4Addr::new(10, 77, 2, 1)));
    }
}
