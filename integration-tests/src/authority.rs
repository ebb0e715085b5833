//! A private CA for tests.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use service_kit::tls::{Files, Identity, dns_name};

/// The CA.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a CA that no process trusts yet.
    ///
    /// # Errors
    /// The key cannot be generated.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // A client that trusts two CAs with the same name would try the wrong one.
        params.distinguished_name.push(DnType::CommonName, format!("CA {}", uuid::Uuid::new_v4()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, key: key.serialize_pem(), issuer: Issuer::new(params, key) })
    }

    /// Writes the CA and its key to where `ironmesh up` reads them.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn hand_over(&self, data: &Path) -> Result<()> {
        let folder = data.join("certs");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        fs::write(folder.join("ca.pem"), &self.pem)?;
        Ok(fs::write(folder.join("ca.key"), &self.key)?)
    }

    /// Its own certificate (PEM).
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes a certificate with this identity, its key and the CA's certificate into a folder.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn issue(&self, folder: &Path, bearer: &Identity) -> Result<Files> {
        let mut names = vec![SanType::URI(bearer.uri().try_into()?)];
        if let Identity::Service { service, rack } = bearer {
            names.push(SanType::DnsName(dns_name(*service, rack).try_into()?));
        }
        self.write(folder, names)
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
        self.write(folder, vec![SanType::IpAddress(address.into())])
    }

    fn write(&self, folder: &Path, names: Vec<SanType>) -> Result<Files> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let path = |name: &str| folder.join(name);
        let files = Files { ca: path("ca.pem"), certificate: path("own.pem"), key: path("own.key") };
        fs::write(&files.ca, &self.pem)?;
        fs::write(&files.certificate, params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}
