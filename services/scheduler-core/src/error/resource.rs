//! Reasons for which a change of a collection's resource is refused.

use std::fmt;

use domain::{id::NodeId, power::Power};
use service_kit::status::Kind;
use uuid::Uuid;

/// Reason a resource cannot be changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceRefusal {
    /// Nodes are in the chassis.
    #[error("chassis {chassis} contains nodes; move them to another chassis first")]
    ChassisHasNodes {
        /// The chassis.
        chassis: Uuid,
    },
    /// Ports belong to the port group.
    #[error("port group {portgroup} contains ports; delete them or remove them from the group first")]
    PortgroupHasPorts {
        /// The port group.
        portgroup: Uuid,
    },
    /// A node's volumes can be changed only while the node is powered off.
    #[error("the {change} of a volume needs its node {node} to be powered off")]
    NotPoweredOff {
        /// Kind of the resource.
        kind: &'static str,
        /// What was requested.
        change: VolumeChange,
        /// The node.
        node: NodeId,
        /// Its power. `None` if it is not known.
        power: Option<Power>,
    },
    /// The node is not in its requested power state yet.
    #[error("node {node} is not in its requested power state yet")]
    PowerPending {
        /// The node.
        node: NodeId,
        /// Endpoint of its power-service.
        conductor: Option<String>,
    },
    /// The node of the volume was deleted while the request waited for its power state.
    #[error("the node {node} of the volume was deleted meanwhile")]
    NodeDeleted {
        /// The node.
        node: NodeId,
    },
}

/// What is done to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeChange {
    /// It is changed.
    Update,
    /// It is deleted.
    Deletion,
}

impl fmt::Display for VolumeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Update => "update",
            Self::Deletion => "deletion",
        })
    }
}

impl ResourceRefusal {
    /// What the client can do. Only gRPC's statuses are made of it, and no call of gRPC changes these resources yet: Ironic's
    /// API has a status and a text of its own for each variant.
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::ChassisHasNodes { .. } | Self::PortgroupHasPorts { .. } | Self::NotPoweredOff { .. } => Kind::NotNow,
            Self::PowerPending { .. } => Kind::Unavailable,
            Self::NodeDeleted { .. } => Kind::Missing,
        }
    }
}
