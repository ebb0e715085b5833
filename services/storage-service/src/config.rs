//! The configuration of a storage-service.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use service_kit::config::{Common, Config as Configured};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What every service is told.
    pub service: Common,
    /// What this one is told.
    pub storage: Storage,
}

/// The `[storage]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Where files are handed out over HTTP: an address on the provisioning network.
    pub http: SocketAddr,
    /// Folders that `file:` URLs may name files in; none: no `file:` URL is pulled.
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
        relative.map(|folder| format!("storage.files_from: {} must begin with /", folder.display())).collect()
    }
}
