//! Where a node can be.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Event, NodeFacts, Verb, step};

/// How far work that boots the agent has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Image, boot files and boot token are put in their places.
    Prepare,
    /// The machine was told to boot; the agent has not called.
    Boot,
    /// The agent is at work.
    Work,
    /// The agent is done; power is brought to where the work ends.
    Finish,
}

/// A kind of work, remembered by a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Finding out whether the BMC answers.
    Verify,
    /// Finding out what the machine is.
    Inspect,
    /// Bringing an image up.
    Deploy,
    /// Taking a deployment down.
    Delete,
    /// Making the disks forget.
    Clean,
    /// Cleaning by steps that a person named.
    ManualClean,
    /// Taking over a running machine.
    Adopt,
    /// Booting a rescue system.
    Rescue,
    /// Going back from it.
    Unrescue,
    /// Steps on a machine in use.
    Service,
}

/// Where a node is in its life. Persisted; add variants, never repurpose one.
///
/// Ironic's whole list stands here from the first line; [`super::step`] refuses the arrows that are not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// Known by name; nothing was checked.
    Enroll,
    /// The BMC is being asked.
    Verifying,
    /// The BMC answers; not for use.
    Manageable,
    /// What the machine is made of is being found out.
    Inspecting {
        /// How far.
        stage: Stage,
    },
    /// Clean, and may be deployed.
    Available,
    /// An image is being brought up.
    Deploying {
        /// How far.
        stage: Stage,
    },
    /// Held between deploy steps.
    DeployHold,
    /// In use.
    Active,
    /// A deployment is being taken down.
    Deleting,
    /// Disks are being made to forget.
    Cleaning {
        /// How far.
        stage: Stage,
        /// A person named the steps: it ends where it began, and not in use.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        manual: bool,
    },
    /// Held between clean steps.
    CleanHold,
    /// A running machine is being taken over.
    Adopting,
    /// A rescue system is being booted.
    Rescuing {
        /// How far.
        stage: Stage,
    },
    /// The rescue system runs.
    Rescue,
    /// On the way back from rescue.
    Unrescuing {
        /// How far.
        stage: Stage,
    },
    /// Steps on a machine in use.
    Servicing {
        /// How far.
        stage: Stage,
    },
    /// Held between service steps.
    ServiceHold,
    /// Stopped until a person acts.
    Failed {
        /// What a retry goes back to.
        during: Phase,
    },
}

impl State {
    /// The word that Ironic's clients know it by.
    #[must_use]
    pub const fn ironic_name(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Verifying => "verifying",
            Self::Manageable => "manageable",
            Self::Inspecting { stage: Stage::Boot } => "inspect wait",
            Self::Inspecting { .. } => "inspecting",
            Self::Available => "available",
            Self::Deploying { stage: Stage::Boot } => "wait call-back",
            Self::Deploying { .. } => "deploying",
            Self::DeployHold => "deploy hold",
            Self::Active => "active",
            Self::Deleting => "deleting",
            Self::Cleaning { stage: Stage::Boot, .. } => "clean wait",
            Self::Cleaning { .. } => "cleaning",
            Self::CleanHold => "clean hold",
            Self::Adopting => "adopting",
            Self::Rescuing { stage: Stage::Boot } => "rescue wait",
            Self::Rescuing { .. } => "rescuing",
            Self::Rescue => "rescue",
            Self::Unrescuing { .. } => "unrescuing",
            Self::Servicing { stage: Stage::Boot } => "service wait",
            Self::Servicing { .. } => "servicing",
            Self::ServiceHold => "service hold",
            Self::Failed { during } => during.failed_name(),
        }
    }

    /// Where the work that is going on, or that failed, was to lead: Ironic's word for `target_provision_state`.
    #[must_use]
    pub const fn target(self) -> Option<&'static str> {
        match self {
            Self::Verifying | Self::Inspecting { .. } | Self::Failed { during: Phase::Inspect } => Some("manageable"),
            Self::Cleaning { manual: true, .. } | Self::Failed { during: Phase::ManualClean } => Some("manageable"),
            Self::Deleting
            | Self::Cleaning { manual: false, .. }
            | Self::CleanHold
            | Self::Failed { during: Phase::Clean } => Some("available"),
            Self::Rescuing { .. } | Self::Failed { during: Phase::Rescue } => Some("rescue"),
            Self::Deploying { .. }
            | Self::DeployHold
            | Self::Adopting
            | Self::Unrescuing { .. }
            | Self::Servicing { .. }
            | Self::ServiceHold
            | Self::Failed { during: Phase::Deploy | Phase::Adopt | Phase::Unrescue | Phase::Service } => {
                Some("active")
            }
            Self::Enroll
            | Self::Manageable
            | Self::Available
            | Self::Active
            | Self::Rescue
            | Self::Failed { during: Phase::Verify | Phase::Delete } => None,
        }
    }

    /// Whether an operation runs here.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        match self {
            Self::Verifying
            | Self::Inspecting { .. }
            | Self::Deploying { .. }
            | Self::Deleting
            | Self::Cleaning { .. }
            | Self::Adopting
            | Self::Rescuing { .. }
            | Self::Unrescuing { .. }
            | Self::Servicing { .. } => true,
            Self::Enroll
            | Self::Manageable
            | Self::Available
            | Self::DeployHold
            | Self::Active
            | Self::CleanHold
            | Self::Rescue
            | Self::ServiceHold
            | Self::Failed { .. } => false,
        }
    }

    /// Whether the work that is going on ends with the deployed system running.
    #[must_use]
    pub const fn ends_in_use(self) -> bool {
        matches!(self, Self::Deploying { .. } | Self::Servicing { .. } | Self::Unrescuing { .. })
    }

    /// Whether its BMC has ever answered to the credentials that are kept.
    #[must_use]
    pub const fn is_verified(self) -> bool {
        !matches!(self, Self::Enroll | Self::Verifying | Self::Failed { during: Phase::Verify })
    }

    /// What a person may ask for here.
    #[must_use]
    pub fn verbs(self) -> Vec<Verb> {
        let facts = NodeFacts::default();
        Verb::ALL.iter().copied().filter(|verb| step(self, Event::Asked(*verb), facts).is_ok()).collect()
    }

    /// Whether the node may be deleted from the registry.
    #[must_use]
    pub const fn may_be_removed(self) -> bool {
        matches!(
            self,
            Self::Enroll | Self::Manageable | Self::Available | Self::Failed { during: Phase::Adopt | Phase::Inspect }
        )
    }
}

impl Phase {
    const fn failed_name(self) -> &'static str {
        match self {
            Self::Verify => "enroll",
            Self::Inspect => "inspect failed",
            Self::Deploy => "deploy failed",
            Self::Delete => "error",
            Self::Clean | Self::ManualClean => "clean failed",
            Self::Adopt => "adopt failed",
            Self::Rescue => "rescue failed",
            Self::Unrescue => "unrescue failed",
            Self::Service => "service failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.ironic_name())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Verify => "verify",
            Self::Inspect => "inspect",
            Self::Deploy => "deploy",
            Self::Delete => "undeploy",
            Self::Clean | Self::ManualClean => "clean",
            Self::Adopt => "adopt",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::Service => "service",
        })
    }
}
