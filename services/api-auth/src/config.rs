//! Configuration of authentication.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// How long a token of Keystone's is believed: as long as Keystone's own middleware believes one.
const SEEN: Duration = Duration::from_secs(300);

/// How clients of the REST API prove who they are. Where nothing is named, requests are not authenticated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// A file of `name:hash` lines, the hash bcrypt's; empty: there is none.
    pub users: PathBuf,
    /// The Keystone whose tokens are taken.
    pub keystone: Keystone,
    /// The OpenID provider whose access tokens are taken.
    pub jwt: Jwt,
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
    /// Whether it is configured.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
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
    /// Whether it is configured.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
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
