//! Issues certificates: decides which ones are missing, damaged or due, and writes them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use domain::time::Timestamp;
use durable_file::Access;
use service_kit::{
    clock,
    tls::{self, CertificateAuthority, CertificateFacts, Due, Files, LIFETIME_DAYS, Validity, check_files},
};

use super::ledger::{Entry, Issuer, Ledger, Subject};

/// A certificate that must exist.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Name of its files, without extension.
    pub(crate) name: String,
    pub(crate) issuer: Issuer,
    pub(crate) subject: Subject,
}

/// What the files of a certificate are.
#[derive(Debug)]
pub(super) enum Found {
    /// There are none.
    Missing,
    /// They cannot be used; the text says why.
    Damaged(String),
    /// A certificate of our CA, with its key.
    Certificate(CertificateFacts),
}

/// Why a certificate is issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was missing.
    Missing,
    /// Its files could not be used; the text says why.
    Damaged(String),
    /// It was for another bearer.
    OtherSubject,
    /// It had expired.
    Expired,
    /// It was to expire.
    Due,
    /// It was revoked.
    Revoked,
    /// An operator asked for it.
    Asked,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("it was missing"),
            Self::Damaged(why) => write!(f, "it could not be used: {why}"),
            Self::OtherSubject => f.write_str("it was for another bearer"),
            Self::Expired => f.write_str("it had expired"),
            Self::Due => f.write_str("two thirds of its life were over"),
            Self::Revoked => f.write_str("it was revoked"),
            Self::Asked => f.write_str("as requested"),
        }
    }
}

/// What of a certificate is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Revoked {
    /// Nothing.
    Nothing,
    /// The certificate that was found.
    Found,
    /// The last one that was issued under its name.
    Latest,
}

impl Revoked {
    fn of(ledger: &Ledger, name: &str, found: &Found) -> Self {
        if ledger.latest(name).is_some_and(|entry| entry.revoked.is_some()) {
            return Self::Latest;
        }
        match found {
            Found::Certificate(facts) if ledger.is_revoked(&facts.serial) => Self::Found,
            Found::Certificate(_) | Found::Damaged(_) | Found::Missing => Self::Nothing,
        }
    }
}

/// Decides whether a certificate is issued. An operator whose last certificate was revoked never gets another one here:
/// that takes a decision of an administrator.
pub(super) fn reason_to_issue(wanted: &Subject, found: &Found, revoked: Revoked, now: Timestamp) -> Option<Why> {
    if wanted.is_operator() && revoked == Revoked::Latest {
        return None;
    }
    let facts = match found {
        Found::Missing => return Some(Why::Missing),
        Found::Damaged(why) => return Some(Why::Damaged(why.clone())),
        Found::Certificate(facts) => facts,
    };
    if Subject::of(facts) != *wanted {
        Some(Why::OtherSubject)
    } else if revoked != Revoked::Nothing {
        Some(Why::Revoked)
    } else {
        match facts.validity.due(now) {
            Due::No => None,
            Due::Renewal => Some(Why::Due),
            Due::Expired => Some(Why::Expired),
        }
    }
}

/// The CAs of a data directory.
#[derive(Debug)]
pub(crate) struct Authorities {
    mesh: CertificateAuthority,
    etcd: CertificateAuthority,
}

impl Authorities {
    /// Reads the CAs, and creates those that do not exist.
    pub(crate) fn load_or_create(folder: &Path) -> Result<Self> {
        Ok(Self { mesh: load_or_create(folder, Issuer::Mesh)?, etcd: load_or_create(folder, Issuer::Etcd)? })
    }

    fn of(&self, issuer: Issuer) -> &CertificateAuthority {
        match issuer {
            Issuer::Mesh => &self.mesh,
            Issuer::Etcd => &self.etcd,
        }
    }

