//! Configuration of authentication.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use domain::policy::Roles;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use service_kit::outbound_http::OutboundConfig;

/// Default cache time of a Keystone token, as in Keystone's own middleware.
const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(300);

/// Authentication of the REST API. If nothing is configured, requests are not authenticated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// File with `name:hash` lines, where the hash is bcrypt's. Empty: no basic authentication.
    pub users: PathBuf,
    /// The Keystone whose tokens are accepted.
    pub keystone: Keystone,
    /// The OpenID provider whose access tokens are accepted.
    pub jwt: Jwt,
    /// Hosts by which clients reach the API if requests are not authenticated, besides `localhost` and loopback addresses.
    pub hosts: Vec<String>,
    /// Networks of the proxies that are believed who their clients are.
    pub trusted_proxies: Vec<IpNet>,
    /// How the servers are reached.
    pub outbound: OutboundConfig,
}

/// The `[scheduler.rest_keystone]` table: the Keystone whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keystone {
    /// URL, such as `https://keystone:5000`. Empty: no Keystone.
    pub url: String,
    /// Our user, with the role `service` in the project.
    pub user: String,
    /// File with the password of the user.
    pub password: PathBuf,
    /// Project of the user.
    pub project: String,
    /// Domain of the user and of the project.
    pub domain: String,
    /// CA file (PEM) for the server's certificate. Empty: the CAs of the operating system.
    pub ca: PathBuf,
    /// How long a valid token is cached. A revoked token is accepted until then.
    #[serde(with = "humantime_serde")]
    pub seen: Duration,
    /// Project whose users with the role `service` have system scope.
    pub services: String,
}

/// The `[scheduler.rest_jwt]` table: the OpenID provider whose access tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jwt {
    /// Keys (JWKS): an `https://` URL or a file. Empty: no OpenID provider.
    pub keys: String,
    /// Required value of `iss`.
    pub issuer: String,
    /// Required value of `aud`.
    pub audience: String,
    /// Claim with the roles: a list, or a string separated by spaces.
    pub roles: String,
    /// What the values of that claim mean, such as `{"baremetal-admins" = "admin"}`. A value that is not listed means
    /// nothing. If the table is empty, the values are names of roles.
    pub role_names: BTreeMap<String, String>,
    /// Claim with the project id.
    pub project: String,
    /// Claim that is `"all"` or `true` if the roles apply to the whole fleet.
    pub system: String,
    /// Whether the roles apply to the whole fleet too if the token has neither that claim nor that of a project, whatever
    /// their values.
    pub fleet_wide: bool,
    /// Whether operators may use the gRPC API and the command line (`ironmesh login`) with such tokens, without a
    /// certificate. The token's roles must apply to the whole fleet.
    pub grpc: bool,
    /// CA file (PEM) for the certificate of the URL. Empty: the CAs of the operating system.
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
            seen: DEFAULT_TOKEN_TTL,
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
            role_names: BTreeMap::new(),
            project: "project_id".to_owned(),
            system: "system_scope".to_owned(),
            fleet_wide: false,
            grpc: false,
            ca: PathBuf::new(),
        }
    }
}

impl Keystone {
    /// Returns whether it is configured.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// Returns a message for each invalid key.
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
    /// Returns whether it is configured.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Returns a message for each invalid key.
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
        if self.grpc && !self.is_on() {
            problems.push("scheduler.rest_jwt.grpc: needs the provider's keys in scheduler.rest_jwt.keys".to_owned());
        }
        for (value, role) in self.role_names.iter().filter(|(_, role)| Roles::named([role.as_str()]).is_empty()) {
            problems.push(format!(
                "scheduler.rest_jwt.role_names: {value:?} = {role:?}: must be reader, member, manager, admin or service"
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_configured_by_default() {
        let AuthConfig { keystone, jwt, .. } = AuthConfig::default();
        assert!(!keystone.is_on() && !jwt.is_on());
        assert!(keystone.problems().is_empty() && jwt.problems().is_empty());
    }

    #[test]
    fn a_keystone_needs_an_http_url_and_a_password_file() {
        let keystone = Keystone { url: "keystone:5000".to_owned(), ..Keystone::default() };
        let problems = keystone.problems();
        assert!(problems.iter().any(|problem| problem.starts_with("scheduler.rest_keystone.url: ")), "{problems:?}");
        assert!(
            problems.iter().any(|problem| problem.starts_with("scheduler.rest_keystone.password: ")),
            "{problems:?}"
        );
    }

    #[test]
    fn tokens_need_an_issuer_an_audience_and_keys_over_tls() {
        let jwt = Jwt { keys: "http://id/keys".to_owned(), ..Jwt::default() };
        let problems = jwt.problems();
        for key in ["issuer", "audience", "keys"] {
            assert!(
                problems.iter().any(|problem| problem.starts_with(&format!("scheduler.rest_jwt.{key}: "))),
                "{key}"
            );
        }
    }

    #[test]
    fn tokens_for_grpc_need_a_provider_and_names_that_are_roles() {
        let jwt = Jwt { grpc: true, role_names: [("ops".to_owned(), "root".to_owned())].into(), ..Jwt::default() };
        let problems = jwt.problems();
        for key in ["grpc", "role_names"] {
            assert!(
                problems.iter().any(|problem| problem.starts_with(&format!("scheduler.rest_jwt.{key}: "))),
                "{key}: {problems:?}"
            );
        }
    }
}
