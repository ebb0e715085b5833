//! Creates two private CAs and the certificates of each process. Existing files are kept, except for certificates whose
//! identity is not the one that their bearer must have: earlier releases wrote identities in another form.
//!
//! The mesh's CA certifies services and operators for calls. etcd's CA certifies etcd's members, the services as users of
//! etcd, and etcd's administrator, but no operator: with the certificate of an operator etcd cannot be reached.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use keyspace::access;
use service_kit::tls::{Bearer, CertificateAuthority, Files, Identity, Role, certificate_identity, is_operator_name};

/// Name in the certificate of a member of our etcd, by which members know each other: users of etcd have certificates of the
/// same CA.
pub(crate) const ETCD_PEER: &str = "etcd-member.ironmesh.internal";

/// The certificates and keys of a rack.
#[derive(Debug, Clone)]
pub(crate) struct Certs {
    folder: PathBuf,
    rack: String,
    /// Certificate of the operator.
    pub(crate) operator: Files,
    /// Certificate of etcd's administrator, which this process uses.
    pub(crate) administrator: Files,
    /// Certificate of the member of etcd.
    pub(crate) etcd: Files,
    /// Key that encrypts the secrets in the store.
    pub(crate) sealing_key: PathBuf,
}

impl Certs {
    /// Returns the certificate files of a service.
    pub(crate) fn of(&self, service: Service) -> Files {
        files(&self.folder, &self.name(service))
    }

    /// Returns the certificate files of a service as a user of etcd.
    pub(crate) fn for_etcd(&self, service: Service) -> Files {
        etcd_files(&self.folder, &format!("{}-etcd", self.name(service)))
    }

    fn name(&self, service: Service) -> String {
        let rack = if service == Service::Scheduler { "" } else { &self.rack };
        format!("{}-{service}", if rack.is_empty() { "default" } else { rack })
    }
}

/// Returns the certificate files of etcd's administrator in the data directory of an `ironmesh up`.
pub(crate) fn administrator(data: &Path) -> Files {
    etcd_files(&data.join("certs"), "etcd-root")
}

/// Reads CA, certificate and key (PEM).
pub(crate) fn read(files: &Files) -> Result<[Vec<u8>; 3]> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok([read(&files.ca)?, read(&files.certificate)?, read(&files.key)?])
}

