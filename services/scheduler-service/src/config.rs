//! The configuration of a scheduler-service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use api_auth::{AuthConfig, Jwt, Keystone};
use domain::plan::Limits;
use ipnet::IpNet;
use ironic_api::{RestAgents, RestTls};
use serde::{Deserialize, Serialize};
use service_kit::{
    config::{Common, Config as Configured},
    outbound_http::OutboundConfig,
};

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
    /// Rules for requests to servers that users name: config drives and webhooks.
    pub outbound: OutboundConfig,
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
    /// Certificate for HTTPS. Without one the REST API uses plain HTTP.
    pub rest_tls: RestTls,
    /// File with the REST API's users, one `name:hash` per line, the hash by bcrypt. If no other authentication is
    /// configured either, requests are not authenticated, and the API must listen on loopback.
    pub rest_users: PathBuf,
    /// The same by tokens of OpenStack's Keystone.
    pub rest_keystone: Keystone,
    /// The same by access tokens of an OpenID provider.
    pub rest_jwt: Jwt,
    /// Hosts by which clients reach the REST API while requests are not authenticated, such as that of a proxy on this host,
    /// without port. Requests for others are refused, except for `localhost` and loopback addresses: a page whose name leads
    /// here (DNS rebinding) is of such a host.
    pub rest_hosts: Vec<String>,
    /// Networks of the proxies in front of the REST API. The client that they name, in `X-Forwarded-For` or `Forwarded`, is the one
    /// in audit records and in limits of wrong passwords by address. Of other senders the headers mean nothing.
    pub rest_trusted_proxies: Vec<String>,
    /// Where calls of agents (lookup, heartbeat, inspection reports) are passed on to their rack: `loopback` only where
    /// the REST API listens on loopback, `always`, or `never`. Agents are told the address of their rack's
    /// inventory-service, which checks that they call from the node's address; here that cannot be checked.
    pub rest_agents: RestAgents,
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
            rest_hosts: Vec::new(),
            rest_trusted_proxies: Vec::new(),
            rest_keystone: Keystone::default(),
            rest_jwt: Jwt::default(),
            rest_agents: RestAgents::default(),
        }
    }
}

impl Scheduler {
    /// Returns whether REST requests are authenticated.
    fn authenticates_rest(&self) -> bool {
        !self.rest_users.as_os_str().is_empty() || self.rest_keystone.is_on() || self.rest_jwt.is_on()
    }

    /// How clients of the REST API prove who they are.
    pub(crate) fn auth(&self, outbound: OutboundConfig) -> AuthConfig {
        let (users, keystone, jwt) = (self.rest_users.clone(), self.rest_keystone.clone(), self.rest_jwt.clone());
        let hosts = self.rest_hosts.clone();
        let trusted_proxies = self.rest_trusted_proxies.iter().filter_map(|text| network(text)).collect();
        AuthConfig { users, keystone, jwt, hosts, trusted_proxies, outbound }
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
        problems.extend(self.outbound.problems());
        problems.extend(self.scheduler.rest_tls.problems());
        problems.extend(self.scheduler.rest_keystone.problems());
        problems.extend(self.scheduler.rest_jwt.problems());
        if !self.scheduler.authenticates_rest() && !self.scheduler.rest.ip().is_loopback() {
            problems.push(format!(
                "scheduler.rest: {} is not loopback, but requests are not authenticated; name the users in \
                 scheduler.rest_users (htpasswd -cB FILE NAME makes such a file), a Keystone in \
                 scheduler.rest_keystone.url, or an OpenID provider's keys in scheduler.rest_jwt.keys",
                self.scheduler.rest
            ));
        }
        for proxy in self.scheduler.rest_trusted_proxies.iter().filter(|text| network(text).is_none()) {
            problems.push(format!(
                "scheduler.rest_trusted_proxies: {proxy:?} must be an address or a network, such as 10.0.0.5, 10.0.0.0/24 or \
                 fd00::/64"
            ));
        }
        for host in self.scheduler.rest_hosts.iter().filter(|host| !is_host(host)) {
            problems.push(format!(
                "scheduler.rest_hosts: {host:?} must be a host without scheme, port and path, such as ironic.example or \
                 [fd00::1]"
            ));
        }
        problems
    }
}

/// Reads a network, or an address as the network of it alone.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Returns whether a text is a host as the authority of a URL has it, without port.
fn is_host(text: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-_".contains(&octet);
    let in_brackets = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let is_ipv6 = in_brackets.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    is_ipv6 || !text.is_empty() && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_proxies_are_addresses_or_networks() {
        for (proxy, is_accepted) in [
            ("10.0.0.5", true),
            ("10.0.0.0/24", true),
            ("fd00::1", true),
            ("fd00::/64", true),
            ("10.0.0.0/33", false),
            ("10.0.0.5:80", false),
            ("[fd00::1]", false),
            ("proxy.example", false),
            ("", false),
        ] {
            let scheduler = Scheduler { rest_trusted_proxies: vec![proxy.to_owned()], ..Scheduler::default() };
            let config = Config { scheduler, ..Config::default() };
            assert_eq!(config.problems().is_empty(), is_accepted, "{proxy}: {:?}", config.problems());
            let known = config.scheduler.auth(OutboundConfig::default()).trusted_proxies.len();
            assert_eq!(known == 1, is_accepted, "{proxy}");
        }
    }

    #[test]
    fn hosts_are_given_without_scheme_port_and_path() {
        for (host, is_accepted) in [
            ("ironic.example", true),
            ("10.0.0.1", true),
            ("[fd00::1]", true),
            ("fd00::1", false),
            ("ironic.example:6385", false),
            ("http://ironic.example", false),
            ("ironic.example/v1", false),
            ("[::1", false),
            ("", false),
            ("*", false),
        ] {
            let scheduler = Scheduler { rest_hosts: vec![host.to_owned()], ..Scheduler::default() };
            let problems = Config { scheduler, ..Config::default() }.problems();
            assert_eq!(problems.is_empty(), is_accepted, "{host}: {problems:?}");
        }
    }
}
