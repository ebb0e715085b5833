//! Configuration of the power-service.

use std::{net::SocketAddrV4, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use service_kit::{
    config::{Common, Config as Configured},
    outbound_http::OutboundConfig,
};

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Settings common to all services.
    pub service: Common,
    /// Settings of the power-service.
    pub power: Power,
    /// Rules for addresses of Redfish services, which users name.
    pub outbound: OutboundConfig,
}

/// The `[power]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Power {
    /// Local UDP address for IPMI.
    pub bind: SocketAddrV4,
    /// How long to wait for an IPMI reply before the request is repeated.
    #[serde(with = "humantime_serde")]
    pub answer: Duration,
    /// How many times an IPMI read is sent.
    pub tries: u8,
    /// Maximum duration of an instruction.
    #[serde(with = "humantime_serde")]
    pub instruction: Duration,
    /// Maximum time until the power state follows a command that the BMC accepted.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// Maximum time for a graceful shutdown.
    #[serde(with = "humantime_serde")]
    pub soft_off: Duration,
    /// How often the power of each idle node is read; 0 disables it.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// Folder with the PEM files that `driver_info/redfish_verify_ca` may name; empty for none. Everyone who may change a
    /// node may name any file in it.
    pub ca_folder: PathBuf,
    /// Duration of a command to the simulated BMC of `fake-hardware`.
    #[serde(with = "humantime_serde")]
    pub fake: Duration,
}

impl Default for Power {
    fn default() -> Self {
        Self {
            bind: SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0),
            answer: Duration::from_secs(1),
            tries: 4,
            instruction: Duration::from_secs(120),
            settle: Duration::from_secs(30),
            soft_off: Duration::from_secs(60),
            poll: Duration::from_secs(60),
            ca_folder: PathBuf::new(),
            fake: Duration::ZERO,
        }
    }
}

impl Configured for Config {
    fn common(&self) -> &Common {
        &self.service
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = self.outbound.problems();
        if self.power.tries == 0 {
            problems.push("power.tries: must be at least 1".to_owned());
        }
        if self.power.fake >= self.power.instruction {
            problems.push("power.fake: must be shorter than power.instruction".to_owned());
        }
        if !self.power.ca_folder.as_os_str().is_empty() && !self.power.ca_folder.is_absolute() {
            problems.push(format!("power.ca_folder: {} must be an absolute path", self.power.ca_folder.display()));
        }
        if self.power.instruction <= self.power.settle {
            problems.push("power.instruction: must be longer than power.settle".to_owned());
        }
        problems
    }
}
