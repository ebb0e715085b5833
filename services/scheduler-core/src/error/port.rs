//! Reasons for which a port is refused.

use std::fmt;

use domain::{
    id::{NodeId, PortId},
    provision::State,
};
use service_kit::status::Kind;
use uuid::Uuid;

/// Reason a port cannot be created or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortRefusal {
    /// The port group does not exist.
    #[error("there is no port group {portgroup}")]
    NoPortgroup {
        /// The port group.
        portgroup: Uuid,
    },
    /// The port group belongs to another node than the port.
    #[error("port group {portgroup} belongs to another node than the port")]
    OtherNode {
        /// The port group.
        portgroup: Uuid,
    },
    /// The ports of the port group are in another physical network.
    #[error(
        "the ports of port group {portgroup} are in the physical network {theirs:?}, so a port in {network:?} cannot \
         become a member"
    )]
    OtherNetwork {
        /// The port group.
        portgroup: Uuid,
        /// Physical network of the port.
        network: Option<String>,
        /// Physical network of the port group's ports.
        theirs: Option<String>,
    },
    /// The physical network of a member of a port group cannot be changed.
    #[error(
        "physical_network cannot be changed while the port belongs to a port group; remove it from the group first"
    )]
    MemberNetwork,
    /// The wiring cannot be changed in the node's state.
    #[error(
        "{field} of port {port} cannot be changed while its node {node} is {state}; make the node manageable, or set its \
         maintenance"
    )]
    Wiring {
        /// The changed field.
        field: WiringField,
        /// The port.
        port: PortId,
        /// Its node.
        node: NodeId,
        /// State of the node.
        state: State,
    },
    /// The MAC address cannot be changed while the node is in use.
    #[error("the MAC address of port {port} cannot be changed while its node {node} is in use")]
    Address {
        /// The port.
        port: PortId,
        /// Its node.
        node: NodeId,
    },
}

/// Field of a port that says how the NIC is wired and used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WiringField {
    /// Whether the node may boot from the port.
    PxeEnabled,
    /// The switch port.
    LocalLinkConnection,
    /// The physical network.
    PhysicalNetwork,
    /// The port group.
    Portgroup,
}

impl fmt::Display for WiringField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PxeEnabled => "pxe_enabled",
            Self::LocalLinkConnection => "local_link_connection",
            Self::PhysicalNetwork => "physical_network",
            Self::Portgroup => "portgroup_uuid",
        })
    }
}

impl PortRefusal {
    /// What the client can do. Only gRPC's statuses are made of it, whose one call that changes ports, `UpdateNode`, refuses
    /// with [`Self::Address`] alone: Ironic's API has a status and a text of its own for each variant.
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::NoPortgroup { .. } | Self::OtherNode { .. } | Self::MemberNetwork => Kind::Invalid,
            Self::OtherNetwork { .. } | Self::Wiring { .. } | Self::Address { .. } => Kind::NotNow,
        }
    }
}
