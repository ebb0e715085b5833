//! Addresses and networks of a configuration.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address, or a network such as `10.0.0.0/8` or `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange(IpNet);

impl AddressRange {
    /// Returns whether the address is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

/// Error for a text that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct ParseRangeError(String);

impl FromStr for AddressRange {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let range = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        range.map(|range| Self(range.trunc())).map_err(|_| ParseRangeError(text.to_owned()))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for AddressRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Addresses that are allowed, with their ports: `10.0.0.0/8`, `10.0.0.7:443`, `10.0.0.0/8:8000-8100`, `[fd00::/8]:443`,
/// `10.0.0.7:*`. Without ports, all are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedRange {
    range: AddressRange,
    /// First and last port.
    ports: (u16, u16),
}

/// Every port.
const ALL_PORTS: (u16, u16) = (0, u16::MAX);

/// Error for a text that is not an allowed destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAllowedError {
    /// The address is invalid.
    #[error(transparent)]
    Range(#[from] ParseRangeError),
    /// The ports are invalid.
    #[error(
        "{0:?} must end with a port, a range of ports such as 8000-8100, or *; write IPv6 addresses with ports in brackets"
    )]
    Ports(String),
}

impl AllowedRange {
    /// Returns whether a destination is allowed. Without a port: whether the address is allowed with every port.
    pub(super) fn contains(&self, address: IpAddr, port: Option<u16>) -> bool {
        let (first, last) = self.ports;
        let has_port = port.map_or(self.ports == ALL_PORTS, |port| (first..=last).contains(&port));
        has_port && self.range.contains(address)
    }

    /// Returns whether it is about this port, and not about all of them.
    pub(super) fn singles_out(&self, port: u16) -> bool {
        let (first, last) = self.ports;
        self.ports != ALL_PORTS && (first..=last).contains(&port)
    }
}

impl From<AddressRange> for AllowedRange {
    fn from(range: AddressRange) -> Self {
        Self { range, ports: ALL_PORTS }
    }
}

impl FromStr for AllowedRange {
    type Err = ParseAllowedError;

    fn from_str(text: &str) -> Result<Self, ParseAllowedError> {
        if let Ok(range) = text.parse::<AddressRange>() {
            return Ok(range.into());
        }
        // An IPv6 address has colons of its own.
        let (address, ports) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap_or((text, "")),
            None if text.matches(':').count() == 1 => text.split_at(text.find(':').unwrap_or(text.len())),
            None => (text, ""),
        };
        let range: AddressRange = address.parse()?;
        let wrong = || ParseAllowedError::Ports(text.to_owned());
        let ports = match ports.strip_prefix(':').ok_or_else(wrong)? {
            "*" => ALL_PORTS,
            ports => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                // `parse` would accept a sign.
                let port = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|octet| octet.is_ascii_digit()));
                let (first, last) = port(first).zip(port(last)).ok_or_else(wrong)?;
                if first == 0 || first > last {
                    return Err(wrong());
                }
                (first, last)
            }
        };
        Ok(Self { range, ports })
    }
}

impl fmt::Display for AllowedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { range, ports: (first, last) } = self;
        match (self.ports == ALL_PORTS, matches!(range.0, IpNet::V6(_))) {
            (true, _) => return range.fmt(f),
            (false, true) => write!(f, "[{range}]:{first}")?,
            (false, false) => write!(f, "{range}:{first}")?,
        }
        if first == last { Ok(()) } else { write!(f, "-{last}") }
    }
}

impl Serialize for AllowedRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AllowedRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_an_address_or_a_network_and_is_printed_as_a_network() {
        for (text, printed) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(text.parse::<AddressRange>().unwrap().to_string(), printed);
        }
        for wrong in ["", "10.0.0.0/33", "localhost", "10.0.0", "10.0.0.1:80", "fe80::1%eth0"] {
            wrong.parse::<AddressRange>().unwrap_err();
        }
    }

    #[test]
    fn an_allowed_range_may_name_ports_and_is_printed_so_that_it_reads_back() {
        for (text, printed) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.7:*", "10.0.0.7/32"),
            ("10.0.0.0/8:443", "10.0.0.0/8:443"),
            ("127.0.0.1:8000-8100", "127.0.0.1/32:8000-8100"),
            ("::1", "::1/128"),
            ("[::1]:8000-8100", "[::1/128]:8000-8100"),
            ("[fd00::/8]:443", "[fd00::/8]:443"),
            ("[fd00::/8]:*", "fd00::/8"),
            ("10.0.0.7:1-65535", "10.0.0.7/32:1-65535"),
        ] {
            let range: AllowedRange = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(range.to_string(), printed);
            assert_eq!(printed.parse::<AllowedRange>().unwrap(), range, "{text}");
        }
        for wrong in [
            "",
            ":80",
            "10.0.0.7:",
            "10.0.0.7:0",
            "10.0.0.7:65536",
            "10.0.0.7:9-8",
            "10.0.0.7:http",
            "10.0.0.7:+80",
            "10.0.0.7:80-",
            "[::1]",
            "[::1]80",
            "[::1",
            "::1]:80",
            "localhost:80",
            "10.0.0.7:80:81",
            "10.0.0.7/33:80",
        ] {
            assert!(wrong.parse::<AllowedRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_allowed_by_the_range_that_names_it_or_names_none() {
        let address = "10.0.0.7".parse().unwrap();
        for (range, port, is_allowed, is_single) in [
            ("10.0.0.7", 80, true, false),
            ("10.0.0.7:*", 80, true, false),
            ("10.0.0.7:80", 80, true, true),
            ("10.0.0.7:80", 81, false, false),
            ("10.0.0.0/8:8000-8100", 8000, true, true),
            ("10.0.0.0/8:8000-8100", 8100, true, true),
            ("10.0.0.0/8:8000-8100", 8101, false, false),
            ("10.0.0.8:80", 80, false, true),
        ] {
            let parsed: AllowedRange = range.parse().unwrap();
            assert_eq!(parsed.contains(address, Some(port)), is_allowed, "{range} {port}");
            assert_eq!(parsed.singles_out(port), is_single, "{range} {port}");
            let has_all_ports = !range.contains(':') || range.ends_with('*');
            assert_eq!(parsed.contains(address, None), has_all_ports, "{range}");
        }
    }
}
