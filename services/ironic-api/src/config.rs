//! Configuration of the REST listener.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[scheduler.rest_tls]` table: the certificate of the REST API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestTls {
    /// Certificate chain, leaf first (PEM). Empty for plain HTTP.
    pub certificate: PathBuf,
    /// Private key of the certificate (PEM).
    pub key: PathBuf,
}

impl RestTls {
    /// Returns whether the listener uses HTTPS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    /// Returns what is wrong with the table, if anything.
    pub fn problems(&self) -> Option<String> {
        let is_whole = self.is_on() != self.key.as_os_str().is_empty();
        (!is_whole).then(|| "scheduler.rest_tls: certificate and key go together; name both, or neither".to_owned())
    }
}
