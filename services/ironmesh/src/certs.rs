//! Creates two private CAs and the certificates of each process. Existing files are kept as long as they can be used;
//! `certificate` renews them.
//!
//! The mesh's CA certifies services and operators for calls. etcd's CA certifies etcd's members, the services as users of
//! etcd, and etcd's administrator, but no operator: with the certificate of an operator etcd cannot be reached.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use authority::{
    issue::{Attempts, Ensured, Made, Wanted, Why, ensure_all},
    ledger::{Issuer, Subject, lock},
    realm_file,
};
use domain::service::Service;
use keyspace::access;
use service_kit::tls::{Files, Identity, Realm};

use crate::{
    console::say,
    pem_files::{ADMINISTRATOR, OPERATOR, administrator},
};

pub(crate) use authority::purpose::ETCD_PEER;

/// Name of the certificate of etcd's member, as that of its files.
pub(crate) const ETCD_MEMBER: &str = "etcd-member";

/// The certificates and keys of a rack.
#[derive(Debug, Clone)]
pub(crate) struct Certs {
    pub(crate) folder: PathBuf,
    rack: String,
    realm: Realm,
    /// Certificate of the operator.
    pub(crate) operator: Files,
    /// Certificate of etcd's administrator, which this process uses.
    pub(crate) administrator: Files,
    /// Certificate of the member of etcd.
    pub(crate) etcd: Files,
    /// List of the certificates that etcd refuses.
    pub(crate) revoked_for_etcd: PathBuf,
}

impl Certs {
    /// Returns the certificate files of a service.
    pub(crate) fn of(&self, service: Service) -> Files {
        Issuer::Mesh.files(&self.folder, &self.name(service))
    }

    /// Returns the certificate files of a service as a user of etcd.
    pub(crate) fn for_etcd(&self, service: Service) -> Files {
        Issuer::Etcd.files(&self.folder, &self.name_for_etcd(service))
    }

    /// Returns the certificates that must exist.
    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let wanted = |name: &str, issuer, subject| Wanted { name: name.to_owned(), issuer, subject };
        let mut all = Vec::new();
        for service in Service::ALL {
            let rack = if service == Service::Scheduler { "" } else { &self.rack };
            let identity = Identity::Service { service, rack: rack.to_owned() };
            all.push(wanted(&self.name(service), Issuer::Mesh, Subject::Identity(identity.uri(&self.realm))));
            let user = Subject::EtcdUser(access::user(service, rack));
            all.push(wanted(&self.name_for_etcd(service), Issuer::Etcd, user));
        }
        all.push(wanted(OPERATOR, Issuer::Mesh, Subject::Identity(Identity::admin("admin").uri(&self.realm))));
        all.push(wanted(ADMINISTRATOR, Issuer::Etcd, Subject::EtcdUser(access::ADMINISTRATOR.to_owned())));
        let hosts = ["127.0.0.1", "localhost", ETCD_PEER].map(str::to_owned);
        all.push(wanted(ETCD_MEMBER, Issuer::Etcd, Subject::Hosts(hosts.into())));
        all
    }

    fn name_for_etcd(&self, service: Service) -> String {
        format!("{}-etcd", self.name(service))
    }

    fn name(&self, service: Service) -> String {
        let rack = if service == Service::Scheduler { "" } else { &self.rack };
        format!("{}-{service}", if rack.is_empty() { "default" } else { rack })
    }
}

/// Removes the temporary files that a crash left, but none of a command that is running.
pub(crate) fn remove_leftovers(data: &Path) -> Result<()> {
    let folder = data.join("certs");
    let has_certs = folder.exists();
    let _certificates = has_certs.then(|| lock(&folder)).transpose()?;
    let keys = has_certs.then(|| fs::File::open(&folder)).transpose()?;
    keys.as_ref().map(fs::File::lock).transpose().context("cannot lock the folder of the sealing keys")?;
    for folder in [data, folder.as_path()] {
        durable_file::remove_leftovers(folder)?;
    }
    Ok(())
}

