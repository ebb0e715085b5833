//! Creates HTTP clients whose names are resolved by the policy.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use reqwest::{Certificate, Client, ClientBuilder};

use super::{
    error::OutboundError,
    limits::Limits,
    policy::{Policy, Purpose},
    resolver::{GuardedResolver, Lookup},
};

/// Which certificate of a server is accepted.
#[derive(Debug, Clone)]
pub enum Trust {
    /// One of a CA that the operating system trusts.
    System,
    /// One of these CAs.
    Ca(Vec<Certificate>),
    /// One that this configuration accepts.
    Tls(Box<rustls::ClientConfig>),
}

/// Maximum number of clients for single ports.
const MAX_PORT_CLIENTS: usize = 64;

/// Creates clients that differ in the port of their connections alone.
pub(super) struct ClientFactory {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) policy: Arc<Policy>,
    pub(super) purpose: Purpose,
    pub(super) trust: Trust,
    pub(super) limits: Limits,
    /// Clients for ports with exceptions of their own: the resolver is not told for which port it is asked.
    pub(super) by_port: Mutex<HashMap<u16, Client>>,
}

impl ClientFactory {
    pub(super) fn builder(&self) -> ClientBuilder {
        // Decompression is not compiled in: what a server sends is what is counted and stored.
        let builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.limits.connect)
            .user_agent(concat!("ironmesh/", env!("CARGO_PKG_VERSION")));
        match &self.trust {
            Trust::Ca(ca) if !ca.is_empty() => builder.tls_certs_only(ca.clone()),
            Trust::System | Trust::Ca(_) => builder,
            Trust::Tls(config) => builder.tls_backend_preconfigured((**config).clone()),
        }
    }

    /// Creates a client without a proxy. With a port, exceptions for this port count where names are resolved, so that it
    /// must be used for this port only.
    pub(super) fn direct(&self, port: Option<u16>) -> Result<Client, OutboundError> {
        let (lookup, policy) = (Arc::clone(&self.lookup), Arc::clone(&self.policy));
        let resolver = GuardedResolver { lookup, policy, purpose: self.purpose, port };
        self.builder().dns_resolver(resolver).build().map_err(OutboundError::Client)
    }

    /// Returns the client for a port with an exception of its own.
    pub(super) fn of_port(&self, port: u16) -> Result<Client, OutboundError> {
        let mut clients = self.by_port.lock();
        if let Some(client) = clients.get(&port) {
            return Ok(client.clone());
        }
        if clients.len() >= MAX_PORT_CLIENTS {
            // Requests in progress keep theirs.
            clients.clear();
        }
        let client = self.direct(Some(port))?;
        clients.insert(port, client.clone());
        Ok(client)
    }
}
