//! What the agent is told to do: commands, and what became of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The kind of work whose steps a command is about.
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
    /// Its word in the names of commands.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Deploy => "deploy",
            Self::Service => "service",
        }
    }
}

/// One command.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Its name, with the extension's before the point.
    pub name: String,
    /// What it is told.
    pub params: Map<String, Value>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Command {
    /// A command by its name; `params` that are no object are none.
    #[must_use]
    pub fn new(name: impl Into<String>, params: Value) -> Self {
        let params = match params {
            Value::Object(params) => params,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        };
        Self { name: name.into(), params }
    }

    /// Asks for the steps that the agent has. Answered at once, with [`StepsFound`].
    #[must_use]
    pub fn get_steps(kind: Kind, node: &Value, ports: &Value) -> Self {
        let word = kind.word();
        Self::new(format!("{word}.get_{word}_steps"), json!({"node": node, "ports": ports}))
    }

    /// Has one step made. `version` is the `hardware_manager_version` of the steps; if the agent has another by now,
    /// the outcome is [`Status::VersionMismatch`], and all begins anew.
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

    /// Installs the boot loader of what was written.
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

    /// A command without anything to tell: `standby.sync`, `standby.power_off`, `standby.run_image`,
    /// `standby.get_partition_uuids`, `log.collect_system_logs`, `system.lockdown`.
    #[must_use]
    pub fn bare(name: &str) -> Self {
        Self::new(name, Value::Null)
    }
}

/// Where commands are sent. The token is in the address: keep it out of logs.
#[must_use]
pub fn commands_url(callback_url: &str, wait: bool, token: &str) -> String {
    format!("{}/v1/commands/?wait={wait}&agent_token={token}", callback_url.trim_end_matches('/'))
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Not done yet.
    #[serde(rename = "RUNNING")]
    Running,
    /// Done.
    #[serde(rename = "SUCCEEDED")]
    Succeeded,
    /// Not done, and not to be.
    #[serde(rename = "FAILED")]
    Failed,
    /// The agent's steps are not those that it was asked about.
    #[serde(rename = "CLEAN_VERSION_MISMATCH")]
    VersionMismatch,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its name for further questions.
    pub id: String,
    /// Its name, without the extension's.
    pub command_name: String,
    /// How far it is.
    pub command_status: Status,
    /// What went wrong.
    #[serde(default)]
    pub command_error: Option<Value>,
    /// What came out.
    #[serde(default)]
    pub command_result: Option<Value>,
}

/// All that an agent was ever told, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commands {
    /// The commands.
    pub commands: Vec<Outcome>,
}

impl Commands {
    /// The latest of a name, which is the one that counts.
    #[must_use]
    pub fn latest(&self, command_name: &str) -> Option<&Outcome> {
        self.commands.iter().rev().find(|outcome| outcome.command_name == command_name)
    }
}

/// The steps that an agent has, by who in it offers them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepsFound {
    /// By hardware manager.
    #[serde(alias = "clean_steps", alias = "deploy_steps", alias = "service_steps")]
    pub steps: Map<String, Value>,
    /// The version of each; handed back with every step.
    pub hardware_manager_version: Value,
}

/// The image that `write_image` writes.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Its name.
    pub id: String,
    /// Where it is; the first that answers.
    pub urls: Vec<String>,
    /// A checksum by an algorithm that its length tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// The algorithm, such as `sha256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_hash_algo: Option<String>,
    /// The checksum by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_hash_value: Option<String>,
    /// `raw` or `qcow2`.
    pub disk_format: String,
    /// `bare`.
    pub container_format: String,
    /// A raw image goes straight to the disk.
    pub stream_raw_images: bool,
    /// The node.
    pub node_uuid: String,
    /// The config drive, or where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configdrive: Option<String>,
    /// By which proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<Value>,
    /// What a partition image needs: `root_mb`, `swap_mb`, `ephemeral_mb` and more.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl std::fmt::Debug for ImageInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageInfo").field("id", &self.id).field("urls", &self.urls).finish_non_exhaustive()
    }
}
