//! What clients specify of the resources of Ironic's API, one file per resource.
//!
//! Fields have the names of that API's newest version. A field that no client set has its default, which is the initial
//! value that the API documents.

mod allocation;
mod chassis;
mod inspection_rule;
mod node;
mod port;
mod steps;
mod volume;
mod webhook;

pub use domain::placement::{AntiAffinity, PlacementOrder};

pub use self::{
    allocation::{AllocationSpec, AllocationState, Placement},
    chassis::ChassisSpec,
    inspection_rule::InspectionRuleSpec,
    node::NodeSpec,
    port::{PortSpec, PortgroupSpec},
    steps::{DeployTemplateSpec, RunbookSpec, StepSpec},
    volume::{VolumeConnectorSpec, VolumeTargetSpec},
    webhook::WebhookSpec,
};

use super::ExtraFields;

/// A record whose dictionaries may hold secrets.
pub trait Secrets {
    /// Its dictionaries that may hold secrets, each with its path within the record. A sealed secret is bound to that path.
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)>;
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests;
