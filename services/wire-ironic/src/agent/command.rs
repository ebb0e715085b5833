//! Commands for the agent, and their results.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Kind of work that a command's steps belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Cleaning.
    Clean,
    /// Deploying.
    Deploy,
    /// Servicing.
    Service,
}

impl Kind {
    /// Name in commands.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Deploy => "deploy",
            Self::Service => "service",
        }
    }
}

/// Command.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Name, with the extension before the dot.
    pub name: String,
    /// Parameters.
    pub params: Map<String, Value>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Command {
    /// Creates a command. `params` that are not an object are left out.
    #[must_use]
    pub fn new(name: impl Into<String>, params: Value) -> Self {
        let params = match params {
            Value::Object(params) => params,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        };
        Self { name: name.into(), params }
    }

    /// Requests the agent's steps. The response is immediate: [`StepsFound`].
    #[must_use]
    pub fn get_steps(kind: Kind, node: &Value, ports: &Value) -> Self {
        let word = kind.word();
        Self::new(format!("{word}.get_{word}_steps"), json!({"node": node, "ports": ports}))
    }

    /// Executes one step. `version` is the `hardware_manager_version` of the steps; if the agent has another one by now,
    /// the outcome is [`Status::VersionMismatch`], and the work starts again.
    #[must_use]
    pub fn execute_step(kind: Kind, step: &Value, node: &Value, ports: &Value, version: &Value) -> Self {
        let word = kind.word();
        let mut command =
            Self::new(format!("{word}.execute_{word}_step"), json!({"step": step, "node": node, "ports": ports}));
        command.params.insert(format!("{word}_version"), version.clone());
        command
    }

    /// Sets the password of the rescue system; `password` is a hash.
    #[must_use]
    pub fn finalize_rescue(password: &str) -> Self {
        Self::new("rescue.finalize_rescue", json!({"rescue_password": password, "hashed": true}))
    }

    /// Installs the boot loader of the written image.
    #[must_use]
    pub fn install_bootloader(root: Option<&str>, esp: Option<&str>, prep: Option<&str>, boot_mode: &str) -> Self {
        Self::new(
            "image.install_bootloader",
            json!({
                "root_uuid": root,
                "efi_system_part_uuid": esp,
                "prep_boot_part_uuid": prep,
                "target_boot_mode": boot_mode,
            }),
        )
    }

    /// Creates a command without parameters: `standby.sync`, `standby.power_off`, `standby.run_image`,
    /// `standby.get_partition_uuids`, `log.collect_system_logs`, `system.lockdown`.
    #[must_use]
    pub fn bare(name: &str) -> Self {
        Self::new(name, Value::Null)
    }
}

/// Returns the URL for commands. It contains the token: keep it out of logs.
#[must_use]
pub fn commands_url(callback_url: &str, wait: bool, token: &str) -> String {
    format!("{}/v1/commands/?wait={wait}&agent_token={token}", callback_url.trim_end_matches('/'))
}

/// Status of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Running.
    #[serde(rename = "RUNNING")]
    Running,
    /// Succeeded.
    #[serde(rename = "SUCCEEDED")]
    Succeeded,
    /// Failed.
    #[serde(rename = "FAILED")]
    Failed,
    /// The agent's steps have changed since they were listed.
    #[serde(rename = "CLEAN_VERSION_MISMATCH")]
    VersionMismatch,
}

/// Result of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Id of the command.
    pub id: String,
    /// Name of the command, without the extension.
    pub command_name: String,
    /// Status.
    pub command_status: Status,
    /// Error.
    #[serde(default)]
    pub command_error: Option<Value>,
    /// Result.
    #[serde(default)]
    pub command_result: Option<Value>,
}

/// All commands that an agent has received, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commands {
    /// The commands.
    pub commands: Vec<Outcome>,
}

impl Commands {
    /// Returns the latest command with a name.
    #[must_use]
    pub fn latest(&self, command_name: &str) -> Option<&Outcome> {
        self.commands.iter().rev().find(|outcome| outcome.command_name == command_name)
    }
}

/// Steps of an agent, by hardware manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepsFound {
    /// Steps of each hardware manager.
    #[serde(alias = "clean_steps", alias = "deploy_steps", alias = "service_steps")]
    pub steps: Map<String, Value>,
    /// Version of each hardware manager; sent back with every step.
    pub hardware_manager_version: Value,
}

/// Image for the `write_image` step.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Its name.
    pub id: String,
    /// URLs; the first that responds is used.
    pub urls: Vec<String>,
    /// Checksum; its length determines the algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Hash algorithm, such as `sha256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_hash_algo: Option<String>,
    /// Hash by that algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_hash_value: Option<String>,
    /// `raw` or `qcow2`.
    pub disk_format: String,
    /// `bare`.
    pub container_format: String,
    /// Whether a raw image is streamed to the disk.
    pub stream_raw_images: bool,
    /// Id of the node.
    pub node_uuid: String,
    /// Config drive, or its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configdrive: Option<String>,
    /// HTTP proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<Value>,
    /// Properties of a partition image: `root_mb`, `swap_mb`, `ephemeral_mb` and more.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl std::fmt::Debug for ImageInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageInfo").field("id", &self.id).field("urls", &self.urls).finish_non_exhaustive()
    }
}
