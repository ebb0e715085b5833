//! Issues certificates: decides which ones are missing, damaged or due, and writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use domain::time::Timestamp;
use durable_file::Access;
use service_kit::{
    clock,
    tls::{self, CertificateAuthority, CertificateFacts, Due, Files, LIFETIME_DAYS, Validity, check_files},
};

use crate::ledger::{Entry, Issuer, Ledger, Subject};
use crate::realm_file;

/// A CA that is valid for less than this issues nothing: what it issues would be due at once, again and again.
const MIN_CA_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// `ironmesh up` warns of the end of a CA that is valid for less than this.
const CA_WARNING: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Pause between two attempts to issue a certificate.
const RETRY_DELAY: Duration = Duration::from_secs(60);

/// A certificate that must exist.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Name of its files, without extension.
    pub name: String,
    /// The CA that signs it.
    pub issuer: Issuer,
    /// What it certifies.
    pub subject: Subject,
}

/// What the files of a certificate are.
#[derive(Debug)]
pub enum Found {
    /// There are none.
    Missing,
    /// They cannot be used; the text says why.
    Damaged(String),
    /// A certificate of our CA, with its key.
    Certificate(CertificateFacts),
}

/// Why a certificate is issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
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
pub enum Revoked {
    /// Nothing.
    Nothing,
    /// The certificate that was found.
    Found,
    /// The last one that was issued under its name.
    Latest,
}

impl Revoked {
    fn of(ledger: &Ledger, wanted: &Wanted, found: &Found) -> Self {
        if ledger.latest(&wanted.name).is_some_and(|entry| entry.revoked.is_some()) {
            return Self::Latest;
        }
        match found {
            Found::Certificate(facts) if ledger.is_revoked(wanted.issuer, &facts.serial) => Self::Found,
            Found::Certificate(_) | Found::Damaged(_) | Found::Missing => Self::Nothing,
        }
    }
}

