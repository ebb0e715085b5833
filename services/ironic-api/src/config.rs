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
    /// Only where the API listens on loopback, and only calls that did not come through a proxy.
    #[default]
    Loopback,
    /// On each address.
    Always,
    /// Nowhere.
    Never,
}

impl RestAgents {
    /// Returns the setting as it applies to a listener on this address.
    #[must_use]
    pub const fn at(self, listener: IpAddr) -> Self {
        if matches!(self, Self::Loopback) && !listener.is_loopback() { Self::Never } else { self }
    }

    /// Returns whether a call is passed on. `is_forwarded`: it came through a proxy, so that its caller may be anywhere.
    pub(crate) const fn passes_on(self, is_forwarded: bool) -> bool {
        match self {
            Self::Loopback => !is_forwarded,
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
        // Setting, listener, and whether a call is passed on that came directly, and one that came through a proxy.
        for (setting, listener, direct, forwarded) in [
            (RestAgents::default(), "127.0.0.1", true, false),
            (RestAgents::default(), "::1", true, false),
            (RestAgents::default(), "0.0.0.0", false, false),
            (RestAgents::default(), "10.0.0.9", false, false),
            (RestAgents::Always, "10.0.0.9", true, true),
            (RestAgents::Never, "127.0.0.1", false, false),
        ] {
            let setting = setting.at(listener.parse().unwrap());
            assert_eq!(
                (setting.passes_on(false), setting.passes_on(true)),
                (direct, forwarded),
                "{setting:?} {listener}"
            );
        }
    }
}
