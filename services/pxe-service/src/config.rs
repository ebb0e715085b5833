//! The configuration of a pxe-service.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
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
    pub pxe: Pxe,
}

/// The `[pxe]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pxe {
    /// The interface on the provisioning network; empty: neither DHCP nor TFTP is answered.
    pub device: String,
    /// This replica's own address on the provisioning network.
    pub address: Ipv4Addr,
    /// The port of DHCP.
    pub dhcp_port: u16,
    /// The port of TFTP.
    pub tftp_port: u16,
    /// The port of boot files over HTTP; 0 takes any free one.
    pub http_port: u16,
    /// Where the network boot loaders are: undionly.kpxe, snponly.efi, ipxe.efi.
    pub loaders: PathBuf,
    /// How long a machine may keep its address before it asks again.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

impl Default for Pxe {
    fn default() -> Self {
        Self {
            device: String::new(),
            address: Ipv4Addr::LOCALHOST,
            dhcp_port: 67,
            tftp_port: 69,
            http_port: 0,
            loaders: PathBuf::from("/usr/lib/ipxe"),
            lease: Duration::from_secs(3600),
        }
    }
}

impl Pxe {
    pub(crate) fn http_address(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.http_port))
    }
}

impl Configured for Config {
    fn common(&self) -> &Common {
        &self.service
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.pxe.lease < Duration::from_secs(60) {
            problems.push("pxe.lease: must be at least 1m, or machines ask all the time".to_owned());
        }
        if !self.pxe.device.is_empty() && self.pxe.address.is_loopback() {
            problems.push(format!("pxe.address: name this replica's own address on {}", self.pxe.device));
        }
        problems
    }
}
