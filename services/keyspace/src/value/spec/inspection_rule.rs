//! Inspection rules.

use serde::{Deserialize, Serialize};

use super::{Secrets, is_false};
use crate::value::ExtraFields;

/// What clients specified of an inspection rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InspectionRuleSpec {
    /// What the rule does, each with `op` and `args`.
    pub actions: Vec<ExtraFields>,
    /// When it does so, each with `op` and `args`. Empty for always.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ExtraFields>,
    /// Description, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The phase of the inspection. `None` for the default, `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Rules with a higher priority are run first.
    pub priority: i64,
    /// Whether conditions and actions are not shown.
    #[serde(skip_serializing_if = "is_false")]
    pub sensitive: bool,
}

impl Secrets for InspectionRuleSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        Vec::new()
    }
}
