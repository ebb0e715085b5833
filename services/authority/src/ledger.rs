//! The record of all certificates that the private CAs of a data directory have issued, beside their keys.
//!
//! It is kept in a file and not in the store, because it belongs to the CA: a restored backup of the store must not bring
//! revoked certificates back, and certificates are renewed before etcd runs.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use domain::time::Timestamp;
use durable_file::Access;
use serde::{Deserialize, Serialize};
use service_kit::tls::{
    Bearer, CertificateAuthority, CertificateFacts, Due, Files, Identity, Issued, RevocationReason, Role, Serial,
    Validity, check_files,
};

/// Name of the file.
const FILE: &str = "issued.json";
/// How long a certificate is remembered after it expired.
const RETENTION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Which CA signed a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Issuer {
    /// The mesh's CA.
    Mesh,
    /// etcd's CA.
    Etcd,
}

impl Issuer {
    /// Both CAs.
    pub const ALL: [Self; 2] = [Self::Mesh, Self::Etcd];

    /// Name of its files, without extension.
    pub const fn stem(self) -> &'static str {
        match self {
            Self::Mesh => "ca",
            Self::Etcd => "etcd-ca",
        }
    }

    /// Name of the list of its revoked certificates.
    pub const fn revocation_list(self) -> &'static str {
        match self {
            Self::Mesh => "crl.pem",
            Self::Etcd => "etcd-crl.pem",
        }
    }

    /// Returns the files of a certificate that it signed.
    pub fn files(self, folder: &Path, name: &str) -> Files {
        Files {
            ca: folder.join(format!("{}.pem", self.stem())),
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        }
    }
}

/// What a certificate was issued for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A service or an operator of the mesh, by its URI.
    Identity(String),
    /// A user of etcd.
    EtcdUser(String),
    /// A server with these names and addresses.
    Hosts(Vec<String>),
    /// Not known: it was not issued here, and is revoked.
    Unlisted,
}

impl Subject {
    /// Reads it from a certificate.
    pub fn of(facts: &CertificateFacts) -> Self {
        match (&facts.identity, &facts.common_name) {
            (Some(identity), _) => Self::Identity(identity.uri(&facts.realm)),
            (None, Some(user)) => Self::EtcdUser(user.clone()),
            (None, None) => Self::Hosts(facts.hosts.clone()),
        }
    }

    /// Returns the identity, if it is one of the mesh.
    pub fn identity(&self) -> Option<Identity> {
        if let Self::Identity(uri) = self { Some(Identity::parse(uri)?.1) } else { None }
    }

    /// Whether it is an operator.
    pub fn is_operator(&self) -> bool {
        matches!(self.identity(), Some(Identity::Operator { .. }))
    }

    /// Whether it is an operator with full rights.
    pub fn is_administrator(&self) -> bool {
        matches!(self.identity(), Some(Identity::Operator { role: Role::Admin, .. }))
    }

    /// Returns what a certificate for it may be used for.
    pub fn purpose(&self) -> &'static str {
        match (self, self.identity()) {
            (Self::Identity(_), Some(Identity::Operator { .. })) => "operator",
            (Self::Identity(_), Some(Identity::Host { .. })) => "host",
            (Self::Identity(_), Some(Identity::Authority)) => "authority",
            (Self::Identity(_), _) => "service",
            (Self::EtcdUser(_), _) => "etcd user",
            (Self::Hosts(_), _) => "etcd member",
            (Self::Unlisted, _) => "unknown",
        }
    }

    /// Has a CA issue a certificate for it.
    ///
    /// # Errors
    /// It is not known, or the CA cannot issue it.
    pub fn issue(&self, ca: &CertificateAuthority, validity: Validity) -> Result<Issued> {
        let issued = match self {
            Self::Identity(uri) => {
                let identity = Identity::from_uri(uri, ca.realm());
                let identity = identity.with_context(|| format!("{uri} is no identity of {}", ca.realm()))?;
                ca.issue_for(Bearer::Mesh(&identity), validity)
            }
            Self::EtcdUser(user) => ca.issue_for(Bearer::EtcdUser(user), validity),
            Self::Hosts(hosts) => {
                let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
                ca.issue_for(Bearer::Host(&hosts), validity)
            }
            Self::Unlisted => bail!("it is not known what the certificate was for"),
        };
        issued.with_context(|| format!("cannot issue a certificate for {self}"))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(uri) => f.write_str(uri),
            Self::EtcdUser(user) => write!(f, "etcd user {user}"),
            Self::Hosts(hosts) => f.write_str(&hosts.join(", ")),
            Self::Unlisted => f.write_str("not issued here"),
        }
    }
}

/// A revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When the certificate was revoked.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// An issued certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its serial number.
    pub serial: Serial,
    /// Name of its files, without extension.
    pub name: String,
    /// The CA that signed it.
    pub issuer: Issuer,
    /// What it certifies.
    pub subject: Subject,
    /// When it is valid.
    #[serde(flatten)]
    pub validity: Validity,
    /// When and why it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

impl Entry {
    /// Describes an issued certificate.
    pub fn of(name: &str, issuer: Issuer, facts: &CertificateFacts) -> Self {
        let (serial, subject) = (facts.serial.clone(), Subject::of(facts));
        Self { serial, name: name.to_owned(), issuer, subject, validity: facts.validity, revoked: None }
    }

