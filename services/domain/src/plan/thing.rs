//! What a node waits for, and until when.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a node waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    /// An answer from the BMC.
    Bmc,
    /// Images in the rack's cache.
    Images,
    /// The pxe-service's readiness.
    BootFiles,
    /// The power to reach its target.
    Power,
    /// The agent's first call.
    Agent,
    /// The agent's work.
    Work,
    /// The end of the pause that a step requests.
    Pause,
    /// The deployed system's first sign of life.
    Life,
}

impl Thing {
    /// Description for `node show`, to follow "waits for".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Bmc => "an answer from its BMC",
            Self::Images => "the image to be in the rack's cache",
            Self::BootFiles => "the pxe-service to have its boot files",
            Self::Power => "its power to reach the target",
            Self::Agent => "its agent to call",
            Self::Work => "its agent to finish the work",
            Self::Pause => "the end of the pause that a step requested",
            Self::Life => "the deployed system's first sign of life",
        }
    }
}

/// A wait with its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What the node waits for.
    pub thing: Thing,
    /// Beginning of the wait.
    pub since: Timestamp,
    /// Deadline, after which the attempt fails or is retried.
    pub until: Timestamp,
}
