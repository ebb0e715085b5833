//! What a node waits for, and until when.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a node that is not moving waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    /// An answer of its BMC.
    Bmc,
    /// Images in the rack's cache.
    Images,
    /// The pxe-service's readiness.
    BootFiles,
    /// Power at its target.
    Power,
    /// The agent's first call.
    Agent,
    /// The agent's work.
    Work,
    /// The end of a pause that a step asks for.
    Pause,
    /// The deployed system's first sign of life.
    Life,
}

impl Thing {
    /// In words for `node show`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Bmc => "an answer of its BMC",
            Self::Images => "the image to be in the rack's cache",
            Self::BootFiles => "the pxe-service to have its boot files",
            Self::Power => "its power to reach what was asked",
            Self::Agent => "its agent to call",
            Self::Work => "its agent to do the work",
            Self::Pause => "the end of the pause that a step asks for",
            Self::Life => "the deployed system's first sign of life",
        }
    }
}

/// Why nothing can be done now, and when that is looked at again at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// For what.
    pub thing: Thing,
    /// Since when.
    pub since: Timestamp,
    /// Until when; then it has failed, or is tried again.
    pub until: Timestamp,
}
