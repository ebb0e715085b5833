//! A private CA for tests.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use service_kit::tls::{Bearer, CertificateAuthority, Files, Identity};

/// The CA.
#[derive(Debug)]
pub struct Authority {
    mesh: CertificateAuthority,
}

impl Authority {
    /// Makes a CA that no process trusts yet.
    ///
    /// # Errors
    /// The key cannot be generated.
    pub fn new() -> Result<Self> {
        // A client that trusts two CAs with the same name would try the wrong one.
        Ok(Self { mesh: CertificateAuthority::create(&format!("CA {}", uuid::Uuid::new_v4()))? })
    }

    /// Writes the CA and its key to where `ironmesh up` reads them.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn hand_over(&self, data: &Path) -> Result<()> {
        let folder = data.join("certs");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        fs::write(folder.join("ca.pem"), self.pem())?;
        Ok(fs::write(folder.join("ca.key"), self.mesh.key())?)
    }

    /// Its own certificate (PEM).
    #[must_use]
    pub fn pem(&self) -> &str {
        self.mesh.certificate()
    }

    /// Writes a certificate with this identity, its key and the CA's certificate into a folder.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn issue(&self, folder: &Path, bearer: &Identity) -> Result<Files> {
        write(&self.mesh, folder, "own", Bearer::Mesh(bearer))
    }

    /// Writes a certificate for a server at 127.0.0.1, such as etcd.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn issue_for_loopback(&self, folder: &Path) -> Result<Files> {
        self.issue_for(folder, Ipv4Addr::LOCALHOST)
    }

    /// Writes a certificate for a server at this address.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn issue_for(&self, folder: &Path, address: Ipv4Addr) -> Result<Files> {
        write(&self.mesh, folder, "own", Bearer::Host(&[&address.to_string()]))
    }
}

fn write(ca: &CertificateAuthority, folder: &Path, name: &str, bearer: Bearer<'_>) -> Result<Files> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = |name: &str| folder.join(name);
    let (certificate, key) = (path(&format!("{name}.pem")), path(&format!("{name}.key")));
    let files = Files { ca: path("ca.pem"), certificate, key };
    let issued = ca.issue(bearer)?;
    fs::write(&files.ca, ca.certificate())?;
    fs::write(&files.certificate, issued.certificate)?;
    fs::write(&files.key, issued.key)?;
    Ok(files)
}
