//! The configuration of a power-service.

use std::{net::SocketAddrV4, time::Duration};

use serde::{Deserialize, Serialize};
use service_kit::config::{Common, Config as Configured};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What every service is told.
    pub service: Common,
    /// What this one is told.
    pub power: Power,
}

/// The `[power]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Power {
    /// Where BMCs are spoken to from over IPMI.
    pub bind: SocketAddrV4,
    /// How long a BMC may take for one answer over IPMI before it is asked again.
    #[serde(with = "humantime_serde")]
    pub answer: Duration,
    /// How often a read over IPMI is tried.
    pub tries: u8,
    /// How long one instruction may take.
    #[serde(with = "humantime_serde")]
    pub instruction: Duration,
    /// How long a machine may take to be seen on or off after the BMC accepted the command.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// How long a machine may take to shut down when it is asked to.
    #[serde(with = "humantime_serde")]
    pub soft_off: Duration,
    /// How often each node's power is read without being asked for; 0: never.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// How long one command to a BMC of `fake-hardware` takes.
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
            fake: Duration::ZERO,
        }
    }
}

impl Configured for Config {
    fn common(&self) -> &Common {
        &self.service
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.power.tries == 0 {
            problems.push("power.tries: must be at least 1".to_owned());
        }
        if self.power.fake >= self.power.instruction {
            problems.push("power.fake: must be shorter than power.instruction".to_owned());
        }
        if self.power.instruction <= self.power.settle {
            problems.push("power.instruction: must be longer than power.settle".to_owned());
        }
        problems
    }
}
