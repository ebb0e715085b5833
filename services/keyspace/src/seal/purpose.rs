//! What secrets are sealed for, and which service may do what with them.

use std::fmt;

use domain::{
    id::{NodeId, RackId},
    service::Service,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What secrets are for. Each purpose has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Passwords and keys of BMCs and the data of raw commands for them, as the power-service uses them.
    Bmc,
    /// Tokens with which the agents of commanded boots prove their identity.
    BootToken,
    /// Files of config drives.
    ConfigDrive,
    /// Secrets in what clients specified of nodes and other resources: `driver_info`, webhooks and the like.
    Specification,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 4] = [Self::Bmc, Self::BootToken, Self::ConfigDrive, Self::Specification];

    /// Its name on the command line and in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bmc => "bmc",
            Self::BootToken => "boot-token",
            Self::ConfigDrive => "config-drive",
            Self::Specification => "specification",
        }
    }

    /// Whether its secrets belong to racks, so that a rack can have a key of its own.
    #[must_use]
    pub const fn is_of_racks(self) -> bool {
        match self {
            Self::Bmc | Self::BootToken | Self::ConfigDrive => true,
            Self::Specification => false,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Error for a text that is not a purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a purpose of sealing keys; the purposes are bmc, boot-token, config-drive and specification")]
pub struct UnknownPurpose(String);

impl std::str::FromStr for Purpose {
    type Err = UnknownPurpose;

    fn from_str(text: &str) -> Result<Self, UnknownPurpose> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == text).ok_or_else(|| UnknownPurpose(text.to_owned()))
    }
}

/// What a service may do with the secrets of a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: it has no key.
    Nothing,
    /// Open them in its own rack.
    Open,
    /// Seal and open them in all racks.
    SealAndOpen,
}

/// The table of who may do what: which keys a service is given follows from this alone.
///
/// The scheduler-service opens what it seals. It moves nodes between racks, which seals their secrets for the new rack; it
/// adds files to config drives; it compares passwords of BMCs with those that clients send.
#[must_use]
pub const fn permission(service: Service, purpose: Purpose) -> Permission {
    match (service, purpose) {
        (Service::Scheduler, _) => Permission::SealAndOpen,
        (Service::Power, Purpose::Bmc)
        | (Service::Pxe, Purpose::BootToken)
        | (Service::Inventory, Purpose::BootToken | Purpose::ConfigDrive) => Permission::Open,
        (Service::Power | Service::Pxe | Service::Storage | Service::Inventory, _) => Permission::Nothing,
    }
}

/// Whether a service has keys at all.
#[must_use]
pub fn has_keys(service: Service) -> bool {
    Purpose::ALL.into_iter().any(|purpose| permission(service, purpose) != Permission::Nothing)
}

/// Where a secret is: its purpose, the rack whose services may open it, its record and its field. A sealed secret opens in
/// its place only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) purpose: Purpose,
    /// `None` for what belongs to no rack; only the scheduler-service opens that.
    pub(super) rack: Option<RackId>,
    record: String,
}

impl Place {
    fn of_node(purpose: Purpose, rack: RackId, node: NodeId, field: &str) -> Self {
        Self { purpose, rack: Some(rack), record: format!("{node}/{field}") }
    }

    /// The password of a node's BMC.
    #[must_use]
    pub fn bmc_password(rack: RackId, node: NodeId) -> Self {
        Self::of_node(Purpose::Bmc, rack, node, "bmc-password")
    }

    /// The key K_G of a node's BMC.
    #[must_use]
    pub fn bmc_key(rack: RackId, node: NodeId) -> Self {
        Self::of_node(Purpose::Bmc, rack, node, "bmc-key")
    }

    /// The data of a raw command for a node's BMC.
    #[must_use]
    pub fn raw_data(rack: RackId, node: NodeId) -> Self {
        Self::of_node(Purpose::Bmc, rack, node, "raw-data")
    }

    /// The token of a node's boot.
    #[must_use]
    pub fn boot_token(rack: RackId, node: NodeId) -> Self {
        Self::of_node(Purpose::BootToken, rack, node, "boot-token")
    }

    /// The config drive of a node.
    #[must_use]
    pub fn config_drive(rack: RackId, node: NodeId) -> Self {
        Self::of_node(Purpose::ConfigDrive, rack, node, "config-drive")
    }

    /// The config drive of a bulk operation, which its nodes get.
    #[must_use]
    pub fn bulk_drive(bulk: Uuid) -> Self {
        Self { purpose: Purpose::ConfigDrive, rack: None, record: format!("bulk/{bulk}/config-drive") }
    }

    /// A field of what clients specified. `record` is the record's id and the path of the field within it.
    #[must_use]
    pub fn specification(record: impl Into<String>) -> Self {
        Self { purpose: Purpose::Specification, rack: None, record: record.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.record)
    }
}
