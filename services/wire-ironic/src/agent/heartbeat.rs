//! `POST /v1/heartbeat/{node}`: an agent reports that it is alive, and its URL.

use serde_json::{Map, Value};

use crate::argument;
use crate::error::{Class, Error};
use crate::version::{Collection, Version};

/// Members of the body.
pub(crate) const ARGUMENTS: &[&str] =
    &["callback_url", "agent_version", "agent_token", "agent_verify_ca", "agent_status", "agent_status_message"];
/// First minor version with `agent_version`.
const AGENT_VERSION_SINCE: u16 = 36;
/// First minor version with `agent_verify_ca`.
const AGENT_VERIFY_CA_SINCE: u16 = 68;
/// First minor version with `agent_status` and `agent_status_message`.
const AGENT_STATUS_SINCE: u16 = 72;

/// Names of the phases of a custom installer.
pub(crate) const PHASES: &[&str] = &["start", "end", "error"];

/// Phase of a custom installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Started.
    Start,
    /// Finished.
    End,
    /// Failed.
    Error,
}

/// Parsed heartbeat.
#[derive(Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// URL of the agent. Empty for an installer without an API.
    pub callback_url: String,
    /// Token of the agent.
    pub agent_token: String,
    /// Version of the agent. `None` for one that is too old.
    pub agent_version: Option<String>,
    /// Certificate of its URL.
    pub agent_verify_ca: Option<String>,
    /// Phase of a custom installer.
    pub agent_status: Option<Phase>,
    /// Message of the installer.
    pub agent_status_message: Option<String>,
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heartbeat").field("callback_url", &self.callback_url).finish_non_exhaustive()
    }
}

impl Heartbeat {
    /// Parses a body and checks it against the node's previous agent URL, if there is one.
    ///
    /// # Errors
    /// 404 for a request older than 22, otherwise 400.
    pub fn read(version: Version, body: &Map<String, Value>, known: Option<&str>) -> Result<Self, Error> {
        if let Some(collection) = Collection::named("heartbeat") {
            collection.check(version, false)?;
        }
        argument::only(body, ARGUMENTS)?;
        let callback_url = argument::text(body, "callback_url")?.ok_or_else(|| argument::missing("callback_url"))?;
        let agent_version = argument::text(body, "agent_version")?;
        let agent_verify_ca = argument::text(body, "agent_verify_ca")?;
        let status = argument::text(body, "agent_status")?;
        let agent_status_message = argument::text(body, "agent_status_message")?;
        if has_text(&agent_version) && !version.has(AGENT_VERSION_SINCE) {
            return Err(Class::Invalid.error("Field \"agent_version\" not recognised"));
        }
        if (has_text(&status) || has_text(&agent_status_message)) && !version.has(AGENT_STATUS_SINCE) {
            return Err(Class::Invalid.error("Fields \"agent_status\" and \"agent_status_message\" not recognised."));
        }
        if agent_verify_ca.is_some() && !version.has(AGENT_VERIFY_CA_SINCE) {
            return Err(Class::Invalid.error("Field \"agent_verify_ca\" not recognised in this version"));
        }
        check_url(&callback_url, known)?;
        let agent_token = argument::text(body, "agent_token")?
            .ok_or_else(|| Class::Invalid.error("Agent token is required for heartbeat processing."))?;
        let agent_status = status.as_deref().map(phase).transpose()?;
        Ok(Self { callback_url, agent_token, agent_version, agent_verify_ca, agent_status, agent_status_message })
    }

    /// Checks that the agent is recent enough. The caller compares the tokens, in constant time.
    ///
    /// # Errors
    /// 400.
    pub fn check_version(&self) -> Result<(), Error> {
        if has_text(&self.agent_version) || self.agent_status.is_some() {
            return Ok(());
        }
        Err(Class::Invalid
            .error("Agent did not transmit a version, and a version is required. Please update the agent being used."))
    }

    /// Checks that the agent uses TLS, if that is required.
    ///
    /// # Errors
    /// 400.
    pub fn check_tls(&self) -> Result<(), Error> {
        if self.callback_url.is_empty() || self.callback_url.starts_with("https://") {
            return Ok(());
        }
        Err(Class::Invalid.error("TLS is required by configuration"))
    }

    /// Error for a token that is not the node's.
    #[must_use]
    pub fn wrong_token() -> Error {
        Class::Invalid.error("Invalid or missing agent token received.")
    }
}

fn has_text(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}

/// Checks the URL. An agent keeps its URL; another URL means another agent.
fn check_url(url: &str, known: Option<&str>) -> Result<(), Error> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if !url.is_empty() && !matches!(scheme.as_str(), "http" | "https") {
        return Err(Class::Invalid.error("An issue with the supplied \"callback_url\" has been detected."));
    }
    if known.is_some_and(|known| known != url) {
        return Err(Class::Invalid.error("Detected change in ramdisk provided \"callback_url\""));
    }
    Ok(())
}

fn phase(word: &str) -> Result<Phase, Error> {
    match word {
        "start" => Ok(Phase::Start),
        "end" => Ok(Phase::End),
        "error" => Ok(Phase::Error),
        _ => {
            let words = PHASES.join(",");
            Err(Class::Invalid.error(format!("Agent status is invalid. Valid states are {words}.")))
        }
    }
}

/// Effect of a heartbeat on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeartbeatEffect {
    /// The work continues.
    Continue,
    /// The heartbeat is only recorded: work is already in progress, or a user holds the node.
    Record,
    /// The heartbeat is accepted and ignored.
    Ignore,
}

/// Returns the effect of a heartbeat in a provision state. In maintenance it is recorded at most.
#[must_use]
pub fn heartbeat_effect(state: &str) -> HeartbeatEffect {
    match state {
        "wait call-back" | "clean wait" | "service wait" | "rescue wait" => HeartbeatEffect::Continue,
        "deploying" | "cleaning" | "rescuing" | "servicing" | "deploy hold" | "clean hold" | "service hold" => {
            HeartbeatEffect::Record
        }
        _ => HeartbeatEffect::Ignore,
    }
}
