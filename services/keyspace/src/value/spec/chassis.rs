//! Chassis.

use serde::{Deserialize, Serialize};

use super::Secrets;
use crate::value::ExtraFields;

/// What clients specified of a chassis.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChassisSpec {
    /// Description, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
}

impl Secrets for ChassisSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        vec![("extra".to_owned(), &mut self.extra)]
    }
}
