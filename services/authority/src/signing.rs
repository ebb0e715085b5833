//! Signs the certificates of hosts, and tells what files they need. Works on the folder of the certificates.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use keyspace::seal::{KeyFile, has_keys};
use proto::authority::v1::{CertificateRequest, HostFile, SignedCertificate};
use service_kit::{
    clock,
    tls::{CertificateFacts, LIFETIME_DAYS, Serial, Validity},
};

use crate::{
    issue::Authorities,
    ledger::{Entry, Issuer, Ledger, Revocation},
    purpose::{Purpose, Roles},
    sealing,
};

/// A host that asks for certificates.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// Its name.
    pub host: String,
    /// Its address.
    pub advertise: IpAddr,
}

/// Name of a host's certificate in the record: other hosts have certificates for the same services.
#[must_use]
pub fn entry_name(host: &str, purpose: &Purpose) -> String {
    format!("{host}/{}", purpose.file_name())
}

/// Whether a certificate is of this host that joined.
fn is_of_host(entry: &Entry, host: &str) -> bool {
    entry.of_host().is_some_and(|(of, _)| of == host)
}

/// Signs certificates for a host. They are in the record before they are given away, so that they can be revoked.
///
/// # Errors
/// A request is invalid, the CAs cannot be used, or the record cannot be written.
pub fn sign(
    data: &Path,
    bearer: &Bearer,
    requests: &[(Purpose, &CertificateRequest)],
) -> Result<Vec<SignedCertificate>> {
    let folder = data.join("certs");
    let mut ledger = Ledger::open(&folder)?;
    let authorities = Authorities::load_or_create(&ledger, &folder)?;
    let mut signed = Vec::new();
    for (purpose, request) in requests {
        let subject = purpose.subject(&bearer.host, bearer.advertise);
        let ca = authorities.usable(&folder, purpose.issuer())?;
        let validity = Validity::starting(clock::now(), LIFETIME_DAYS);
        let certificate = subject.with_bearer(|bearer| ca.sign(&request.csr, bearer, validity));
        let name = purpose.file_name();
        let certificate = certificate.with_context(|| format!("cannot sign certificate {name}"))?;
        let facts = CertificateFacts::of_pem(certificate.as_bytes()).context("cannot read what was signed")?;
        ledger.entries.push(Entry::of(&entry_name(&bearer.host, purpose), purpose.issuer(), &facts));
        signed.push(SignedCertificate { name, certificate });
    }
    ledger.save()?;
    Ok(signed)
}

/// Revokes all certificates of a host. Returns those that were good until now.
///
/// # Errors
/// The record cannot be read or written.
pub fn revoke(data: &Path, host: &str, revocation: Revocation) -> Result<Vec<Entry>> {
    let folder = data.join("certs");
    let mut ledger = Ledger::open(&folder)?;
    let now = clock::now();
    let mut revoked = Vec::new();
    for entry in ledger.entries.iter_mut().filter(|entry| is_of_host(entry, host) && entry.is_good(now)) {
        entry.revoked = Some(revocation);
        revoked.push(entry.clone());
    }
    if !revoked.is_empty() {
        ledger.save()?;
        Authorities::load_or_create(&ledger, &folder)?.write_revocation_lists(&ledger, &folder)?;
    }
    Ok(revoked)
}

/// Returns the revoked certificates of a host that would be valid otherwise.
///
/// # Errors
/// The record cannot be read.
pub fn revoked_entries(data: &Path, host: &str) -> Result<Vec<Entry>> {
    let (ledger, now) = (Ledger::open(&data.join("certs"))?, clock::now());
    let revoked = ledger.entries.iter().filter(|entry| is_of_host(entry, host) && entry.revoked.is_some());
    Ok(revoked.filter(|entry| !entry.is_expired(now)).cloned().collect())
}

/// Returns the serial numbers of all certificates of the mesh's CA that are revoked.
///
/// # Errors
/// The record cannot be read.
pub fn revoked_serials(data: &Path) -> Result<Vec<Serial>> {
    let ledger = Ledger::open(&data.join("certs"))?;
    let revoked = ledger.entries.iter().filter(|entry| entry.issuer == Issuer::Mesh && entry.revoked.is_some());
    Ok(revoked.map(|entry| entry.serial.clone()).collect())
}

/// Returns the names of the files of a host's certificates that are revoked, and have not been replaced.
///
/// # Errors
/// The record cannot be read.
pub fn revoked_names(data: &Path, host: &str) -> Result<Vec<String>> {
    let ledger = Ledger::open(&data.join("certs"))?;
    let revoked = ledger.entries.iter().filter(|entry| entry.revoked.is_some() && !ledger.is_replaced(entry));
    let names = revoked.filter_map(Entry::of_host);
    Ok(names.filter(|(of, _)| *of == host).map(|(_, name)| name.to_owned()).collect())
}

