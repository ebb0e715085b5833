//! Provision verbs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Provision verb. The names are those of Ironic's `provision` call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Verify the BMC, or make an available node manageable.
    Manage,
    /// Make available.
    Provide,
    /// Deploy an image (Ironic's `active`).
    Deploy,
    /// Deploy the image again.
    Rebuild,
    /// Remove the deployment and clean (Ironic's `deleted`).
    Undeploy,
    /// Run clean steps.
    Clean,
    /// Inspect the hardware.
    Inspect,
    /// Abort the running operation.
    Abort,
    /// Adopt a machine that already runs its system.
    Adopt,
    /// Boot a rescue system.
    Rescue,
    /// Return from rescue.
    Unrescue,
    /// Run steps on a node in use.
    Service,
    /// End a hold.
    Unhold,
}

impl Verb {
    /// All verbs.
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

/// Error for a text that is not a verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not something a node can be asked for")]
pub struct ParseVerbError(String);

impl FromStr for Verb {
    type Err = ParseVerbError;
    fn from_str(text: &str) -> Result<Self, ParseVerbError> {
        Self::ALL.iter().copied().find(|verb| verb.to_string() == text).ok_or_else(|| ParseVerbError(text.to_owned()))
    }
}
