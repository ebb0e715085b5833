//! The configuration of an inventory-service.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use service_kit::config::{Common, Config as Configured};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What every service is told.
    pub service: Common,
    /// What this one is told.
    pub inventory: Inventory,
}

/// The `[inventory]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inventory {
    /// Where agents are answered: an address on the provisioning network.
    pub agents: SocketAddr,
    /// Where agents that speak Ironic's protocol are answered, over HTTP: an address on the provisioning network.
    pub ironic: SocketAddr,
}

impl Default for Inventory {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { agents: any, ironic: any }
    }
}

impl Configured for Config {
    fn common(&self) -> &Common {
        &self.service
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}
