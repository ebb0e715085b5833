//! `POST /v1/heartbeat/{node}`: an agent lives, and says where it can be called.

use serde_json::{Map, Value};

use crate::argument;
use crate::error::{Class, Error};
use crate::version::{Collection, Version};

pub(crate) const ARGUMENTS: &[&str] =
    &["callback_url", "agent_version", "agent_token", "agent_verify_ca", "agent_status", "agent_status_message"];
/// Since when an agent says its version, its certificate, and how a foreign installer fares.
const AGENT_VERSION: u16 = 36;
const VERIFY_CA: u16 = 68;
const STATUS: u16 = 72;

/// The words for how a foreign installer fares.
pub(crate) const PHASES: &[&str] = &["start", "end", "error"];

/// How a foreign installer fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It has begun.
    Start,
    /// It is done.
    End,
    /// It has failed.
    Error,
}

/// One heartbeat.
#[derive(Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Where the agent is called; empty for an installer that cannot be called.
    pub callback_url: String,
    /// What it proves itself by.
    pub agent_token: String,
    /// Its version; without one it is too old.
    pub agent_version: Option<String>,
    /// The certificate that its address answers with.
    pub agent_verify_ca: Option<String>,
    /// How an installer fares.
    pub agent_status: Option<Phase>,
    /// What the installer says about it.
    pub agent_status_message: Option<String>,
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heartbeat").field("callback_url", &self.callback_url).finish_non_exhaustive()
    }
}

impl Heartbeat {
    /// Reads a body and checks it against the address that the node's agent had so far, if it had one.
    ///
    /// # Errors
    /// 404 for a request older than 22, 400 for all else.
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
        if given(&agent_version) && !version.has(AGENT_VERSION) {
            return Err(Class::Invalid.says("Field \"agent_version\" not recognised"));
        }
        if (given(&status) || given(&agent_status_message)) && !version.has(STATUS) {
            return Err(Class::Invalid.says("Fields \"agent_status\" and \"agent_status_message\" not recognised."));
        }
        if agent_verify_ca.is_some() && !version.has(VERIFY_CA) {
            return Err(Class::Invalid.says("Field \"agent_verify_ca\" not recognised in this version"));
        }
        check_url(&callback_url, known)?;
        let agent_token = argument::text(body, "agent_token")?
            .ok_or_else(|| Class::Invalid.says("Agent token is required for heartbeat processing."))?;
        let agent_status = status.as_deref().map(phase).transpose()?;
        Ok(Self { callback_url, agent_token, agent_version, agent_verify_ca, agent_status, agent_status_message })
    }

    /// Whether the agent is one that can be worked with. The comparison of tokens is the caller's, in constant time.
    ///
    /// # Errors
    /// 400.
    pub fn check_version(&self) -> Result<(), Error> {
        if given(&self.agent_version) || self.agent_status.is_some() {
            return Ok(());
        }
        Err(Class::Invalid
            .says("Agent did not transmit a version, and a version is required. Please update the agent being used."))
    }

    /// Whether the agent is called by TLS, where that is required.
    ///
    /// # Errors
    /// 400.
    pub fn check_tls(&self) -> Result<(), Error> {
        if self.callback_url.is_empty() || self.callback_url.starts_with("https://") {
            return Ok(());
        }
        Err(Class::Invalid.says("TLS is required by configuration"))
    }

    /// The refusal of a token that is not the node's.
    #[must_use]
    pub fn wrong_token() -> Error {
        Class::Invalid.says("Invalid or missing agent token received.")
    }
}

fn given(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}

/// The address of an agent does not change while it lives: another one is another agent.
fn check_url(url: &str, known: Option<&str>) -> Result<(), Error> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if !url.is_empty() && !matches!(scheme.as_str(), "http" | "https") {
        return Err(Class::Invalid.says("An issue with the supplied \"callback_url\" has been detected."));
    }
    if known.is_some_and(|known| known != url) {
        return Err(Class::Invalid.says("Detected change in ramdisk provided \"callback_url\""));
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
            Err(Class::Invalid.says(format!("Agent status is invalid. Valid states are {words}.")))
        }
    }
}

/// What a heartbeat does to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heed {
    /// The work goes on.
    GoesOn,
    /// Only record it: work is already in progress, or a user holds the node.
    Noted,
    /// It is answered like any other, and forgotten.
    Ignored,
}

/// What a heartbeat does in a provision state; in maintenance it is noted at most.
#[must_use]
pub fn heed(state: &str) -> Heed {
    match state {
        "wait call-back" | "clean wait" | "service wait" | "rescue wait" => Heed::GoesOn,
        "deploying" | "cleaning" | "rescuing" | "servicing" | "deploy hold" | "clean hold" | "service hold" => {
            Heed::Noted
        }
        _ => Heed::Ignored,
    }
}
