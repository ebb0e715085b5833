//! The files that the authority gives a host, and certificates that it renews.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use authority::{keys::Requested, purpose::Purpose, signing::check_file_name};
use domain::time::Timestamp;
use durable_file::Access;
use proto::authority::v1::HostFile;
use service_kit::{
    clock,
    tls::{CertificateFacts, Due},
};

/// Writes a certificate and its key, as one that services load: the key first.
pub(crate) fn write_certificate(data: &Path, request: &Requested, certificate: &str) -> Result<()> {
    ensure!(
        CertificateFacts::of_pem(certificate.as_bytes()).is_some(),
        "the authority sent no certificate for {}",
        request.purpose.file_name()
    );
    let files = super::identities::files(data, &request.purpose);
    if !fs::read(&files.key).is_ok_and(|present| present == request.key.as_bytes()) {
        durable_file::replace(&files.key, request.key.as_bytes(), Access::Owner)?;
    }
    Ok(durable_file::replace(&files.certificate, certificate.as_bytes(), Access::Everyone)?)
}

/// Writes those files that differ. Returns their names.
pub(crate) fn write_all(data: &Path, files: &[HostFile]) -> Result<Vec<String>> {
    let folder = data.join("certs");
    let mut written = Vec::new();
    for HostFile { name, content, secret } in files {
        check_file_name(name)?;
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|present| present == *content) {
            continue;
        }
        let access = if *secret { Access::Owner } else { Access::Everyone };
        durable_file::replace(&path, content, access).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(name.clone());
    }
    Ok(written)
}

/// Returns those certificates that are due, missing, or revoked according to the authority.
pub(crate) fn due(data: &Path, purposes: Vec<Purpose>, revoked: &[String], now: Timestamp) -> Vec<Purpose> {
    let is_due = |purpose: &Purpose| {
        let facts = fs::read(super::identities::files(data, purpose).certificate).ok();
        let facts = facts.and_then(|pem| CertificateFacts::of_pem(&pem));
        revoked.contains(&purpose.file_name()) || facts.is_none_or(|facts| facts.validity.due(now) != Due::No)
    };
    purposes.into_iter().filter(is_due).collect()
}

/// Requests certificates again. The host keeps its key, by which the authority knows it; services get new ones.
pub(crate) fn requests(data: &Path, purposes: Vec<Purpose>) -> Result<Vec<Requested>> {
    let folder = data.join("certs");
    let one = |purpose: Purpose| {
        if purpose == Purpose::Host {
            authority::keys::prepare(&folder, purpose)
        } else {
            authority::keys::renew(purpose)
        }
    };
    purposes.into_iter().map(one).collect()
}

/// Whether the certificate of a host can be used now.
pub(crate) fn is_expired(data: &Path) -> bool {
    let facts = fs::read(super::identities::files(data, &Purpose::Host).certificate).ok();
    let facts = facts.and_then(|pem| CertificateFacts::of_pem(&pem));
    facts.is_none_or(|facts| facts.validity.due(clock::now()) == Due::Expired)
}

#[cfg(test)]
mod tests {
    use service_kit::tls::{Bearer, CertificateAuthority, Identity, Validity};

    use super::*;

    fn file(name: &str, content: &str) -> HostFile {
        HostFile { name: name.to_owned(), content: content.as_bytes().to_vec(), secret: name.ends_with("keys") }
    }

    #[test]
    fn files_are_written_when_they_differ_and_stay_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("certs")).unwrap();
        let all = [file("ca.pem", "a"), file("r7-power-service.sealing.keys", "b")];
        assert_eq!(write_all(folder.path(), &all).unwrap().len(), 2);
        assert_eq!(write_all(folder.path(), &all).unwrap().len(), 0);
        let changed = [file("ca.pem", "c"), all[1].clone()];
        assert_eq!(write_all(folder.path(), &changed).unwrap(), ["ca.pem"]);
        for name in ["../ca.pem", "ca.key", "host.toml"] {
            write_all(folder.path(), &[file(name, "x")]).unwrap_err();
        }
    }

    #[test]
    fn certificates_are_renewed_when_they_are_due_missing_or_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        fs::create_dir(data.join("certs")).unwrap();
        let (ca, now) = (CertificateAuthority::create("CA of a test").unwrap(), clock::now());
        let host = Identity::Host { name: "h2".to_owned() };
        let purposes = || vec![Purpose::Host, Purpose::HostForEtcd];
        assert_eq!(due(data, purposes(), &[], now), purposes());
        let request = &requests(data, vec![Purpose::Host]).unwrap()[0];
        let signed = ca.sign(&request.csr, Bearer::Mesh(&host), Validity::starting(now, 90)).unwrap();
        write_certificate(data, request, &signed).unwrap();
        assert!(!is_expired(data));
        assert_eq!(due(data, vec![Purpose::Host], &[], now), []);
        assert_eq!(due(data, vec![Purpose::Host], &["host".to_owned()], now), [Purpose::Host]);
        let day = |day: i64| Timestamp::from_millis(now.millis() + day * 86_400_000);
        assert_eq!(due(data, vec![Purpose::Host], &[], day(59)), []);
        assert_eq!(due(data, vec![Purpose::Host], &[], day(61)), [Purpose::Host]);
        assert_eq!(requests(data, vec![Purpose::Host]).unwrap()[0].key, request.key);
        write_certificate(data, request, "none").unwrap_err();
    }
}
