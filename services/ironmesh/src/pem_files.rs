//! The certificate files of a data directory that more than one command reads.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use service_kit::tls::Files;

/// Name of the certificate of etcd's administrator, as that of its files.
pub(crate) const ADMINISTRATOR: &str = "etcd-root";

/// Name of the certificate of the first operator, as that of its files.
pub(crate) const OPERATOR: &str = "operator";

/// Returns the certificate files of etcd's administrator in the data directory of an `ironmesh up`.
pub(crate) fn administrator(data: &Path) -> Files {
    let path = |name: &str| data.join("certs").join(name);
    Files {
        ca: path("etcd-ca.pem"),
        certificate: path(&format!("{ADMINISTRATOR}.pem")),
        key: path(&format!("{ADMINISTRATOR}.key")),
    }
}

/// Reads CA, certificate and key (PEM).
pub(crate) fn read(files: &Files) -> Result<[Vec<u8>; 3]> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok([read(&files.ca)?, read(&files.certificate)?, read(&files.key)?])
}
