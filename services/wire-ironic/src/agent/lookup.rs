//! `GET /v1/lookup`: an agent that has just booted asks which node it is.

use serde::{Deserialize, Serialize};

use crate::argument;
use crate::error::{Class, Error};
use crate::fields::is_uuid;
use crate::version::{Collection, Version};

/// States in which an agent is expected.
const EXPECTED: &[&str] = &[
    "deploying",
    "wait call-back",
    "cleaning",
    "clean wait",
    "inspecting",
    "inspect wait",
    "rescuing",
    "rescue wait",
    "service wait",
];
/// States in which an agent may be kept running for what comes next.
const KEPT: &[&str] = &["enroll", "manageable", "available", "servicing", "service hold"];
/// Since when agents prove themselves by a token.
const TOKENS: u16 = 62;

/// Whether agents are kept running between one work and the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FastTrack {
    /// They are, so that they are found in states that wait for an order.
    On,
    /// Each work boots its own.
    Off,
}

/// Whether an agent finds a node in this state. If not, it learns no more than that nothing was found:
/// [`crate::error::text::resource_not_found`].
#[must_use]
pub fn findable(state: &str, fast_track: FastTrack) -> bool {
    EXPECTED.contains(&state) || (fast_track == FastTrack::On && KEPT.contains(&state))
}

/// Whether an answer may hold the token. It is given once; afterwards, the mask stands in its place.
#[must_use]
pub const fn shows_token(version: Version) -> bool {
    version.has(TOKENS)
}

/// What an agent knows of the node that it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Its addresses, in lower case. Those that are none have been left out.
    pub addresses: Vec<String>,
    /// The node, if the boot said which; then addresses do not matter.
    pub node_uuid: Option<String>,
}

impl Lookup {
    /// Reads the query.
    ///
    /// # Errors
    /// 404 for a request older than 22, 400 for one that says nothing.
    pub fn read(version: Version, pairs: &[(String, String)]) -> Result<Self, Error> {
        if let Some(collection) = Collection::named("lookup") {
            collection.check(version, true)?;
        }
        let names = pairs.iter().map(|(name, _)| name.as_str());
        argument::unexpected(names.filter(|name| !matches!(*name, "addresses" | "node_uuid")))?;
        let get = |name| pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let node_uuid = get("node_uuid").filter(|uuid| !uuid.is_empty());
        if let Some(uuid) = node_uuid.filter(|uuid| !is_uuid(uuid)) {
            return Err(Class::Invalid.says(format!("Expected UUID for node_uuid: {uuid}")));
        }
        let addresses: Vec<String> = get("addresses")
            .unwrap_or_default()
            .split(',')
            .filter_map(|address| argument::mac("addresses", address.trim()).ok())
            .collect();
        if addresses.is_empty() && node_uuid.is_none() {
            return Err(Class::Invalid.says("At least one of 'addresses' and 'node_uuid' parameters is required"));
        }
        Ok(Self { addresses, node_uuid: node_uuid.map(str::to_owned) })
    }
}

/// The `config` of an answer. The agent takes each key that it knows and ignores the others.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// How many seconds may pass between two heartbeats.
    pub heartbeat_timeout: u32,
    /// The token, once; later the mask.
    pub agent_token: Option<String>,
    /// Tokens are not a choice.
    pub agent_token_required: bool,
    /// Whether an image may be checked by MD5.
    pub agent_md5_checksum_enable: bool,
    /// Whether the agent need not look for its BMC.
    pub agent_skip_bmc_detect: bool,
    /// Whether an image's inside is left unlooked at before it is written.
    pub disable_deep_image_inspection: bool,
    /// Formats that an image may have.
    pub permitted_image_formats: Vec<String>,
    /// Whether a boot loader for BIOS may be installed.
    pub enable_bios_bootloader_install: bool,
    /// The oldest TLS, such as `1.3`.
    pub tls_min_version: Option<String>,
    /// Ciphers, if not the usual.
    pub tls_cipher_suites: Option<String>,
    /// Containers as steps.
    pub agent_containers: Containers,
    /// Where metrics go.
    pub metrics: Metrics,
    /// Where statsd is.
    pub metrics_statsd: Statsd,
}

impl std::fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentConfig").field("heartbeat_timeout", &self.heartbeat_timeout).finish_non_exhaustive()
    }
}

/// Containers that are steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Containers {
    /// Whether any will do.
    pub allow_arbitrary_containers: bool,
    /// Which will do.
    pub allowed_containers: Vec<String>,
    /// The file that lists them.
    pub container_steps_file: String,
    /// What runs them.
    pub runner: String,
    /// With what they are fetched.
    pub pull_options: Vec<String>,
    /// With what they are run.
    pub run_options: Vec<String>,
}

/// Where metrics go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// `noop` or `statsd`.
    pub backend: String,
    /// Names begin with the host.
    pub prepend_host: bool,
    /// Names begin with the UUID.
    pub prepend_uuid: bool,
    /// The host's labels in reverse.
    pub prepend_host_reverse: bool,
    /// All names begin with it.
    pub global_prefix: Option<String>,
}

/// Where statsd is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statsd {
    /// Its host.
    pub statsd_host: String,
    /// Its port.
    pub statsd_port: u16,
}

impl AgentConfig {
    /// What the real service sends when nothing is configured.
    #[must_use]
    pub fn usual(agent_token: Option<String>) -> Self {
        Self {
            heartbeat_timeout: 300,
            agent_token,
            agent_token_required: true,
            agent_md5_checksum_enable: true,
            agent_skip_bmc_detect: false,
            disable_deep_image_inspection: false,
            permitted_image_formats: ["raw", "gpt", "qcow2", "iso"].map(str::to_owned).to_vec(),
            enable_bios_bootloader_install: false,
            tls_min_version: Some("1.3".to_owned()),
            tls_cipher_suites: None,
            agent_containers: Containers {
                allow_arbitrary_containers: false,
                allowed_containers: Vec::new(),
                container_steps_file: "/etc/ironic-python-agent.d/mysteps.yaml".to_owned(),
                runner: "podman".to_owned(),
                pull_options: Vec::new(),
                run_options: ["--rm", "--network=host"].map(str::to_owned).to_vec(),
            },
            metrics: Metrics {
                backend: "noop".to_owned(),
                prepend_host: false,
                prepend_uuid: false,
                prepend_host_reverse: true,
                global_prefix: None,
            },
            metrics_statsd: Statsd { statsd_host: "localhost".to_owned(), statsd_port: 8125 },
        }
    }
}
