//! The private CAs for tests: one for the mesh, and one for etcd.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use keyspace::access;
use service_kit::tls::{Bearer, CertificateAuthority, Files, Identity};

/// The CAs.
#[derive(Debug)]
pub struct Authority {
    mesh: CertificateAuthority,
    etcd: CertificateAuthority,
}

impl Authority {
    /// Makes CAs that no process trusts yet.
    ///
    /// # Errors
    /// A key cannot be generated.
    pub fn new() -> Result<Self> {
        // A client that trusts two CAs with the same name would try the wrong one.
        let ca = || CertificateAuthority::create(&format!("CA {}", uuid::Uuid::new_v4()));
        Ok(Self { mesh: ca()?, etcd: ca()? })
    }

    /// Writes the CAs and their keys to where `ironmesh up` reads them.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn hand_over(&self, data: &Path) -> Result<()> {
        let folder = data.join("certs");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for (name, ca) in [("ca", &self.mesh), ("etcd-ca", &self.etcd)] {
            fs::write(folder.join(format!("{name}.pem")), ca.certificate())?;
            fs::write(folder.join(format!("{name}.key")), ca.key())?;
        }
        Ok(())
    }

    /// The certificate of the mesh's CA (PEM).
    #[must_use]
    pub fn pem(&self) -> &str {
        self.mesh.certificate()
    }

    /// Writes a certificate with this identity, its key and the CA's certificate into a folder. A service has a
    /// certificate for etcd there too: see [`for_etcd`].
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn issue(&self, folder: &Path, bearer: &Identity) -> Result<Files> {
        if let Identity::Service { service, rack } = bearer {
            write(&self.etcd, &for_etcd(folder), Bearer::EtcdUser(&access::user(*service, rack)))?;
        }
        write(&self.mesh, &in_folder(folder), Bearer::Mesh(bearer))
    }

    /// Writes the certificates of a member of etcd at this address, and of etcd's administrator, into a folder. Returns
    /// the administrator's.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn issue_for_member(&self, folder: &Path, address: Ipv4Addr) -> Result<Files> {
        write(&self.etcd, &in_folder(folder), Bearer::Host(&[&address.to_string()]))?;
        write(&self.etcd, &administrator(folder), Bearer::EtcdUser(access::ADMINISTRATOR))
    }

    /// Writes a certificate for a server at 127.0.0.1.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn issue_for_loopback(&self, folder: &Path) -> Result<Files> {
        write(&self.mesh, &in_folder(folder), Bearer::Host(&["127.0.0.1"]))
    }
}

fn in_folder(folder: &Path) -> Files {
    let path = |name: &str| folder.join(name);
    Files { ca: path("ca.pem"), certificate: path("own.pem"), key: path("own.key") }
}

/// Certificate of a service as a user of etcd, in the folder of [`Authority::issue`].
#[must_use]
pub fn for_etcd(folder: &Path) -> Files {
    let path = |name: &str| folder.join(name);
    Files { ca: path("etcd-ca.pem"), certificate: path("etcd.pem"), key: path("etcd.key") }
}

/// Certificate of etcd's administrator, in the folder of a member.
#[must_use]
pub fn administrator(folder: &Path) -> Files {
    let path = |name: &str| folder.join(name);
    Files { ca: path("ca.pem"), certificate: path("root.pem"), key: path("root.key") }
}

fn write(ca: &CertificateAuthority, files: &Files, bearer: Bearer<'_>) -> Result<Files> {
    let folder = files.ca.parent().context("no folder")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let issued = ca.issue(bearer)?;
    fs::write(&files.ca, ca.certificate())?;
    fs::write(&files.certificate, issued.certificate)?;
    fs::write(&files.key, issued.key)?;
    Ok(files.clone())
}
