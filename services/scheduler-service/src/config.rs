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
/// How long a token of Keystone's is believed: as long as Keystone's own middleware believes one.
const SEEN: Duration = Duration::from_secs(300);

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
    /// How long each stage of the work on a `fake-hardware` node takes.
    #[serde(with = "humantime_serde")]
    pub fake: Duration,
    /// Where it answers Ironic's REST API; port 0 takes any free one.
    pub rest: SocketAddr,
    /// What it shows there over HTTPS; without it it answers plain HTTP.
    pub rest_tls: RestTls,
    /// Who may ask there: a file of `name:hash` lines, the hash bcrypt's; where nothing below is
    /// named either, whoever comes, and then from loopback alone.
    pub rest_users: PathBuf,
    /// The same by tokens of OpenStack's Keystone.
    pub rest_keystone: Keystone,
    /// The same by access tokens of an OpenID provider.
    pub rest_jwt: Jwt,
}

/// The `[scheduler.rest_tls]` table: the certificate of the REST API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestTls {
    /// The certificate, leaf first (PEM); empty: there is none, and no key either.
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

impl RestTls {
    /// Whether HTTPS is spoken.
    pub(crate) fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    fn problems(&self) -> Option<String> {
        let is_whole = self.is_on() != self.key.as_os_str().is_empty();
        (!is_whole).then(|| "scheduler.rest_tls: certificate and key go together; name both, or neither".to_owned())
    }
}

/// The `[scheduler.rest_keystone]` table: the Keystone whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keystone {
    /// Where it is, as `https://keystone:5000`; empty: there is none.
    pub url: String,
    /// Who we are there: a user with the role `service`, in this project.
    pub user: String,
    /// A file with his password.
    pub password: PathBuf,
    /// The project.
    pub project: String,
    /// The domain of both.
    pub domain: String,
    /// Whom its certificate must come from (PEM); empty: from one whom the operating system believes.
    pub ca: PathBuf,
    /// How long a token is believed after Keystone was asked after it: one that is revoked is taken as long as that.
    #[serde(with = "humantime_serde")]
    pub seen: Duration,
    /// The project whose services, by their role `service`, count as members of the system.
    pub services: String,
}

/// The `[scheduler.rest_jwt]` table: the OpenID provider whose access tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jwt {
    /// Its keys (JWKS): an `https://` address, or a file; empty: there is none.
    pub keys: String,
    /// What a token must have in `iss`.
    pub issuer: String,
    /// What a token must have in `aud`.
    pub audience: String,
    /// The claim with the roles: a list, or a text with spaces between them.
    pub roles: String,
    /// The claim with the project's id.
    pub project: String,
    /// The claim that is `"all"` or true where the roles count for the whole fleet.
    pub system: String,
    /// Whom the certificate of the address must come from (PEM); empty: from one whom the operating system believes.
    pub ca: PathBuf,
}

impl Default for Keystone {
    fn default() -> Self {
        Self {
            url: String::new(),
            user: "ironmesh".to_owned(),
            password: PathBuf::new(),
            project: "service".to_owned(),
            domain: "Default".to_owned(),
            ca: PathBuf::new(),
            seen: SEEN,
            services: "service".to_owned(),
        }
    }
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            keys: String::new(),
            issuer: String::new(),
            audience: String::new(),
            roles: "roles".to_owned(),
            project: "project_id".to_owned(),
            system: "system_scope".to_owned(),
            ca: PathBuf::new(),
        }
    }
}

impl Keystone {
    pub(crate) const fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    fn problems(&self) -> Vec<String> {
        let Self { url, password, .. } = self;
        let mut problems = Vec::new();
        if self.is_on() && !url.starts_with("https://") && !url.starts_with("http://") {
            problems.push(format!("scheduler.rest_keystone.url: {url} must begin with https:// or http://"));
        }
        if self.is_on() && password.as_os_str().is_empty() {
            problems.push("scheduler.rest_keystone.password: must name a file with our user's password".to_owned());
        }
        problems
    }
}

impl Jwt {
    pub(crate) const fn is_on(&self) -> bool {
        !self.keys.is_empty()
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let must = [("issuer", &self.issuer), ("audience", &self.audience)];
        for (key, _) in must.iter().filter(|(_, value)| self.is_on() && value.is_empty()) {
            problems.push(format!("scheduler.rest_jwt.{key}: must say which tokens are for us"));
        }
        if self.keys.starts_with("http://") {
            problems.push("scheduler.rest_jwt.keys: must be an https:// address, or a file".to_owned());
        }
        problems
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        let Limits { verify, prepare, power, boot, agent, boots, fake } = Limits::default();
        let rest = SocketAddr::from((Ipv4Addr::LOCALHOST, REST_PORT));
        Self {
            verify,
            prepare,
            power,
            boot,
            agent,
            boots,
            fake,
            rest,
            rest_tls: RestTls::default(),
            rest_users: PathBuf::new(),
            rest_keystone: Keystone::default(),
            rest_jwt: Jwt::default(),
        }
    }
}

impl Scheduler {
    /// Whether whoever comes is asked who he is.
    fn asks_who(&self) -> bool {
        !self.rest_users.as_os_str().is_empty() || self.rest_keystone.is_on() || self.rest_jwt.is_on()
    }

    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            verify: self.verify,
            prepare: self.prepare,
            power: self.power,
            boot: self.boot,
            agent: self.agent,
            boots: self.boots,
            fake: self.fake,
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
        problems.extend(self.scheduler.rest_tls.problems());
        problems.extend(self.scheduler.rest_keystone.problems());
        problems.extend(self.scheduler.rest_jwt.problems());
        if !self.scheduler.asks_who() && !self.scheduler.rest.ip().is_loopback() {
            problems.push(format!(
                "scheduler.rest: {} is not loopback, and nobody is asked who he is; name the users in \
                 scheduler.rest_users (htpasswd -cB FILE NAME makes such a file), a Keystone in \
                 scheduler.rest_keystone.url, or an OpenID provider's keys in scheduler.rest_jwt.keys",
                self.scheduler.rest
            ));
        }
        problems
    }
}