/// Decides whether a certificate is issued. An operator whose last certificate was revoked never gets another one here:
/// that takes a decision of an administrator.
pub fn reason_to_issue(wanted: &Subject, found: &Found, revoked: Revoked, now: Timestamp) -> Option<Why> {
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

/// Whether a CA that is valid for so long is warned of.
pub fn is_ending(left: Duration) -> bool {
    left < CA_WARNING
}

/// The CAs of a data directory.
#[derive(Debug)]
pub struct Authorities {
    mesh: CertificateAuthority,
    etcd: CertificateAuthority,
}

impl Authorities {
    /// Reads the CAs, and creates those that do not exist. The record's lock prevents that two processes do it.
    pub fn load_or_create(ledger: &Ledger, folder: &Path) -> Result<Self> {
        let of = |issuer| load_or_create(ledger, folder, issuer);
        Ok(Self { mesh: of(Issuer::Mesh)?, etcd: of(Issuer::Etcd)? })
    }

    /// Returns what has to be said about CAs that end.
    pub fn warnings(&self, folder: &Path, now: Timestamp) -> Vec<String> {
        let ending = Issuer::ALL.into_iter().filter(|issuer| is_ending(self.of(*issuer).validity().left(now)));
        ending.map(|issuer| self.end_of(folder, issuer)).collect()
    }

    fn end_of(&self, folder: &Path, issuer: Issuer) -> String {
        let ca = folder.join(format!("{}.pem", issuer.stem()));
        format!(
            "the CA {} ends at {}, and so do all certificates that it signed: stop ironmesh up, move {} and its key away with \
             the certificates that it signed, start it again, and create the certificates of operators again",
            ca.display(),
            self.of(issuer).validity().not_after,
            ca.display()
        )
    }

    /// When a CA is valid.
    pub fn validity(&self, issuer: Issuer) -> Validity {
        self.of(issuer).validity()
    }

    fn of(&self, issuer: Issuer) -> &CertificateAuthority {
        match issuer {
            Issuer::Mesh => &self.mesh,
            Issuer::Etcd => &self.etcd,
        }
    }

    /// Returns a CA, unless it ends so soon that it must not sign any more.
    pub(crate) fn usable(&self, folder: &Path, issuer: Issuer) -> Result<&CertificateAuthority> {
        let ca = self.of(issuer);
        ensure!(ca.validity().left(clock::now()) >= MIN_CA_LIFE, "{}", self.end_of(folder, issuer));
        Ok(ca)
    }

    /// Issues a certificate and writes it and its key. The record has it first, so that what was issued can be revoked.
    pub fn issue(&self, ledger: &mut Ledger, folder: &Path, wanted: &Wanted, days: u16) -> Result<Entry> {
        let Wanted { name, issuer, subject } = wanted;
        let issued = subject.issue(self.usable(folder, *issuer)?, Validity::starting(clock::now(), days))?;
        let facts = CertificateFacts::of_pem(issued.certificate.as_bytes()).context("cannot read what was issued")?;
        let entry = Entry::of(name, *issuer, &facts);
        ledger.entries.push(entry.clone());
        ledger.save()?;
        let files = issuer.files(folder, name);
        let written = durable_file::replace(&files.key, issued.key.as_bytes(), Access::Owner)
            .and_then(|()| durable_file::replace(&files.certificate, issued.certificate.as_bytes(), Access::Everyone));
        if written.is_err() {
            // It is nowhere, and the next attempt issues another one.
            ledger.entries.retain(|other| other.serial != entry.serial);
            ledger.save()?;
        }
        written?;
        Ok(entry)
    }

    /// Writes the lists of revoked certificates that are missing or differ from the record. etcd reads its list in every
    /// handshake.
    pub fn write_revocation_lists(&self, ledger: &Ledger, folder: &Path) -> Result<()> {
        for issuer in Issuer::ALL {
            let path = folder.join(issuer.revocation_list());
            let entries = ledger.entries.iter().filter(|entry| entry.issuer == issuer);
            let revoked = entries.filter_map(|entry| {
                let revocation = entry.revoked?;
                Some(tls::Revoked { serial: entry.serial.clone(), at: revocation.at, reason: revocation.reason })
            });
            let revoked: Vec<_> = revoked.collect();
            let serials: BTreeSet<_> = revoked.iter().map(|revoked| revoked.serial.clone()).collect();
            if fs::read(&path).is_ok_and(|list| tls::listed_serials(&list).is_some_and(|listed| listed == serials)) {
                continue;
            }
            let list = self.of(issuer).revocation_list(&revoked, clock::now())?;
            durable_file::replace(&path, list.as_bytes(), Access::Everyone)?;
        }
        Ok(())
    }
}

/// Whether the CA has signed nothing yet: a crash at the first start may leave its key without its certificate.
fn is_first_start(ledger: &Ledger, folder: &Path, issuer: Issuer) -> Result<bool> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        names.push(entry?.path());
    }
    let is_ca =
        |path: &Path| Issuer::ALL.iter().any(|issuer| path.file_stem().is_some_and(|stem| stem == issuer.stem()));
    let is_pem = |path: &Path| path.extension().is_some_and(|extension| extension == "pem");
    let has_signed = names.iter().any(|path| is_pem(path) && !is_ca(path));
    Ok(!has_signed && ledger.entries.iter().all(|entry| entry.issuer != issuer))
}

fn load_or_create(ledger: &Ledger, folder: &Path, issuer: Issuer) -> Result<CertificateAuthority> {
    let Files { ca: certificate, .. } = issuer.files(folder, "");
    let key = certificate.with_extension("key");
    let (has_certificate, mut has_key) = (certificate.exists(), key.exists());
    if has_key && !has_certificate && is_first_start(ledger, folder, issuer)? {
        has_key = false;
    }
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
    let ca = ca.with_context(|| format!("cannot use {} with {}", certificate.display(), key.display()))?;
    Ok(ca.in_realm(realm_file::load(folder)?))
}