    /// Whether both are of one certificate. Serial numbers are unique among those of one CA.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.issuer, &self.serial) == (other.issuer, &other.serial)
    }

    /// Whether it is of a host that joined, which has its key and renews it itself.
    #[must_use]
    pub fn is_of_other_host(&self) -> bool {
        self.of_host().is_some()
    }

    /// The host that joined and has its key, and the name of its files there.
    #[must_use]
    pub fn of_host(&self) -> Option<(&str, &str)> {
        self.name.split_once('/')
    }

    /// Whether it has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.validity.due(now) == Due::Expired
    }

    /// Whether servers accept it.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && !self.is_expired(now)
    }
}

/// The content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    certificates: Vec<Entry>,
}

/// The record, which other processes cannot change meanwhile.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    /// In the order in which they were issued.
    pub entries: Vec<Entry>,
    _lock: fs::File,
}

impl Ledger {
    /// Opens the record in a folder of certificates, and adds certificates that are in the folder and not in the record.
    pub fn open(folder: &Path) -> Result<Self> {
        let lock = lock(folder)?;
        let path = folder.join(FILE);
        let restore = |state: &str| {
            format!(
                "{} is {state}: restore it from a backup; without it, certificates that were revoked are valid again",
                path.display()
            )
        };
        let (entries, is_new) = match fs::read(&path) {
            Ok(text) => (parse(&text).with_context(|| restore("damaged"))?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The lists are written after the record.
                let has_lists = Issuer::ALL.iter().any(|issuer| folder.join(issuer.revocation_list()).exists());
                ensure!(
                    !has_lists,
                    "{}. To begin a new one nevertheless, remove crl.pem and etcd-crl.pem",
                    restore("missing")
                );
                (Vec::new(), true)
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let mut ledger = Self { folder: folder.to_owned(), entries, _lock: lock };
        if ledger.adopt()? || is_new {
            ledger.save()?;
        }
        Ok(ledger)
    }

    /// Adds certificates in the folder that are missing, such as those that an earlier release issued.
    fn adopt(&mut self) -> Result<bool> {
        let listed = fs::read_dir(&self.folder).with_context(|| format!("cannot read {}", self.folder.display()))?;
        let mut found: Vec<_> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "pem"));
        found.sort();
        let (before, now) = (self.entries.len(), service_kit::clock::now());
        for path in found {
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            let facts = fs::read(&path).ok().and_then(|pem| CertificateFacts::of_pem(&pem));
            let is_new = |facts: &CertificateFacts| {
                !is_forgotten(facts.validity, now) && self.entries.iter().all(|entry| entry.serial != facts.serial)
            };
            let is_ca = Issuer::ALL.iter().any(|issuer| issuer.stem() == name);
            if is_ca || !facts.is_some_and(|facts| is_new(&facts)) {
                continue;
            }
            let issuers = Issuer::ALL.into_iter();
            let mut ours = issuers.filter_map(|issuer| {
                let facts = check_files(&issuer.files(&self.folder, name)).ok()?;
                Some(Entry::of(name, issuer, &facts))
            });
            self.entries.extend(ours.next());
        }
        Ok(self.entries.len() > before)
    }

    /// Writes the record. Forgets certificates that expired long ago, but neither those whose files exist nor those of revoked
    /// operators, who would get another certificate.
    pub fn save(&mut self) -> Result<()> {
        let now = service_kit::clock::now();
        let has_files = |entry: &Entry| {
            self.latest(&entry.name).is_some_and(|latest| latest.serial == entry.serial)
                && entry.issuer.files(&self.folder, &entry.name).certificate.exists()
        };
        let kept = |entry: &&Entry| {
            let is_revoked_operator = entry.revoked.is_some() && entry.subject.is_operator();
            !is_forgotten(entry.validity, now) || is_revoked_operator || has_files(entry)
        };
        self.entries = self.entries.iter().filter(kept).cloned().collect();
        let content = Content { certificates: self.entries.clone() };
        let text = serde_json::to_vec_pretty(&content).context("cannot encode the record of certificates")?;
        Ok(durable_file::replace(&self.folder.join(FILE), &text, Access::Everyone)?)
    }

    /// The last certificate with these files.
    pub fn latest(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().rfind(|entry| entry.name == name)
    }

    /// Whether another certificate has taken the place of this one.
    pub fn is_replaced(&self, entry: &Entry) -> bool {
        self.latest(&entry.name).is_some_and(|latest| latest.serial != entry.serial)
    }

    /// Whether the certificate that a CA issued with this serial number is revoked. The other CA may have one with the same
    /// number.
    pub fn is_revoked(&self, issuer: Issuer, serial: &Serial) -> bool {
        let mut same = self.entries.iter().filter(|entry| (entry.issuer, &entry.serial) == (issuer, serial));
        same.any(|entry| entry.revoked.is_some())
    }
}

/// Locks the record in a folder, so that no other process changes it or the files of certificates.
pub fn lock(folder: &Path) -> Result<fs::File> {
    let path = folder.join("issued.lock");
    let file = match fs::OpenOptions::new().create_new(true).write(true).open(&path) {
        // It may belong to another user.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::File::open(&path),
        created => created,
    };
    let file = file.and_then(|file| file.lock().map(|()| file));
    file.with_context(|| format!("cannot lock {}", path.display()))
}

/// Whether a certificate expired so long ago that it is not remembered.
fn is_forgotten(validity: Validity, now: Timestamp) -> bool {
    now.since(validity.not_after) >= RETENTION
}

fn parse(text: &[u8]) -> serde_json::Result<Vec<Entry>> {
    serde_json::from_slice::<Content>(text).map(|content| content.certificates)
}
