//! Configuration of the pxe-service.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use service_kit::config::{Common, Config as Configured};

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Settings common to all services.
    pub service: Common,
    /// Settings of the pxe-service.
    pub pxe: Pxe,
}

/// The `[pxe]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pxe {
    /// Interface on the provisioning network; if empty, DHCP and TFTP are disabled.
    pub device: String,
    /// Address of this replica on the provisioning network.
    pub address: Ipv4Addr,
    /// UDP port of DHCP.
    pub dhcp_port: u16,
    /// UDP port of TFTP.
    pub tftp_port: u16,
    /// TCP port of boot files over HTTP; 0 selects a free one.
    pub http_port: u16,
    /// Directory of the network boot loaders: undionly.kpxe, snponly.efi, ipxe.efi.
    pub loaders: PathBuf,
    /// DHCP lease time.
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
            problems.push("pxe.lease: must be at least 1m, or machines renew constantly".to_owned());
        }
        if !self.pxe.device.is_empty() && self.pxe.address.is_loopback() {
            problems.push(format!("pxe.address: set this replica's address on {}", self.pxe.device));
        }
        problems
    }
}
