//! Names of the services in configuration, certificates, keys and rings.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Service of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Controls BMCs.
    #[serde(rename = "power-service")]
    Power,
    /// Serves machines that boot.
    #[serde(rename = "pxe-service")]
    Pxe,
    /// Caches and serves images.
    #[serde(rename = "storage-service")]
    Storage,
    /// Collects hardware reports and serves agents.
    #[serde(rename = "inventory-service")]
    Inventory,
    /// Serves the API and drives every node to its intended state.
    #[serde(rename = "scheduler-service")]
    Scheduler,
}

impl Service {
    /// All services, leaves first.
    pub const ALL: [Self; 5] = [Self::Power, Self::Pxe, Self::Storage, Self::Inventory, Self::Scheduler];

    /// Returns the service's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power-service",
            Self::Pxe => "pxe-service",
            Self::Storage => "storage-service",
            Self::Inventory => "inventory-service",
            Self::Scheduler => "scheduler-service",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Error for a text that is not the name of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a service; the services are power-, pxe-, storage-, inventory- and scheduler-service")]
pub struct ParseServiceError(String);

impl FromStr for Service {
    type Err = ParseServiceError;
    fn from_str(text: &str) -> Result<Self, ParseServiceError> {
        Self::ALL.into_iter().find(|service| service.name() == text).ok_or_else(|| ParseServiceError(text.to_owned()))
    }
}
