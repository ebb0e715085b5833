//! Provisioning states of a node.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Event, NodeFacts, Verb, step};
use crate::driver::Interface;

/// Progress of work that boots the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Image, boot files and boot token are prepared.
    Prepare,
    /// The machine was booted; the agent has not called yet.
    Boot,
    /// The agent works.
    Work,
    /// The agent is done; the power is changed to its final state.
    Finish,
}

/// Kind of work, recorded in a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Verifying the BMC's credentials.
    Verify,
    /// Inspecting the hardware.
    Inspect,
    /// Deploying an image.
    Deploy,
    /// Removing a deployment.
    Delete,
    /// Cleaning the disks.
    Clean,
    /// Cleaning by requested steps.
    ManualClean,
    /// Taking over a running machine.
    Adopt,
    /// Booting a rescue system.
    Rescue,
    /// Returning from rescue.
    Unrescue,
    /// Running steps on a node in use.
    Service,
}

impl Phase {
    /// Returns the interface whose implementation does the work. `None` if the work is for the BMC alone.
    #[must_use]
    pub const fn interface(self) -> Option<Interface> {
        match self {
            Self::Verify | Self::Adopt => None,
            Self::Inspect => Some(Interface::Inspect),
            Self::Deploy | Self::Delete | Self::Clean | Self::ManualClean | Self::Service => Some(Interface::Deploy),
            Self::Rescue | Self::Unrescue => Some(Interface::Rescue),
        }
    }
}

/// Provisioning state of a node. Persisted: add variants, never change the meaning of one.
///
/// Contains all of Ironic's states; [`super::step`] refuses transitions that are not implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// Registered, not verified.
    Enroll,
    /// The BMC is being verified.
    Verifying,
    /// The BMC responds; the node is not available for use.
    Manageable,
    /// The hardware is being inspected.
    Inspecting {
        /// How far.
        stage: Stage,
    },
    /// Clean and available for deployment.
    Available,
    /// An image is being deployed.
    Deploying {
        /// How far.
        stage: Stage,
    },
    /// Held between deploy steps.
    DeployHold,
    /// In use.
    Active,
    /// A deployment is being removed.
    Deleting,
    /// Disks are being cleaned.
    Cleaning {
        /// How far.
        stage: Stage,
        /// Whether a client requested the steps. Such a cleaning returns to manageable.
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
    /// Returning from rescue.
    Unrescuing {
        /// How far.
        stage: Stage,
    },
    /// Steps run on a node in use.
    Servicing {
        /// How far.
        stage: Stage,
    },
    /// Held between service steps.
    ServiceHold,
    /// Stopped until an operator acts.
    Failed {
        /// Phase that a retry resumes.
        during: Phase,
    },
}

impl State {
    /// Returns how far the work is that boots an agent. `None` in other states.
    #[must_use]
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::Inspecting { stage }
            | Self::Deploying { stage }
            | Self::Cleaning { stage, .. }
            | Self::Rescuing { stage }
            | Self::Unrescuing { stage }
            | Self::Servicing { stage } => Some(stage),
            Self::Enroll
            | Self::Verifying
            | Self::Manageable
            | Self::Available
            | Self::DeployHold
            | Self::Active
            | Self::Deleting
            | Self::CleanHold
            | Self::Adopting
            | Self::Rescue
            | Self::ServiceHold
            | Self::Failed { .. } => None,
        }
    }

    /// Ironic's name of the state.
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

    /// State to which the running or failed work leads, as in Ironic's `target_provision_state`.
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

    /// Returns whether an operation runs in this state.
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

    /// Returns whether the running work ends with the deployed system running.
    #[must_use]
    pub const fn ends_in_use(self) -> bool {
        matches!(self, Self::Deploying { .. } | Self::Servicing { .. } | Self::Unrescuing { .. })
    }

    /// Returns whether the BMC has accepted the stored credentials.
    #[must_use]
    pub const fn is_verified(self) -> bool {
        !matches!(self, Self::Enroll | Self::Verifying | Self::Failed { during: Phase::Verify })
    }

    /// Verbs that a client may request in this state.
    #[must_use]
    pub fn verbs(self) -> Vec<Verb> {
        let facts = NodeFacts::default();
        Verb::ALL.iter().copied().filter(|verb| step(self, Event::Asked(*verb), facts).is_ok()).collect()
    }

    /// Returns whether the node may be removed from the registry.
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
