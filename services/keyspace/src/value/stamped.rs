//! Records with their times.

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What clients specified of a resource, with the times of its creation and of its last change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamped<T> {
    /// What clients specified.
    pub spec: T,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed. `None` if never.
    #[serde(default = "never", skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

const fn never() -> Option<Timestamp> {
    None
}

impl<T> Stamped<T> {
    /// A new resource.
    #[must_use]
    pub const fn created(spec: T, at: Timestamp) -> Self {
        Self { spec, created_at: at, updated_at: None }
    }

    /// The resource after a change.
    #[must_use]
    pub const fn updated(&self, spec: T, at: Timestamp) -> Self {
        Self { spec, created_at: self.created_at, updated_at: Some(at) }
    }
}
