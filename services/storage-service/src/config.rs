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
    /// Bytes of the file system of the data directory that downloads and conversions of images leave free.
    pub reserve_bytes: u64,
}

impl Default for Storage {
    fn default() -> Self {
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { http, files_from: Vec::new(), reserve_bytes: 2 << 30 }
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
