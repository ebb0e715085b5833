//! Private keys of a host, which never leave it, and requests for certificates of them.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};
use durable_file::Access;
use proto::authority::v1::CertificateRequest;
use rcgen::{CertificateParams, KeyPair};

use crate::purpose::Purpose;

/// A private key, and the request for a certificate of it.
pub struct Requested {
    /// What the certificate is for.
    pub purpose: Purpose,
    /// The private key, PEM.
    pub key: String,
    /// The request (RFC 2986), DER.
    pub csr: Vec<u8>,
}

impl std::fmt::Debug for Requested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requested").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

impl Requested {
    /// As in messages, without the private key.
    #[must_use]
    pub fn to_wire(&self) -> CertificateRequest {
        CertificateRequest { purpose: Some(self.purpose.to_wire()), csr: self.csr.clone() }
    }
}

/// Makes a new key. It is written together with the certificate.
///
/// # Errors
/// No random numbers.
pub fn renew(purpose: Purpose) -> Result<Requested> {
    let key = KeyPair::generate().context("cannot create a private key")?;
    request(purpose, &key)
}

/// Uses the key that a folder has, or makes one and writes it, so that a repeated request is for the same key.
///
/// # Errors
/// The key cannot be read, or not be written.
pub fn prepare(folder: &Path, purpose: Purpose) -> Result<Requested> {
    let path = folder.join(format!("{}.key", purpose.file_name()));
    match fs::read_to_string(&path) {
        Ok(text) => {
            let damaged = || format!("{} is damaged; remove it to have another one made", path.display());
            request(purpose, &KeyPair::from_pem(&text).with_context(damaged)?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let requested = renew(purpose)?;
            durable_file::write(&path, requested.key.as_bytes(), Access::Owner)?;
            Ok(requested)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn request(purpose: Purpose, key: &KeyPair) -> Result<Requested> {
    // The authority decides what the certificate says.
    let csr = CertificateParams::default().serialize_request(key).context("cannot sign a request for a certificate")?;
    Ok(Requested { purpose, key: key.serialize_pem(), csr: csr.der().to_vec() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_repeated_request_is_for_the_same_key_and_a_renewal_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let first = prepare(folder.path(), Purpose::Host).unwrap();
        let path = folder.path().join("host.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(prepare(folder.path(), Purpose::Host).unwrap().key, first.key);
        assert_ne!(prepare(folder.path(), Purpose::EtcdMember).unwrap().key, first.key);
        assert_ne!(renew(Purpose::Host).unwrap().key, first.key);
        assert!(!format!("{first:?}").contains("PRIVATE"));
        for text in ["", "-----BEGIN PRIVATE KEY-----\nMIG", "key"] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", prepare(folder.path(), Purpose::Host).unwrap_err());
            assert!(error.contains("host.key is damaged"), "{error}");
        }
    }
}