/// Reads the files of a certificate.
///
/// # Errors
/// They cannot be read now, which says nothing of their content.
pub fn find(files: &Files) -> Result<Found> {
    if !files.certificate.exists() && !files.key.exists() {
        return Ok(Found::Missing);
    }
    Ok(match check_files(files) {
        Ok(facts) => Found::Certificate(facts),
        Err(error @ tls::Error::Read { .. }) if !is_missing(&error) => return Err(error.into()),
        Err(error @ (tls::Error::Read { .. } | tls::Error::Pem { .. } | tls::Error::Mismatch { .. })) => {
            Found::Damaged(service_kit::status::chain(&error))
        }
    })
}

fn is_missing(error: &tls::Error) -> bool {
    matches!(error, tls::Error::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// A certificate that was issued, and why.
#[derive(Debug)]
pub struct Made {
    /// Its entry in the record.
    pub entry: Entry,
    /// Why it was issued.
    pub why: Why,
}

/// The certificates that could not be issued, by name: each is tried once a minute.
#[derive(Debug, Clone, Default)]
pub struct Attempts(BTreeMap<String, (Timestamp, String)>);

impl Attempts {
    /// Whether a certificate may be tried now.
    pub fn may_try(&self, name: &str, now: Timestamp) -> bool {
        // A clock that was set back does not prevent it.
        self.0.get(name).is_none_or(|(at, _)| now < *at || now.since(*at) >= RETRY_DELAY)
    }

    /// Notes how an attempt ended.
    pub fn note(&mut self, name: &str, now: Timestamp, failure: Option<String>) {
        match failure {
            Some(failure) => drop(self.0.insert(name.to_owned(), (now, failure))),
            None => drop(self.0.remove(name)),
        }
    }

    /// What failed, if anything did.
    pub fn failure(&self) -> Option<String> {
        let texts: Vec<_> = self.0.iter().map(|(name, (_, why))| format!("certificate {name}: {why}")).collect();
        if texts.is_empty() { None } else { Some(texts.join("; ")) }
    }
}

/// What [`ensure_all`] did.
#[derive(Debug)]
pub struct Ensured {
    /// The certificates that were issued.
    pub made: Vec<Made>,
    /// A certificate that is required and could not be issued.
    pub lacking: Option<anyhow::Error>,
    /// What has to be said about CAs that end.
    pub warnings: Vec<String>,
}

/// Issues those of the wanted certificates that are missing, damaged, due or revoked, and brings the lists of revoked ones up
/// to date.
pub fn ensure_all(folder: &Path, wanted: &[Wanted], attempts: &mut Attempts) -> Result<Ensured> {
    let mut ledger = Ledger::open(folder)?;
    let authorities = Authorities::load_or_create(&ledger, folder)?;
    let (mut made, mut lacking) = (Vec::new(), None);
    for wanted in wanted {
        let now = clock::now();
        if !attempts.may_try(&wanted.name, now) {
            continue;
        }
        let decided = find(&wanted.issuer.files(folder, &wanted.name)).map(|found| {
            let revoked = Revoked::of(&ledger, wanted, &found);
            reason_to_issue(&wanted.subject, &found, revoked, now)
        });
        let mut is_usable = false;
        let outcome = decided.and_then(|why| {
            let Some(why) = why else { return Ok(None) };
            is_usable = why == Why::Due;
            let entry = authorities.issue(&mut ledger, folder, wanted, LIFETIME_DAYS)?;
            Ok(Some(Made { entry, why }))
        });
        attempts.note(&wanted.name, now, outcome.as_ref().err().map(|error| format!("{error:#}")));
        match outcome {
            Ok(new) => made.extend(new),
            Err(error) if !is_usable && lacking.is_none() => lacking = Some(error),
            Err(_) => {}
        }
    }
    authorities.write_revocation_lists(&ledger, folder)?;
    Ok(Ensured { made, lacking, warnings: authorities.warnings(folder, clock::now()) })
}
