//! Racks.

use std::net::Ipv4Addr;

use domain::{
    id::{ImageId, RackId},
    kernel_arguments::KernelArguments,
    net::Subnet,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A rack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rack {
    /// Its id.
    pub id: RackId,
    /// Its name in lower case, which is Ironic's conductor group.
    pub name: String,
    /// Its provisioning network. Without one its pxe-service answers no requests.
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
    pub kernel_arguments: KernelArguments,
}

/// A rack's provisioning network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The network.
    pub subnet: Subnet,
    /// The first address for nodes.
    pub first: Ipv4Addr,
    /// The last address for nodes.
    pub last: Ipv4Addr,
    /// The router that nodes get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Ipv4Addr>,
    /// The name servers that nodes get.
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
    /// The firmware that it reported.
    pub firmware: String,
}
