//! Webhooks.

use serde::{Deserialize, Serialize};

use super::Secrets;
use crate::value::ExtraFields;

/// What clients specified of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WebhookSpec {
    /// `secret`, which signs deliveries; `token`, a bearer token; `ca`, PEM certificates that the receiver's is checked with.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub delivery_info: ExtraFields,
    /// Description, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is delivered to.
    pub enabled: bool,
    /// Anything that clients want to remember.
    #[serde(skip_serializing_if = "ExtraFields::is_empty")]
    pub extra: ExtraFields,
    /// Its name.
    pub name: String,
    /// The query that selects its nodes, as for a list of nodes. `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Where its receiver is.
    pub url: String,
}

impl Default for WebhookSpec {
    fn default() -> Self {
        Self {
            delivery_info: ExtraFields::default(),
            description: None,
            enabled: true,
            extra: ExtraFields::default(),
            name: String::new(),
            query: None,
            url: String::new(),
        }
    }
}

impl Secrets for WebhookSpec {
    fn secret_fields(&mut self) -> Vec<(String, &mut ExtraFields)> {
        vec![("delivery_info".to_owned(), &mut self.delivery_info)]
    }
}
