//! The `[outbound]` table of a service's configuration.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::target;

/// Rules for requests to servers that users name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// Addresses that are allowed although they are loopback, link-local, of this host, or internal.
    pub allow: Vec<AddressRange>,
    /// Networks of BMCs, and provisioning networks.
    pub internal: Vec<AddressRange>,
    /// URL of an HTTP proxy; empty: none. It is taken from here alone, not from the environment.
    pub proxy: String,
    /// Hosts that are reached without the proxy: names with their subdomains, addresses, networks, or `*`.
    pub no_proxy: Vec<String>,
}

impl OutboundConfig {
    /// Returns a message for each invalid key.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        if self.proxy.is_empty() {
            return Vec::new();
        }
        match target::parse(&self.proxy) {
            Err(error) => vec![format!("outbound.proxy: {error}")],
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                vec!["outbound.proxy: must not contain a user or a password: this configuration is printed".to_owned()]
            }
            Ok(_) => Vec::new(),
        }
    }
}

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
    fn a_proxy_must_be_a_url_without_credentials() {
        let problems = |proxy: &str| OutboundConfig { proxy: proxy.to_owned(), ..OutboundConfig::default() }.problems();
        assert!(problems("").is_empty() && problems("http://proxy:3128").is_empty());
        for wrong in ["proxy:3128", "socks5://proxy:1080", "http://ann:secret@proxy:3128", "http://"] {
            assert_eq!(problems(wrong).len(), 1, "{wrong}");
            assert!(!problems(wrong).concat().contains("secret"));
        }
    }
}