/// Creates the files that are missing, and replaces those that cannot be used or are due.
pub(crate) fn prepare(data: &Path, rack: &str) -> Result<Certs> {
    let folder = data.join("certs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let certs = Certs {
        rack: rack.to_owned(),
        realm: realm_file::load(&folder)?,
        operator: Issuer::Mesh.files(&folder, OPERATOR),
        administrator: administrator(data),
        etcd: Issuer::Etcd.files(&folder, ETCD_MEMBER),
        revoked_for_etcd: folder.join(Issuer::Etcd.revocation_list()),
        folder,
    };
    // With the lists of revoked certificates, without which etcd does not start.
    let Ensured { made, lacking, warnings } = ensure_all(&certs.folder, &certs.wanted(), &mut Attempts::default())?;
    for Made { entry, why } in made {
        if why != Why::Missing {
            say(&format!("made certificate {}, valid until {}: {why}", entry.name, entry.validity.not_after));
        }
    }
    warnings.iter().for_each(|warning| say(warning));
    lacking.map_or(Ok(certs), Err)
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
    fn a_certificate_that_cannot_be_used_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let certs = prepare(folder.path(), "r1").unwrap();
        let (power, pxe, member) = (certs.of(Service::Power), certs.of(Service::Pxe), certs.etcd.clone());
        let [good, good_key, other_key] =
            [&power.certificate, &power.key, &pxe.key].map(|file| fs::read(file).unwrap());
        let cut = &good[..good.len() / 2];
        // What the certificate and the key of power-service become.
        for (case, certificate, key) in [
            ("an empty certificate", &b""[..], &good_key[..]),
            ("an empty key", &good[..], b""),
            ("a cut certificate", cut, &good_key),
            ("a cut key", &good, &good_key[..40]),
            ("the key of another certificate", &good, &other_key),
            ("no PEM", b"\x30\x82", &good_key),
            ("another identity", &fs::read(&pxe.certificate).unwrap(), &other_key),
            ("another CA's", &fs::read(&member.certificate).unwrap(), &fs::read(&member.key).unwrap()),
        ] {
            fs::write(&power.certificate, certificate).unwrap();
            fs::write(&power.key, key).unwrap();
            prepare(folder.path(), "r1").unwrap();
            let facts = service_kit::tls::check_files(&power).unwrap();
            let identity = Some(Identity::Service { service: Service::Power, rack: "r1".to_owned() });
            assert_eq!(facts.identity, identity, "{case}");
            assert_ne!(fs::read(&power.certificate).unwrap(), good, "{case}");
        }
        fs::remove_file(&power.key).unwrap();
        prepare(folder.path(), "r1").unwrap();
        service_kit::tls::check_files(&power).unwrap();
    }

    #[test]
    fn a_ca_that_cannot_be_used_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path(), "r1").unwrap();
        let path = |name: &str| folder.path().join("certs").join(name);
        let cut = fs::read_to_string(path("ca.pem")).unwrap();
        let cut = cut[..200].to_owned();
        let other_key = fs::read_to_string(path("etcd-ca.key")).unwrap();
        // The file, what it becomes (`None`: it is removed), and what the error says.
        for (name, content, words) in [
            ("ca.pem", Some(""), "the CA's certificate is invalid: it is empty; restore it"),
            ("ca.pem", Some(&cut), "it is cut off"),
            ("ca.key", Some(""), "the CA's private key is invalid: it is empty; restore it"),
            ("ca.key", Some("-----BEGIN PRIVATE KEY-----\nMIG"), "it is cut off"),
            ("ca.key", Some(&other_key), "for another private key"),
            ("etcd-ca.pem", Some("hello"), "the CA's certificate is invalid"),
            ("etcd-ca.key", None, "one of them is missing"),
            ("ca.pem", None, "one of them is missing"),
            ("issued.json", Some(""), "issued.json is damaged: restore it"),
        ] {
            let before = fs::read(path(name)).unwrap();
            match content {
                Some(content) => fs::write(path(name), content).unwrap(),
                None => fs::remove_file(path(name)).unwrap(),
            }
            let error = format!("{:#}", prepare(folder.path(), "r1").unwrap_err());
            assert!(error.contains(words) && error.contains(name), "{name}: {error}");
            fs::write(path(name), before).unwrap();
        }
        prepare(folder.path(), "r1").unwrap();
    }
}
