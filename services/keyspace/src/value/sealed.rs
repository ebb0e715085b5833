//! Secrets as they are stored.

use serde::{Deserialize, Serialize};

/// A secret that was encrypted by [`Sealer`](crate::seal::Sealer).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The beginning of the key's fingerprint, so that a changed key is noticed and named.
    pub(crate) key: String,
    /// Nonce and ciphertext, in base64.
    pub(crate) sealed: String,
}
