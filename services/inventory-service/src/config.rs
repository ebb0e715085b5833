//! Configuration of the inventory-service.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use service_kit::config::{Common, Config as Configured};

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Settings common to all services.
    pub service: Common,
    /// Settings of the inventory-service.
    pub inventory: Inventory,
}

/// The `[inventory]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inventory {
    /// Address of the listener for agents, on the provisioning network.
    pub agents: SocketAddr,
    /// Address of the HTTP listener for agents that use Ironic's protocol, on the provisioning network.
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
