//! What a person can ask of a node's life.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A request; the words are those of Ironic's `provision` call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Check the BMC, or take out of use.
    Manage,
    /// Put into use.
    Provide,
    /// Bring an image up (Ironic's `active`).
    Deploy,
    /// Bring the image up again.
    Rebuild,
    /// Take the deployment down and clean (Ironic's `deleted`).
    Undeploy,
    /// Run clean steps.
    Clean,
    /// Find out what the machine is.
    Inspect,
    /// Stop what is running.
    Abort,
    /// Take over a machine that already runs its system.
    Adopt,
    /// Boot a rescue system.
    Rescue,
    /// Go back from it.
    Unrescue,
    /// Run steps on a machine in use.
    Service,
    /// Go on from a hold.
    Unhold,
}

impl Verb {
    /// Every verb.
    pub const ALL: &'static [Self] = &[
        Self::Manage,
        Self::Provide,
        Self::Deploy,
        Self::Rebuild,
        Self::Undeploy,
        Self::Clean,
        Self::Inspect,
        Self::Abort,
        Self::Adopt,
        Self::Rescue,
        Self::Unrescue,
        Self::Service,
        Self::Unhold,
    ];
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Manage => "manage",
            Self::Provide => "provide",
            Self::Deploy => "deploy",
            Self::Rebuild => "rebuild",
            Self::Undeploy => "undeploy",
            Self::Clean => "clean",
            Self::Inspect => "inspect",
            Self::Abort => "abort",
            Self::Adopt => "adopt",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::Service => "service",
            Self::Unhold => "unhold",
        })
    }
}

/// The text is not a verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not something a node can be asked for")]
pub struct ParseVerbError(String);

impl FromStr for Verb {
    type Err = ParseVerbError;
    fn from_str(text: &str) -> Result<Self, ParseVerbError> {
        Self::ALL.iter().copied().find(|verb| verb.to_string() == text).ok_or_else(|| ParseVerbError(text.to_owned()))
    }
}