/// Creates the missing files.
pub(crate) fn prepare(data: &Path, rack: &str) -> Result<Certs> {
    let folder = data.join("certs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (ca, etcd_ca) = (load_or_create(&folder, "ca")?, load_or_create(&folder, "etcd-ca")?);
    let certs = Certs {
        rack: rack.to_owned(),
        operator: files(&folder, "operator"),
        administrator: administrator(data),
        etcd: etcd_files(&folder, "etcd-member"),
        sealing_key: folder.join("sealing.key"),
        folder,
    };
    for service in Service::ALL {
        let rack = if service == Service::Scheduler { "" } else { rack };
        issue(&ca, &certs.of(service), Bearer::Mesh(&Identity::Service { service, rack: rack.to_owned() }))?;
        issue(&etcd_ca, &certs.for_etcd(service), Bearer::EtcdUser(&access::user(service, rack)))?;
    }
    issue(&ca, &certs.operator, Bearer::Mesh(&Identity::admin("admin")))?;
    issue(&etcd_ca, &certs.administrator, Bearer::EtcdUser(access::ADMINISTRATOR))?;
    issue(&etcd_ca, &certs.etcd, Bearer::Host(&["127.0.0.1", "localhost", ETCD_PEER]))?;
    if !certs.sealing_key.exists() {
        let mut key = [0; 32];
        getrandom::fill(&mut key).context("no random numbers available")?;
        write_secret(&certs.sealing_key, format!("{}\n", hex::encode(key)).as_bytes())?;
    }
    Ok(certs)
}

/// Creates a certificate for a user, signed by the private CA of the data directory, and a context for it. Returns the
/// path of the context.
pub(crate) fn certify(data: &Path, name: &str, role: Role) -> Result<PathBuf> {
    ensure!(
        is_operator_name(name),
        "invalid name {name:?}: use at most 64 letters, digits and -_. and none of the words operator, dc, rack, service and default"
    );
    let identity = Identity::Operator { name: name.to_owned(), role };
    let folder = data.join("certs");
    let client = data.join("client.toml");
    ensure!(
        folder.join("ca.key").exists() && client.exists(),
        "{} has no private CA; pass the data directory of ironmesh up, or have your own CA sign a certificate \
         with the URI {:?}",
        data.display(),
        identity.uri()
    );
    let own = format!("operator-{name}-{}", role.word());
    let issued = files(&folder, &own);
    ensure!(
        !issued.certificate.exists(),
        "{} already exists; remove it to create another",
        issued.certificate.display()
    );
    issue(&load_or_create(&folder, "ca")?, &issued, Bearer::Mesh(&identity))?;
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

fn etcd_files(folder: &Path, name: &str) -> Files {
    Files { ca: folder.join("etcd-ca.pem"), ..files(folder, name) }
}

fn load_or_create(folder: &Path, name: &str) -> Result<CertificateAuthority> {
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let (has_certificate, has_key) = (certificate.exists(), key.exists());
    ensure!(
        has_certificate == has_key,
        "{} and {} belong together, but one of them is missing: put it back. To start with a new CA, remove both, and the \
         certificates that the old one signed",
        certificate.display(),
        key.display()
    );
    if !has_key {
        let ca = CertificateAuthority::create(&format!("Ironmesh private CA ({name})"))?;
        write_secret(&key, ca.key().as_bytes())?;
        fs::write(&certificate, ca.certificate())?;
    }
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let ca = CertificateAuthority::from_pem(&read(&certificate)?, &read(&key)?);
    ca.with_context(|| format!("cannot use {} with {}", certificate.display(), key.display()))
}

/// Creates a certificate and its key, unless they exist with the identity of the bearer.
fn issue(ca: &CertificateAuthority, files: &Files, bearer: Bearer<'_>) -> Result<()> {
    if files.certificate.exists() && files.key.exists() && has_identity(files, bearer)? {
        return Ok(());
    }
    let issued = ca.issue(bearer)?;
    write_secret(&files.key, issued.key.as_bytes())?;
    fs::write(&files.certificate, issued.certificate)?;
    Ok(())
}

fn has_identity(files: &Files, bearer: Bearer<'_>) -> Result<bool> {
    let Bearer::Mesh(identity) = bearer else { return Ok(true) };
    let shown = files.certificate.display();
    let pem = fs::read(&files.certificate).with_context(|| format!("cannot read {shown}"))?;
    Ok(certificate_identity(&pem).as_ref() == Some(identity))
}

/// Writes a file that is readable only by its owner.
fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    let made = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    made.and_then(|mut file| file.write_all(content)).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn certificates_are_made_once_and_say_who_bears_them() {
        let folder = tempfile::tempdir().unwrap();
        let certs = prepare(folder.path(), "r1").unwrap();
        let power = certs.of(Service::Power);
        let before = fs::read(&power.certificate).unwrap();
        let again = prepare(folder.path(), "r1").unwrap();
        assert_eq!(fs::read(again.of(Service::Power).certificate).unwrap(), before);
        for files in [power, certs.for_etcd(Service::Power), certs.operator, certs.administrator, certs.etcd] {
            assert_eq!(fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600, "{files:?}");
            service_kit::tls::Tls::load(files).unwrap();
        }
    }

    #[test]
    fn a_certificate_with_another_identity_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let certs = prepare(folder.path(), "r1").unwrap();
        let power = certs.of(Service::Power);
        let ca = load_or_create(&folder.path().join("certs"), "ca").unwrap();
        // As if the data directory were of another rack, or of a release with other identities.
        for other in [Bearer::Mesh(&Identity::admin("ann")), Bearer::Host(&["power-service.r1.ironmesh.internal"])] {
            let issued = ca.issue(other).unwrap();
            fs::write(&power.certificate, issued.certificate).unwrap();
            fs::write(&power.key, issued.key).unwrap();
            prepare(folder.path(), "r1").unwrap();
            let identity = certificate_identity(&fs::read(&power.certificate).unwrap());
            assert_eq!(identity, Some(Identity::Service { service: Service::Power, rack: "r1".to_owned() }));
            service_kit::tls::Tls::load(power.clone()).unwrap();
        }
    }

    #[test]
    fn a_user_is_given_a_certificate_of_a_role_once() {
        let folder = tempfile::tempdir().unwrap();
        let refused = certify(folder.path(), "ann", Role::Reader).unwrap_err().to_string();
        assert!(refused.contains("spiffe://ironmesh/dc/default/operator/ann/reader"), "{refused}");
        prepare(folder.path(), "r1").unwrap();
        fs::write(folder.path().join("client.toml"), "endpoint = \"h:1\"\nca = \"certs/ca.pem\"\n").unwrap();
        let context = certify(folder.path(), "ann", Role::Reader).unwrap();
        let text = fs::read_to_string(context).unwrap();
        assert!(text.contains("h:1") && text.contains("certs/operator-ann-reader.key"), "{text}");
        service_kit::tls::Tls::load(files(&folder.path().join("certs"), "operator-ann-reader")).unwrap();
        for wrong in ["ann", "", "a/b", "operator", "a@b"] {
            assert!(certify(folder.path(), wrong, Role::Reader).is_err(), "{wrong}");
        }
    }
}
