//! Ports and port groups.

use domain::id::NodeId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Secrets, is_false};
use crate::value::ExtraFields;

/// What clients specified of a port, beside its MAC and its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortSpec {
    /// Whether it may become a member of a dynamic port group.
    pub available_for_dynamic_portgroup: bool,
    /// Category, for schedulers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Description, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
    /// What network services remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub internal_info: ExtraFields,
    /// Whether it is a `SmartNIC`.
    #[serde(skip_serializing_if = "is_false")]
    pub is_smartnic: bool,
    /// The switch port that it is connected to.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub local_link_connection: ExtraFields,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The physical network that it is connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<String>,
    /// The port group that it is a member of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portgroup_uuid: Option<Uuid>,
    /// Whether the node may boot from it.
    pub pxe_enabled: bool,
    /// Its vendor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
}

impl Default for PortSpec {
    fn default() -> Self {
        Self {
            available_for_dynamic_portgroup: true,
            category: None,
            description: None,
            extra: ExtraFields::default(),
            internal_info: ExtraFields::default(),
            is_smartnic: false,
            local_link_connection: ExtraFields::default(),
            name: None,
            physical_network: None,
            portgroup_uuid: None,
            pxe_enabled: true,
            vendor: None,
        }
    }
}

/// What clients specified of a port group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortgroupSpec {
    /// MAC address of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Category, for schedulers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Whether it is a dynamic port group.
    #[serde(skip_serializing_if = "is_false")]
    pub dynamic_portgroup: bool,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
    /// What network services remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub internal_info: ExtraFields,
    /// Bonding mode. `None` for the default, `active-backup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The node that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_uuid: Option<NodeId>,
    /// The physical network that it is connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<String>,
    /// Properties of the bond.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub properties: ExtraFields,
    /// Whether its members can also be used by themselves.
    pub standalone_ports_supported: bool,
}

impl Default for PortgroupSpec {
    fn default() -> Self {
        Self {
            address: None,
            category: None,
            dynamic_portgroup: false,
            extra: ExtraFields::default(),
            internal_info: ExtraFields::default(),
            mode: None,
            name: None,
            node_uuid: None,
            physical_network: None,
            properties: ExtraFields::default(),
            standalone_ports_supported: true,
        }
    }
}

impl Secrets for PortSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        vec![("extra".to_owned(), &mut self.extra)]
    }
}

impl Secrets for PortgroupSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        vec![("extra".to_owned(), &mut self.extra), ("properties".to_owned(), &mut self.properties)]
    }
}
