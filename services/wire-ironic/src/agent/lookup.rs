//! `GET /v1/lookup`: an agent that has just booted finds its node.

use serde::{Deserialize, Serialize};

use crate::argument;
use crate::error::{Class, Error};
use crate::fields::is_uuid;
use crate::version::{Collection, Version};

/// States in which an agent is expected.
const AGENT_STATES: &[&str] = &[
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
/// States in which an agent may keep running for the next operation (fast track).
const FAST_TRACK_STATES: &[&str] = &["enroll", "manageable", "available", "servicing", "service hold"];
/// First minor version with agent tokens.
const AGENT_TOKENS_SINCE: u16 = 62;

/// Whether agents keep running between operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FastTrack {
    /// They do, so lookups succeed also in states without an operation.
    On,
    /// Each operation boots its own agent.
    Off,
}

/// Returns whether a lookup finds a node in this state. If not, the response is
/// [`crate::error::text::resource_not_found`].
#[must_use]
pub fn findable(state: &str, fast_track: FastTrack) -> bool {
    AGENT_STATES.contains(&state) || (fast_track == FastTrack::On && FAST_TRACK_STATES.contains(&state))
}

/// Returns whether a response may contain the token. It is sent once; later responses contain the mask.
#[must_use]
pub const fn shows_token(version: Version) -> bool {
    version.has(AGENT_TOKENS_SINCE)
}

/// Parameters of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// MAC addresses, in lower case, without invalid ones.
    pub addresses: Vec<String>,
    /// Node, if the kernel arguments name it; addresses are ignored then.
    pub node_uuid: Option<String>,
}

impl Lookup {
    /// Parses the query.
    ///
    /// # Errors
    /// 404 for a request older than 22, 400 for one without parameters.
    pub fn read(version: Version, pairs: &[(String, String)]) -> Result<Self, Error> {
        if let Some(collection) = Collection::named("lookup") {
            collection.check(version, true)?;
        }
        let names = pairs.iter().map(|(name, _)| name.as_str());
        argument::unexpected(names.filter(|name| !matches!(*name, "addresses" | "node_uuid")))?;
        let get = |name| pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let node_uuid = get("node_uuid").filter(|uuid| !uuid.is_empty());
        if let Some(uuid) = node_uuid.filter(|uuid| !is_uuid(uuid)) {
            return Err(Class::Invalid.error(format!("Expected UUID for node_uuid: {uuid}")));
        }
        let addresses: Vec<String> = get("addresses")
            .unwrap_or_default()
            .split(',')
            .filter_map(|address| argument::mac("addresses", address.trim()).ok())
            .collect();
        if addresses.is_empty() && node_uuid.is_none() {
            return Err(Class::Invalid.error("At least one of 'addresses' and 'node_uuid' parameters is required"));
        }
        Ok(Self { addresses, node_uuid: node_uuid.map(str::to_owned) })
    }
}

/// `config` of the response. The agent ignores unknown keys.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// Maximum time between two heartbeats, in seconds.
    pub heartbeat_timeout: u32,
    /// Token in the first response; later the mask.
    pub agent_token: Option<String>,
    /// Whether the token is required; always true.
    pub agent_token_required: bool,
    /// Whether MD5 checksums are accepted.
    pub agent_md5_checksum_enable: bool,
    /// Whether the agent skips the detection of its BMC.
    pub agent_skip_bmc_detect: bool,
    /// Whether the inspection of image content is disabled.
    pub disable_deep_image_inspection: bool,
    /// Accepted image formats.
    pub permitted_image_formats: Vec<String>,
    /// Whether the boot loader for BIOS can be installed.
    pub enable_bios_bootloader_install: bool,
    /// Minimum TLS version, such as `1.3`.
    pub tls_min_version: Option<String>,
    /// TLS ciphers, if not the default ones.
    pub tls_cipher_suites: Option<String>,
    /// Steps that run containers.
    pub agent_containers: Containers,
    /// Metrics.
    pub metrics: Metrics,
    /// Address of statsd.
    pub metrics_statsd: Statsd,
}

impl std::fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentConfig").field("heartbeat_timeout", &self.heartbeat_timeout).finish_non_exhaustive()
    }
}

/// Configuration of steps that run containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Containers {
    /// Whether any container is allowed.
    pub allow_arbitrary_containers: bool,
    /// Allowed containers.
    pub allowed_containers: Vec<String>,
    /// URL of the list of steps.
    pub container_steps_file: String,
    /// Program that runs containers.
    pub runner: String,
    /// Options of its pull command.
    pub pull_options: Vec<String>,
    /// Options of its run command.
    pub run_options: Vec<String>,
}

/// Metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// `noop` or `statsd`.
    pub backend: String,
    /// Whether names start with the host name.
    pub prepend_host: bool,
    /// Whether names start with the node's UUID.
    pub prepend_uuid: bool,
    /// Whether the labels of the host name are reversed.
    pub prepend_host_reverse: bool,
    /// Prefix of all names.
    pub global_prefix: Option<String>,
}

/// Address of statsd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statsd {
    /// Its host.
    pub statsd_host: String,
    /// Its port.
    pub statsd_port: u16,
}

impl AgentConfig {
    /// Returns Ironic's default configuration.
    #[must_use]
    pub fn with_defaults(agent_token: Option<String>) -> Self {
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
