//! A private CA for a first run, and a certificate for each process. What is there already is kept.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use domain::service::Service;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use service_kit::tls::{Files, Identity, dns_name};

/// All that a rack needs.
#[derive(Debug, Clone)]
pub(crate) struct Certs {
    folder: PathBuf,
    rack: String,
    /// For who types commands.
    pub(crate) operator: Files,
    /// For `ironmesh up` itself, to etcd.
    pub(crate) up: Own,
    /// For etcd.
    pub(crate) etcd: Files,
    /// What secrets in the store are sealed with.
    pub(crate) sealing_key: PathBuf,
}

/// Certificates of this very process.
#[derive(Debug, Clone)]
pub(crate) struct Own(Files);

impl Own {
    /// CA, certificate, key (PEM).
    pub(crate) fn read(&self) -> Result<[Vec<u8>; 3]> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok([read(&self.0.ca)?, read(&self.0.certificate)?, read(&self.0.key)?])
    }
}

impl Certs {
    /// Those of a service.
    pub(crate) fn of(&self, service: Service) -> Files {
        let rack = if service == Service::Scheduler { "" } else { &self.rack };
        files(&self.folder, &format!("{}-{service}", if rack.is_empty() { "default" } else { rack }))
    }
}

/// Makes what is missing.
pub(crate) fn prepare(data: &Path, rack: &str) -> Result<Certs> {
    let folder = data.join("certs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let ca = Ca::load_or_make(&folder)?;
    let certs = Certs {
        rack: rack.to_owned(),
        operator: files(&folder, "operator"),
        up: Own(files(&folder, "up")),
        etcd: files(&folder, "etcd"),
        sealing_key: folder.join("sealing.key"),
        folder,
    };
    for service in Service::ALL {
        let rack = if service == Service::Scheduler { "" } else { rack };
        let identity = Identity::Service { service, rack: rack.to_owned() };
        ca.issue(&certs.of(service), &[san_uri(&identity)?, san_dns(&dns_name(service, rack))?])?;
    }
    let operator = |name: &str| san_uri(&Identity::Operator(name.to_owned()));
    ca.issue(&certs.operator, &[operator("admin")?])?;
    ca.issue(&certs.up.0, &[operator("up")?])?;
    let loopback = SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    ca.issue(&certs.etcd, &[loopback, san_dns("localhost")?])?;
    if !certs.sealing_key.exists() {
        let mut key = [0; 32];
        getrandom::fill(&mut key).context("the operating system gives no randomness")?;
        write_secret(&certs.sealing_key, format!("{}\n", hex::encode(key)).as_bytes())?;
    }
    Ok(certs)
}

fn files(folder: &Path, name: &str) -> Files {
    Files {
        ca: folder.join("ca.pem"),
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    }
}

fn san_uri(identity: &Identity) -> Result<SanType> {
    Ok(SanType::URI(identity.uri().try_into().context("a name that no certificate can carry")?))
}

fn san_dns(name: &str) -> Result<SanType> {
    Ok(SanType::DnsName(name.to_owned().try_into().context("a name that no certificate can carry")?))
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn load_or_make(folder: &Path) -> Result<Self> {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        if !certificate.exists() || !key.exists() {
            let pair = KeyPair::generate()?;
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "Ironmesh private CA");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let made = params.self_signed(&pair)?;
            write_secret(&key, pair.serialize_pem().as_bytes())?;
            fs::write(&certificate, made.pem())?;
        }
        let pem = fs::read_to_string(&certificate)?;
        let pair = KeyPair::from_pem(&fs::read_to_string(&key)?).context("ca.key can not be read")?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&pem, pair).context("ca.pem can not be read")? })
    }

    fn issue(&self, files: &Files, names: &[SanType]) -> Result<()> {
        if files.certificate.exists() && files.key.exists() {
            return Ok(());
        }
        let pair = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "Ironmesh");
        params.subject_alt_names = names.to_vec();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&pair, &self.issuer)?;
        write_secret(&files.key, pair.serialize_pem().as_bytes())?;
        fs::write(&files.certificate, certificate.pem())?;
        Ok(())
    }
}

/// Writes a file that only its owner may read.
fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    let made = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    made.and_then(|mut file| file.write_all(content)).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_made_once_and_say_who_bears_them() {
        let folder = tempfile::tempdir().unwrap();
        let certs = prepare(folder.path(), "r1").unwrap();
        let power = certs.of(Service::Power);
        let before = fs::read(&power.certificate).unwrap();
        let again = prepare(folder.path(), "r1").unwrap();
        assert_eq!(fs::read(again.of(Service::Power).certificate).unwrap(), before);
        service_kit::tls::Tls::load(power).unwrap();
        service_kit::tls::Tls::load(certs.operator).unwrap();
    }
}
