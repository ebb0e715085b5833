//! Deploy templates and runbooks: named lists of steps.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Secrets, is_false};
use crate::value::ExtraFields;

/// A step of a deploy template or a runbook.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepSpec {
    /// Interface that the step belongs to.
    pub interface: String,
    /// Name of the step within its interface.
    pub step: String,
    /// Its arguments, sealed where they are secrets.
    #[serde(default)]
    pub args: ExtraFields,
    /// Priority in a deploy template: steps with a higher one are run first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u64>,
    /// Place in a runbook: steps with a lower one are run first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// Whether it is run on the node's children instead of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execute_on_child_nodes: Option<bool>,
    /// The children that it is run on. `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_child_node_execution: Option<Vec<Value>>,
}

/// What clients specified of a deploy template.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeployTemplateSpec {
    /// Description, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
    /// Its name: the trait of instances that its steps are run for.
    pub name: String,
    /// Its steps.
    pub steps: Vec<StepSpec>,
}

/// What clients specified of a runbook.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunbookSpec {
    /// Description, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether its steps are run without booting a ramdisk.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_ramdisk: bool,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
    /// Its name.
    pub name: String,
    /// The project that owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether every project may use it.
    #[serde(skip_serializing_if = "is_false")]
    pub public: bool,
    /// Its steps.
    pub steps: Vec<StepSpec>,
    /// Traits of nodes that it is approved for, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<String>,
}

/// The arguments of steps, which may hold secrets.
fn arguments(steps: &mut [StepSpec]) -> Vec<(String, &mut ExtraFields)> {
    let numbered = steps.iter_mut().enumerate();
    numbered.map(|(index, step)| (format!("steps/{index}/args"), &mut step.args)).collect()
}

impl Secrets for DeployTemplateSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        arguments(&mut self.steps)
    }
}

impl Secrets for RunbookSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        arguments(&mut self.steps)
    }
}