/// Returns the files that a host needs beside its certificates: CAs, lists of revoked certificates, and the sealing keys of
/// what it runs.
///
/// # Errors
/// A file cannot be read.
pub fn files(data: &Path, roles: &Roles) -> Result<Vec<HostFile>> {
    let folder = data.join("certs");
    let mut files = Vec::new();
    for issuer in Issuer::ALL {
        for path in [issuer.files(&folder, "").ca, folder.join(issuer.revocation_list())] {
            files.push(file(&path, false)?);
        }
    }
    let root = sealing::root(data);
    if roles.scheduler {
        files.push(file(&root, true)?);
    }
    let keys = KeyFile::of_service(&root, Service::Scheduler, "").context("cannot read the sealing keys")?;
    for rack in &roles.racks {
        for service in rack.services.iter().filter(|service| has_keys(**service)) {
            let keys = keys.for_service(*service, &rack.rack).context("cannot derive sealing keys")?;
            let name = name_of(&sealing::file(data, *service, &rack.rack))?;
            files.push(HostFile { name, content: keys.to_text().context("cannot encode sealing keys")?, secret: true });
        }
    }
    Ok(files)
}

fn file(path: &PathBuf, secret: bool) -> Result<HostFile> {
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(HostFile { name: name_of(path)?, content, secret })
}

fn name_of(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    name.with_context(|| format!("{} has no name", path.display()))
}

/// Checks the name of a file that an authority sent: it must stay in the folder of the certificates, and be no CA's key.
///
/// # Errors
/// The name is not one of a file that hosts get.
pub fn check_file_name(name: &str) -> Result<()> {
    let is_known = name == "sealing.keys"
        || name.ends_with(".sealing.keys")
        || Issuer::ALL
            .iter()
            .any(|issuer| name == format!("{}.pem", issuer.stem()) || name == issuer.revocation_list());
    let is_plain = !name.contains('/') && !name.starts_with('.');
    ensure!(is_known && is_plain, "the authority sent a file {name:?}, which is none that a host needs");
    Ok(())
}

#[cfg(test)]
mod tests {
    use keyspace::value::HostRack;
    use rcgen::{CertificateParams, KeyPair};
    use service_kit::tls::RevocationReason;

    use super::*;
    use crate::issue::{Attempts, ensure_all};

    fn roles() -> Roles {
        let racks = vec![HostRack { rack: "r7".to_owned(), services: [Service::Power, Service::Pxe].into(), slot: 0 }];
        Roles { racks, store: true, scheduler: false }
    }

    #[test]
    fn what_is_signed_for_a_host_is_in_the_record_and_can_be_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        fs::create_dir(data.join("certs")).unwrap();
        ensure_all(&data.join("certs"), &[], &mut Attempts::default()).unwrap();
        let bearer = Bearer { host: "h2".to_owned(), advertise: IpAddr::from([10, 0, 0, 12]) };
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        let request = CertificateRequest { purpose: None, csr };
        let purposes = roles().purposes();
        let requests: Vec<_> = purposes.iter().map(|purpose| (purpose.clone(), &request)).collect();
        let signed = sign(data, &bearer, &requests).unwrap();
        assert_eq!(signed.len(), purposes.len());
        let facts = CertificateFacts::of_pem(signed[0].certificate.as_bytes()).unwrap();
        assert_eq!(facts.identity, Some(service_kit::tls::Identity::Host { name: "h2".to_owned() }));
        assert!(!data.join("certs/host.pem").exists(), "the host keeps it");
        assert_eq!(revoked_names(data, "h2").unwrap(), [""; 0]);
        let revocation = Revocation { at: clock::now(), reason: RevocationReason::CessationOfOperation };
        assert_eq!(revoke(data, "h1", revocation).unwrap(), []);
        assert_eq!(revoke(data, "h2", revocation).unwrap().len(), purposes.len());
        assert_eq!(revoke(data, "h2", revocation).unwrap(), []);
        assert_eq!(revoked_names(data, "h2").unwrap().len(), purposes.len());
        sign(data, &bearer, &requests[..1]).unwrap();
        assert_eq!(revoked_names(data, "h2").unwrap().len(), purposes.len() - 1, "the host's own was replaced");
    }

    #[test]
    fn a_host_gets_the_keys_of_what_it_runs_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        fs::create_dir(data.join("certs")).unwrap();
        ensure_all(&data.join("certs"), &[], &mut Attempts::default()).unwrap();
        sealing::prepare_all(data, &[]).unwrap();
        let names =
            |roles: &Roles| -> Vec<String> { files(data, roles).unwrap().into_iter().map(|file| file.name).collect() };
        let common = ["ca.pem", "crl.pem", "etcd-ca.pem", "etcd-crl.pem"];
        assert_eq!(names(&Roles::default()), common);
        let of_rack: Vec<_> = names(&roles()).split_off(4);
        assert!(of_rack.iter().all(|name| name.starts_with("r7-") && name.ends_with(".sealing.keys")), "{of_rack:?}");
        assert_eq!(names(&Roles { scheduler: true, ..Roles::default() })[4..], ["sealing.keys"]);
        for file in files(data, &Roles { scheduler: true, ..roles() }).unwrap() {
            check_file_name(&file.name).unwrap();
            assert_eq!(file.secret, file.name.ends_with(".keys"), "{}", file.name);
        }
        for name in
            ["ca.key", "../ca.pem", "/etc/passwd", "", ".sealing.keys", "a/b.sealing.keys", "host.key", "operator.pem"]
        {
            assert!(check_file_name(name).is_err(), "{name}");
        }
    }
}
