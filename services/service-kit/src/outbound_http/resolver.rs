//! Resolves names, and returns only addresses that the policy allows.

use std::{io, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::{Policy, Purpose, Refused};

/// Looks a name up.
pub(super) trait Lookup: Send + Sync {
    /// Returns the addresses of a host.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy)]
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    }
}

/// Why there is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    /// None of the addresses is allowed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The name has no address.
    #[error("the name cannot be resolved")]
    Unresolved,
}

/// The resolver of a client.
pub(super) struct GuardedResolver {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) policy: Arc<Policy>,
    pub(super) purpose: Purpose,
    /// The port of the connections, if all have the same one.
    pub(super) port: Option<u16>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, purpose, port) = (Arc::clone(&self.policy), self.purpose, self.port);
        let host = name.as_str().to_owned();
        let found = self.lookup.lookup(host.clone());
        Box::pin(async move {
            let found = found.await.map_err(|error| {
                tracing::debug!(host, %error, "cannot resolve the host of a request");
                LookupError::Unresolved
            })?;
            let allowed = allowed(&policy, purpose, found, port);
            if let Err(LookupError::Refused(Refused { address, class })) = &allowed {
                tracing::warn!(host, %address, ?class, ?purpose, "refused a request to an address that is not allowed");
            }
            let addresses: Addrs = Box::new(allowed?.into_iter());
            Ok(addresses)
        })
    }
}

/// Returns the addresses that are allowed for a port, or for all ports.
pub(super) fn allowed(
    policy: &Policy,
    purpose: Purpose,
    found: Vec<SocketAddr>,
    port: Option<u16>,
) -> Result<Vec<SocketAddr>, LookupError> {
    let mut refused = None;
    let mut allowed = Vec::new();
    for address in found {
        match policy.check_for(purpose, address.ip(), port) {
            Ok(()) => allowed.push(address),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    match refused {
        _ if !allowed.is_empty() => Ok(allowed),
        Some(why) => Err(why.into()),
        None => Err(LookupError::Unresolved),
    }
}
