//! Configuration of the REST listener.

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The `[scheduler.rest_tls]` table: the certificate of the REST API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestTls {
    /// Certificate chain, leaf first (PEM). Empty for plain HTTP.
    pub certificate: PathBuf,
    /// Private key of the certificate (PEM).
    pub key: PathBuf,
}

impl RestTls {
    /// Returns whether the listener uses HTTPS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    /// Returns what is wrong with the table, if anything.
    pub fn problems(&self) -> Option<String> {
        let is_whole = self.is_on() != self.key.as_os_str().is_empty();
        (!is_whole).then(|| "scheduler.rest_tls: certificate and key go together; name both, or neither".to_owned())
    }
}

/// Where the REST API passes calls of agents (lookup, heartbeat, inspection reports) on to their rack
/// (`scheduler.rest_agents`).
///
/// An agent's call proves its place by its source address, which is lost on the way through this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestAgents {
    /// Only where the API listens on loopback.
    #[default]
    Loopback,
    /// On each address.
    Always,
    /// Nowhere.
    Never,
}

impl RestAgents {
    /// Returns whether calls are passed on by a listener on this address.
    #[must_use]
    pub const fn allows(self, listener: IpAddr) -> bool {
        match self {
            Self::Loopback => listener.is_loopback(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_agents_are_passed_on_from_loopback_unless_configured_otherwise() {
        for (setting, listener, allowed) in [
            (RestAgents::default(), "127.0.0.1", true),
            (RestAgents::default(), "::1", true),
            (RestAgents::default(), "0.0.0.0", false),
            (RestAgents::default(), "10.0.0.9", false),
            (RestAgents::Always, "10.0.0.9", true),
            (RestAgents::Never, "127.0.0.1", false),
        ] {
            assert_eq!(setting.allows(listener.parse().unwrap()), allowed, "{setting:?} {listener}");
        }
    }
}
