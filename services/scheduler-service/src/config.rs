//! The configuration of a scheduler-service.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use domain::plan::Limits;
use serde::{Deserialize, Serialize};
use service_kit::config::{Common, Config as Configured};

/// Ironic's own port.
const REST_PORT: u16 = 6385;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What every service is told.
    pub service: Common,
    /// What this one is told.
    pub scheduler: Scheduler,
}

/// The `[scheduler]` table: how long each thing may take before it counts as failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduler {
    /// A BMC's first answer.
    #[serde(with = "humantime_serde")]
    pub verify: Duration,
    /// Image and boot files in the rack's cache.
    #[serde(with = "humantime_serde")]
    pub prepare: Duration,
    /// A power target reached.
    #[serde(with = "humantime_serde")]
    pub power: Duration,
    /// A boot without anything new on its timeline, and the report of an inspection.
    #[serde(with = "humantime_serde")]
    pub boot: Duration,
    /// An agent without a sign of itself.
    #[serde(with = "humantime_serde")]
    pub agent: Duration,
    /// Boots tried before giving up.
    pub boots: u32,
    /// Where it answers Ironic's REST API, over plain HTTP; port 0 takes any free one.
    pub rest: SocketAddr,
    /// Who may ask there: a file of `name:hash` lines, the hash bcrypt's; empty: whoever comes, and then from loopback
    /// alone.
    pub rest_users: PathBuf,
}

impl Default for Scheduler {
    fn default() -> Self {
        let Limits { verify, prepare, power, boot, agent, boots } = Limits::default();
        let rest = SocketAddr::from((Ipv4Addr::LOCALHOST, REST_PORT));
        Self { verify, prepare, power, boot, agent, boots, rest, rest_users: PathBuf::new() }
    }
}

impl Scheduler {
    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            verify: self.verify,
            prepare: self.prepare,
            power: self.power,
            boot: self.boot,
            agent: self.agent,
            boots: self.boots,
        }
    }
}

impl Configured for Config {
    fn common(&self) -> &Common {
        &self.service
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.scheduler.boots == 0 {
            problems.push("scheduler.boots: must be at least 1".to_owned());
        }
        if self.scheduler.rest_users.as_os_str().is_empty() && !self.scheduler.rest.ip().is_loopback() {
            problems.push(format!(
                "scheduler.rest: {} is not loopback, and nobody is asked who he is; name the users in \
                 scheduler.rest_users (htpasswd -cB FILE NAME makes such a file)",
                self.scheduler.rest
            ));
        }
        problems
    }
}
