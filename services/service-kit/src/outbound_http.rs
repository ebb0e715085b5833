//! The HTTP client for servers that others name: image and config drive URLs, webhooks, identity servers, agents.
//!
//! | module | content |
//! |---|---|
//! | `address` | what kind of address a destination is, pure |
//! | [`policy`] | which destinations a purpose may reach, pure |
//! | `target` | reads URLs, pure |
//! | `redirect` | where a redirect leads and what it may carry along, pure |
//! | `proxy` | which requests go through the configured proxy, pure |
//! | `rate` | how often a server is sent requests, pure |
//! | `progress` | whether a transfer is too slow, pure |
//! | `resolver` | resolves names, and returns only addresses that the policy allows |
//! | `limits` | sizes and times by purpose, pure |
//! | `factory` | creates HTTP clients with that resolver |
//! | [`client`](OutboundClient) | sends requests |
//!
//! A name is checked by the addresses that it resolves to, in the resolver of the client: what is checked is what is
//! connected to, so that a name whose address changes between the check and the connection (DNS rebinding) gains nothing.

mod address;
mod client;
mod config;
mod error;
mod factory;
mod limits;
pub mod policy;
mod progress;
mod proxy;
mod range;
mod rate;
mod redirect;
mod resolver;
mod target;

pub use client::{OutboundClient, OutboundRequest, OutboundResponse};
pub use config::OutboundConfig;
pub use error::{Destination, OutboundError};
pub use factory::Trust;
pub use policy::{Purpose, Refused};
pub use range::{AddressRange, AllowedRange, ParseAllowedError, ParseRangeError};
pub use target::redacted;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use reqwest::Url;

use self::{
    policy::Policy,
    proxy::NoProxy,
    rate::RateTable,
    resolver::{Lookup, LookupError, SystemLookup},
};

/// Creates clients for requests to servers that others name. Clones share the same policy.
#[derive(Clone)]
pub struct Outbound {
    policy: Arc<Policy>,
    proxy: Option<Url>,
    no_proxy: NoProxy,
    lookup: Arc<dyn Lookup>,
    rates: RateTable,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Default for Outbound {
    /// Without a proxy, and without addresses that are allowed in addition.
    fn default() -> Self {
        Self {
            policy: Arc::default(),
            proxy: None,
            no_proxy: NoProxy::default(),
            lookup: Arc::new(SystemLookup),
            rates: RateTable::default(),
        }
    }
}

impl Outbound {
    /// Creates it from the `[outbound]` table of a service's configuration.
    ///
    /// # Errors
    /// [`OutboundError::Url`] if the URL of the proxy is invalid.
    pub fn new(config: &OutboundConfig) -> Result<Self, OutboundError> {
        let proxy = (!config.proxy.is_empty()).then(|| target::parse(&config.proxy)).transpose()?;
        Ok(Self {
            policy: Arc::new(Policy::new(config.allow.clone(), config.internal.clone())),
            proxy,
            no_proxy: NoProxy::new(&config.no_proxy),
            ..Self::default()
        })
    }

    /// Adds addresses that are known to belong to a BMC or a provisioning network, for example because they are
    /// registered in the store. `is_internal` is called for each check, and must not block.
    #[must_use]
    pub fn with_internal(self, is_internal: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { policy: Arc::new(self.policy.with_internal(Arc::new(is_internal))), ..self }
    }

    /// Resolves a host for a connection that is not made by a client of this module. Returns only addresses that the purpose
    /// may reach: connect to these, and do not resolve the name again.
    ///
    /// # Errors
    /// [`OutboundError::Refused`] if there is none that is allowed, [`OutboundError::Unresolved`] if there is none at all.
    pub async fn resolve(&self, purpose: Purpose, host: &str, port: u16) -> Result<Vec<SocketAddr>, OutboundError> {
        let destination = || Destination { host: format!("{host}:{port}"), is_redirected: false };
        let found = self.lookup.lookup(host.to_owned()).await;
        let found = found.map_err(|_| OutboundError::Unresolved(destination()))?;
        match resolver::allowed(&self.policy, purpose, found, Some(port)) {
            Ok(mut allowed) => {
                // An IPv6 address keeps its scope.
                allowed.iter_mut().for_each(|address| address.set_port(port));
                Ok(allowed)
            }
            Err(LookupError::Refused(why)) => {
                tracing::warn!(host, ?why, ?purpose, "refused a connection to an address that is not allowed");
                Err(OutboundError::Refused(destination()))
            }
            Err(LookupError::Unresolved) => Err(OutboundError::Unresolved(destination())),
        }
    }

    /// Returns the policy, for a connection that is not made by a client of this module.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

#[cfg(test)]
mod tests;
