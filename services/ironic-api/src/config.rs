//! Configuration of the REST listener.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[scheduler.rest_tls]` table: the certificate of the REST API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestTls {
    /// The certificate, leaf first (PEM); empty: there is none, and no key either.
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

impl RestTls {
    /// Whether HTTPS is spoken.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    /// What is wrong with it.
    pub fn problems(&self) -> Option<String> {
        let is_whole = self.is_on() != self.key.as_os_str().is_empty();
        (!is_whole).then(|| "scheduler.rest_tls: certificate and key go together; name both, or neither".to_owned())
    }
}