    /// Issues a certificate and writes it and its key. The record has it first, so that what was issued can be revoked.
    pub(crate) fn issue(&self, ledger: &mut Ledger, folder: &Path, wanted: &Wanted, days: u16) -> Result<Entry> {
        let Wanted { name, issuer, subject } = wanted;
        let issued = subject.issue(self.of(*issuer), Validity::starting(clock::now(), days))?;
        let facts = CertificateFacts::of_pem(issued.certificate.as_bytes()).context("cannot read what was issued")?;
        let entry = Entry::of(name, *issuer, &facts);
        ledger.entries.push(entry.clone());
        ledger.save()?;
        let files = issuer.files(folder, name);
        durable_file::write(&files.key, issued.key.as_bytes(), Access::Owner)?;
        durable_file::write(&files.certificate, issued.certificate.as_bytes(), Access::Everyone)?;
        Ok(entry)
    }

    /// Writes the lists of revoked certificates. etcd reads its list in every handshake.
    pub(crate) fn write_revocation_lists(&self, ledger: &Ledger, folder: &Path) -> Result<()> {
        for issuer in Issuer::ALL {
            let entries = ledger.entries.iter().filter(|entry| entry.issuer == issuer);
            let revoked = entries.filter_map(|entry| {
                let revocation = entry.revoked?;
                Some(tls::Revoked { serial: entry.serial.clone(), at: revocation.at, reason: revocation.reason })
            });
            let revoked: Vec<_> = revoked.collect();
            let list = self.of(issuer).revocation_list(&revoked, clock::now())?;
            durable_file::write(&folder.join(issuer.revocation_list()), list.as_bytes(), Access::Everyone)?;
        }
        Ok(())
    }
}

fn load_or_create(folder: &Path, issuer: Issuer) -> Result<CertificateAuthority> {
    let Files { ca: certificate, .. } = issuer.files(folder, "");
    let key = certificate.with_extension("key");
    let (has_certificate, has_key) = (certificate.exists(), key.exists());
    ensure!(
        has_certificate == has_key,
        "{} and {} belong together, but one of them is missing: put it back. To start with a new CA, remove both, and the \
         certificates that the old one signed",
        certificate.display(),
        key.display()
    );
    if !has_key {
        let ca = CertificateAuthority::create(&format!("Ironmesh private CA ({})", issuer.stem()))?;
        durable_file::write(&key, ca.key().as_bytes(), Access::Owner)?;
        durable_file::write(&certificate, ca.certificate().as_bytes(), Access::Everyone)?;
    }
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let ca = CertificateAuthority::from_pem(&read(&certificate)?, &read(&key)?);
    ca.with_context(|| format!("cannot use {} with {}", certificate.display(), key.display()))
}

/// Reads the files of a certificate.
pub(super) fn find(files: &Files) -> Found {
    if !files.certificate.exists() && !files.key.exists() {
        return Found::Missing;
    }
    match check_files(files) {
        Ok(facts) => Found::Certificate(facts),
        Err(error @ (tls::Error::Read { .. } | tls::Error::Pem { .. } | tls::Error::Mismatch { .. })) => {
            Found::Damaged(service_kit::status::chain(&error))
        }
    }
}

/// A certificate that was issued, and why.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) entry: Entry,
    pub(crate) why: Why,
}

/// Issues those of the wanted certificates that are missing, damaged, due or revoked.
pub(crate) fn ensure_all(folder: &Path, wanted: &[Wanted]) -> Result<Vec<Made>> {
    let authorities = Authorities::load_or_create(folder)?;
    let mut ledger = Ledger::open(folder)?;
    let mut made = Vec::new();
    for wanted in wanted {
        let found = find(&wanted.issuer.files(folder, &wanted.name));
        let revoked = Revoked::of(&ledger, &wanted.name, &found);
        if let Some(why) = reason_to_issue(&wanted.subject, &found, revoked, clock::now()) {
            let entry = authorities.issue(&mut ledger, folder, wanted, LIFETIME_DAYS)?;
            made.push(Made { entry, why });
        }
    }
    Ok(made)
}
