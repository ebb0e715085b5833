//! The `[outbound]` table of a service's configuration.

use serde::{Deserialize, Serialize};

use super::{
    range::{AddressRange, AllowedRange},
    target,
};

/// Rules for requests to servers that users name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// Addresses that are allowed although they are loopback, link-local, of this host, or internal; with ports after a colon,
    /// only with these ports.
    pub allow: Vec<AllowedRange>,
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

#[cfg(test)]
mod tests {
    use super::*;

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
