//! Racks.

use std::net::Ipv4Addr;

use domain::{
    id::{ImageId, RackId},
    net::Subnet,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rack {
    /// Its id.
    pub id: RackId,
    /// Its name, lower-case; Ironic's conductor group.
    pub name: String,
    /// Its provisioning network; without one its pxe-service answers nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The agent's kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<ImageId>,
    /// The agent's ramdisk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<ImageId>,
    /// Added to the agent kernel's command line.
    #[serde(default)]
    pub kernel_arguments: String,
}

/// A rack's provisioning network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The network.
    pub subnet: Subnet,
    /// The first address that machines may have.
    pub first: Ipv4Addr,
    /// The last one.
    pub last: Ipv4Addr,
    /// The router that machines are told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Ipv4Addr>,
    /// The name servers that machines are told of.
    #[serde(default)]
    pub name_servers: Vec<Ipv4Addr>,
    /// The DHCP server identifier, one for all replicas of the rack.
    pub server_identifier: Ipv4Addr,
}

/// A MAC that asked for an address and belongs to no node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownMac {
    /// When it was first seen by the replica that wrote this.
    pub seen_at: Timestamp,
    /// What it said it is.
    pub firmware: String,
}
