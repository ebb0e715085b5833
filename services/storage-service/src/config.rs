//! Configuration of the storage-service.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use service_kit::{
    config::{Common, Config as Configured},
    outbound_http::OutboundConfig,
};

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Settings common to all services.
    pub service: Common,
    /// Settings of the storage-service.
    pub storage: Storage,
    /// Rules for requests to servers that users name.
    pub outbound: OutboundConfig,
}

/// The `[storage]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Address of the HTTP listener for images and boot files, on the provisioning network.
    pub http: SocketAddr,
    /// Directories that `file:` URLs may refer to, without links below them; if empty, `file:` URLs are refused.
    pub files_from: Vec<PathBuf>,
}

impl Default for Storage {
    fn default() -> Self {
        Self { http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), files_from: Vec::new() }
    }
}

impl Configured for Config {
    fn common(&self) -> &Common {
        &self.service
    }

    fn problems(&self) -> Vec<String> {
        let relative = self.storage.files_from.iter().filter(|folder| !folder.is_absolute());
        let relative =
            relative.map(|folder| format!("storage.files_from: {} must be an absolute path", folder.display()));
        relative.chain(self.outbound.problems()).collect()
    }
}
