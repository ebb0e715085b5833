//! Secrets as they are stored.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret that was encrypted by [`Sealer`](crate::seal::Sealer).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Id of the key.
    pub(crate) key: String,
    /// Nonce and ciphertext, in base64.
    pub(crate) sealed: String,
}

/// State of a key. It passes them in this order, and each change is distributed before the next one is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Distributed, so that every service can open what will be sealed with it. Nothing is.
    Next,
    /// New secrets are sealed with it.
    Active,
    /// Opens what was sealed with it before.
    Old,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Old => "old",
        })
    }
}
