//! Allocations.

use std::collections::BTreeMap;

use domain::{
    id::NodeId,
    placement::{AntiAffinity, PlacementOrder},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::Secrets;
use crate::value::ExtraFields;

/// State of an allocation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllocationState {
    /// It has no node yet.
    #[default]
    Allocating,
    /// It has a node.
    Active,
    /// It failed.
    Error,
}

impl AllocationState {
    /// The state in Ironic's words.
    #[must_use]
    pub const fn ironic_name(self) -> &'static str {
        match self {
            Self::Allocating => "allocating",
            Self::Active => "active",
            Self::Error => "error",
        }
    }
}

/// What an allocation may specify beyond Ironic's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Required capabilities of the node (`properties.capabilities`) and their values.
    pub capabilities: BTreeMap<String, String>,
    /// The group of allocations whose placement depends on each other. Empty for none.
    pub group: String,
    /// Which rack is preferred.
    pub order: PlacementOrder,
    /// What the nodes of the group may not share.
    pub anti_affinity: AntiAffinity,
    /// Until when it waits in the queue if no node is suitable. `None` to fail at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_until: Option<Timestamp>,
}

impl Placement {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Specification of an allocation by clients, and its result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocationSpec {
    /// Ids of the nodes that it may be given. Empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidate_nodes: Vec<NodeId>,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
    /// Reason it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Its name. A suitable node of the same name is preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The node that it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_uuid: Option<NodeId>,
    /// The project that owns it: its node is owned by or lent to that project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Required resource class of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_class: Option<String>,
    /// Its state.
    pub state: AllocationState,
    /// Required traits of the node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<String>,
    /// What it specifies beyond Ironic's fields.
    #[serde(skip_serializing_if = "Placement::is_default")]
    pub placement: Placement,
}

impl AllocationSpec {
    /// Whether it has no node yet and may get one.
    #[must_use]
    pub fn is_allocating(&self) -> bool {
        self.state == AllocationState::Allocating
    }

    /// Whether it waits in the queue at this time if no node is suitable.
    #[must_use]
    pub fn waits(&self, now: Timestamp) -> bool {
        self.placement.queue_until.is_some_and(|until| now < until)
    }
}

impl Secrets for AllocationSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        vec![("extra".to_owned(), &mut self.extra)]
    }
}
