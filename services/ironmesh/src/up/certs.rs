//! Creates a private CA and a certificate for each process. Existing files are kept.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use service_kit::tls::{Files, Identity, Role, dns_name};

/// The certificates and keys of a rack.
#[derive(Debug, Clone)]
pub(crate) struct Certs {
    folder: PathBuf,
    rack: String,
    /// Certificate of the operator.
    pub(crate) operator: Files,
    /// Certificate of `ironmesh up` for etcd.
    pub(crate) up: Own,
    /// Certificate of etcd.
    pub(crate) etcd: Files,
    /// Key that encrypts the secrets in the store.
    pub(crate) sealing_key: PathBuf,
}

/// Certificate of this process.
#[derive(Debug, Clone)]
pub(crate) struct Own(Files);

impl Own {
    /// Reads CA, certificate and key (PEM).
    pub(crate) fn read(&self) -> Result<[Vec<u8>; 3]> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok([read(&self.0.ca)?, read(&self.0.certificate)?, read(&self.0.key)?])
    }
}

impl Certs {
    /// Returns the certificate files of a service.
    pub(crate) fn of(&self, service: Service) -> Files {
        let rack = if service == Service::Scheduler { "" } else { &self.rack };
        files(&self.folder, &format!("{}-{service}", if rack.is_empty() { "default" } else { rack }))
    }
}

/// Creates the missing files.
pub(crate) fn prepare(data: &Path, rack: &str) -> Result<Certs> {
    let folder = data.join("certs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let ca = Ca::load_or_create(&folder)?;
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
    let operator = |name: &str| san_uri(&Identity::admin(name));
    ca.issue(&certs.operator, &[operator("admin")?])?;
    ca.issue(&certs.up.0, &[operator("up")?])?;
    let loopback = SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    ca.issue(&certs.etcd, &[loopback, san_dns("localhost")?])?;
    if !certs.sealing_key.exists() {
        let mut key = [0; 32];
        getrandom::fill(&mut key).context("no random numbers available")?;
        write_secret(&certs.sealing_key, format!("{}\n", hex::encode(key)).as_bytes())?;
    }
    Ok(certs)
}

/// Creates a certificate for a user, signed by the private CA of the data directory, and a context for it. Returns the
/// path of the context.
pub(super) fn certify(data: &Path, name: &str, role: Role) -> Result<PathBuf> {
    ensure!(
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c)),
        "invalid name {name:?}: use letters, digits and -_.@"
    );
    let folder = data.join("certs");
    let client = data.join("client.toml");
    ensure!(
        folder.join("ca.key").exists() && client.exists(),
        "{} has no private CA; pass the data directory of ironmesh up, or have your own CA sign a certificate \
         with the URI {:?}",
        data.display(),
        Identity::Operator { name: name.to_owned(), role }.uri()
    );
    let own = format!("operator-{name}-{}", role.word());
    let issued = files(&folder, &own);
    ensure!(
        !issued.certificate.exists(),
        "{} already exists; remove it to create another",
        issued.certificate.display()
    );
    Ca::load_or_create(&folder)?.issue(&issued, &[san_uri(&Identity::Operator { name: name.to_owned(), role })?])?;
    let mut context: toml::Table = fs::read_to_string(&client)?.parse().context("client.toml is invalid")?;
    context.insert("certificate".to_owned(), format!("certs/{own}.pem").into());
    context.insert("key".to_owned(), format!("certs/{own}.key").into());
    let file = data.join(format!("{own}.toml"));
    fs::write(&file, context.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn files(folder: &Path, name: &str) -> Files {
    Files {
        ca: folder.join("ca.pem"),
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    }
}

fn san_uri(identity: &Identity) -> Result<SanType> {
    Ok(SanType::URI(identity.uri().try_into().context("the name cannot be used in a certificate")?))
}

fn san_dns(name: &str) -> Result<SanType> {
    Ok(SanType::DnsName(name.to_owned().try_into().context("the name cannot be used in a certificate")?))
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn load_or_create(folder: &Path) -> Result<Self> {
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
        let pair = KeyPair::from_pem(&fs::read_to_string(&key)?).context("ca.key is invalid")?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&pem, pair).context("ca.pem is invalid")? })
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

/// Writes a file that is readable only by its owner.
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

    #[test]
    fn a_user_is_given_a_certificate_of_a_role_once() {
        let folder = tempfile::tempdir().unwrap();
        let refused = certify(folder.path(), "ann", Role::Reader).unwrap_err().to_string();
        assert!(refused.contains("spiffe://ironmesh/operator/ann/reader"), "{refused}");
        prepare(folder.path(), "r1").unwrap();
        fs::write(folder.path().join("client.toml"), "endpoint = \"h:1\"\nca = \"certs/ca.pem\"\n").unwrap();
        let context = certify(folder.path(), "ann", Role::Reader).unwrap();
        let text = fs::read_to_string(context).unwrap();
        assert!(text.contains("h:1") && text.contains("certs/operator-ann-reader.key"), "{text}");
        service_kit::tls::Tls::load(files(&folder.path().join("certs"), "operator-ann-reader")).unwrap();
        for wrong in ["ann", "", "a/b"] {
            assert!(certify(folder.path(), wrong, Role::Reader).is_err(), "{wrong}");
        }
    }
}
