//! Mutual TLS between all processes of the mesh, with certificates that are reloaded when they change.
//!
//! A service's certificate has two names: a URI, its [`Identity`], which servers read; and a DNS name,
//! `<service>.<rack>.ironmesh.internal`, which clients verify. The CA thus proves the identity of the caller, and that a
//! call reaches the intended service of the intended rack.
//!
//! Certificates are verified in every handshake, and are valid for 90 days at most: sessions are not resumed, because a
//! resumed session verifies nothing. A certificate that was revoked is refused, and open connections with it end.

mod any_key;
mod authority;
mod expiry;
mod facts;
mod identity;
mod pinned;
mod public_key;
mod realm;
mod revocation;
mod serial;
mod server_trust;
#[cfg(test)]
mod tests;
mod validity;

pub use authority::{AuthorityError, Bearer, CertificateAuthority, Issued, Revoked, listed_serials};
pub use expiry::{ExpiryReport, Urgency};
pub use facts::CertificateFacts;
pub use identity::{Identity, Role, UnknownRole, is_operator_name};
pub use pinned::PinnedTrust;
pub use public_key::{CsrError, KeyDigest, PublicKey};
pub use realm::{InvalidRealm, Realm};
pub use revocation::{CertificateEnd, RevocationReason, Revocations};
pub use serial::{ParseSerialError, Serial};
pub use server_trust::ServerTrust;
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
pub use validity::{Due, EXPIRY_WARNING, LIFETIME_DAYS, Validity, due};

use arc_swap::ArcSwap;
use domain::service::Service;
use rustls::{
    CertificateError, ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::sync::watch;

use self::{any_key::AnyKey, expiry::Reminder, revocation::RefuseRevoked};
use crate::{clock, host::Host};

/// How often the certificate files are checked for changes.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// The label for the rack named "" in names that must not be empty.
const NAMELESS_RACK: &str = "default";
/// Common suffix of the DNS names in all certificates.
const DNS_SUFFIX: &str = "ironmesh.internal";

/// The certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}; `ironmesh up` creates a private CA and certificates")]
    Read {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// A file does not have the expected content.
    #[error(
        "{path} is not a valid PEM file: {why}; restore it, or have it made again: ironmesh up replaces a damaged \
             certificate of its own, and ironmesh certificate renew one of an operator"
    )]
    Pem {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The key, the certificate and the CA do not match.
    #[error("{certificate}, {key} and {ca} do not match: {why}", ca = .files.ca.display(), key = .files.key.display(),
        certificate = .files.certificate.display())]
    Mismatch {
        /// The files.
        files: Files,
        /// The reason.
        why: String,
    },
}

fn dns_label(rack: &str) -> &str {
    if rack.is_empty() { NAMELESS_RACK } else { rack }
}

/// Returns the DNS name in the certificates of a rack's service.
#[must_use]
pub fn dns_name(service: Service, rack: &str) -> String {
    format!("{service}.{}.{DNS_SUFFIX}", dns_label(rack))
}

/// Returns the DNS name in the certificate of a host. No rack is named `host`.
#[must_use]
pub fn host_dns_name(name: &str) -> String {
    format!("{name}.host.{DNS_SUFFIX}")
}

/// Returns the DNS name in the certificate of a datacenter's authority.
#[must_use]
pub fn authority_dns_name() -> String {
    format!("authority.{DNS_SUFFIX}")
}

/// Paths of the certificate files of a process.
#[derive(Debug, Clone)]
pub struct Files {
    /// CA certificate (PEM).
    pub ca: PathBuf,
    /// Certificate chain, leaf first (PEM).
    pub certificate: PathBuf,
    /// Private key of the certificate (PEM).
    pub key: PathBuf,
}

/// TLS configuration of one process, for servers and clients. Clones share the loaded certificates.
#[derive(Debug, Clone)]
pub struct Tls {
    files: Files,
    current: Arc<ArcSwap<Loaded>>,
    changes: watch::Sender<u64>,
    revocations: Revocations,
}

#[derive(Debug)]
struct Loaded {
    facts: Option<CertificateFacts>,
    server: Arc<ServerConfig>,
    for_tokens: Arc<ServerConfig>,
    for_agents: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    raw: [Vec<u8>; 3],
}

/// Installs ring as the cryptography provider of the process. May be called several times.
pub fn install_provider() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("a cryptography provider is already installed");
    }
}

impl Tls {
    /// Loads the certificate files.
    ///
    /// # Errors
    /// [`Error`] names the file and what is wrong with it.
    pub fn load(files: Files) -> Result<Self, Error> {
        install_provider();
        let revocations = Revocations::default();
        let loaded = Loaded::of(&files, read_all(&files)?, &revocations)?;
        let (current, changes) = (Arc::new(ArcSwap::from_pointee(loaded)), watch::Sender::default());
        Ok(Self { files, current, changes, revocations })
    }

    /// Returns the revoked certificates, to which more can be added.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Returns the realm of the own certificate, relative to which the identities of peers are read.
    #[must_use]
    pub fn realm(&self) -> Realm {
        self.current.load().facts.as_ref().map(|facts| facts.realm.clone()).unwrap_or_default()
    }

    /// Returns what has to be said about the end of the own certificate, if it is near or past.
    #[must_use]
    pub fn expiry(&self) -> Option<ExpiryReport> {
        ExpiryReport::of(&self.files.certificate, self.current.load().facts.as_ref()?, clock::now())
    }

    /// Returns the configuration for servers: clients must present a certificate of our CA.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// Returns the configuration for a listener that takes tokens: a client presents a certificate of our CA, or none.
    #[must_use]
    pub fn server_for_tokens(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().for_tokens)
    }

    /// Returns the configuration for the listener of agents: clients must present a certificate and prove possession of
    /// its key, but any CA is accepted. The service identifies the agent itself.
    #[must_use]
    pub fn server_for_agents(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().for_agents)
    }

    /// Returns the configuration for clients.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.load().client)
    }

    /// Returns CA, certificate and key as in the files (PEM), for libraries that parse them themselves.
    #[must_use]
    pub fn pem(&self) -> [Vec<u8>; 3] {
        self.current.load().raw.clone()
    }

    /// Notifies of reloaded certificates. The value counts the reloads.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reloads the files when they change and uses them for new connections. Logs when the certificate expires soon.
    pub async fn follow(self, host: Host) {
        let (mut revoked, mut reminder) = (self.revocations.subscribe(), Reminder::default());
        // The last failure, which is logged once.
        let mut failure = None;
        loop {
            if let Some(report) = self.expiry().filter(|_| reminder.is_due()) {
                report.log();
            }
            tokio::select! {
                () = host.stopping() => return,
                () = tokio::time::sleep(RELOAD_INTERVAL) => {}
                // The own certificate may be among them, and another one is there already.
                () = Revocations::changed(&mut revoked) => {}
            }
            match self.reload() {
                Ok(is_changed) => {
                    failure = None;
                    if is_changed {
                        tracing::info!(certificate = %self.files.certificate.display(), "certificates changed");
                        self.changes.send_modify(|changes| *changes += 1);
                    }
                }
                // While the files are being replaced one by one they do not match.
                Err(error) => {
                    let text = Some(error.to_string());
                    if failure != text {
                        tracing::warn!(%error, "cannot load the changed certificates, keeping the previous ones");
                        failure = text;
                    }
                }
            }
        }
    }

    /// Loads the files if they have changed. Returns whether they have.
    fn reload(&self) -> Result<bool, Error> {
        let raw = read_all(&self.files)?;
        if raw == self.current.load().raw {
            return Ok(false);
        }
        self.current.store(Arc::new(Loaded::of(&self.files, raw, &self.revocations)?));
        Ok(true)
    }
}

impl Loaded {
    fn of(files: &Files, raw: [Vec<u8>; 3], revocations: &Revocations) -> Result<Self, Error> {
        let [ca, certificate, key] = &raw;
        let roots = roots(&files.ca, ca)?;
        let chain = certificates(&files.certificate, certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|why| pem(&files.key, &why))?;
        let mismatch = |why: &dyn fmt::Display| Error::Mismatch { files: files.clone(), why: why.to_string() };
        let pair = |why: rustls::Error| {
            let is_other_key = matches!(why, rustls::Error::InconsistentKeys(_));
            if is_other_key { mismatch(&"the certificate is for another key") } else { mismatch(&why) }
        };
        let for_callers = |callers: Arc<dyn ClientCertVerifier>, chain: Vec<CertificateDer<'static>>| {
            let verifier = RefuseRevoked { revocations: revocations.clone(), inner: callers };
            let server = ServerConfig::builder()
                .with_client_cert_verifier(Arc::new(verifier))
                .with_single_cert(chain, key.clone_key());
            let mut server = server.map_err(pair)?;
            server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            // A resumed session verifies no certificate.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
            Ok::<_, Error>(Arc::new(server))
        };
        let callers = || WebPkiClientVerifier::builder(Arc::clone(&roots));
        let server = for_callers(callers().build().map_err(|why| mismatch(&why))?, chain.clone())?;
        // A host that joins knows the CA by its digest only.
        let with_ca = chain.iter().cloned().chain(certificates(&files.ca, ca)?).collect();
        let for_tokens = callers().allow_unauthenticated().build().map_err(|why| mismatch(&why))?;
        let for_tokens = for_callers(for_tokens, with_ca)?;
        let mut for_agents = ServerConfig::builder()
            .with_client_cert_verifier(Arc::new(AnyKey::new()))
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(pair)?;
        for_agents.alpn_protocols = vec![b"h2".to_vec()];
        let servers = WebPkiServerVerifier::builder(roots).build().map_err(|why| mismatch(&why))?;
        let servers: Arc<dyn ServerCertVerifier> = servers;
        let mut client = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(RefuseRevoked {
                revocations: revocations.clone(),
                inner: servers,
            }))
            .with_client_auth_cert(chain, key)
            .map_err(pair)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session verifies no certificate.
        client.resumption = Resumption::disabled();
        let (for_agents, client) = (Arc::new(for_agents), Arc::new(client));
        let facts = CertificateFacts::of_pem(certificate);
        Ok(Self { facts, server, for_tokens, for_agents, client, raw })
    }
}

/// Checks that a process can use these files: key and certificate match, and the CA signed it. Whether the certificate is
/// valid now is left to the caller.
///
/// # Errors
/// [`Error`] names the file and what is wrong with it.
pub fn check_files(files: &Files) -> Result<CertificateFacts, Error> {
    install_provider();
    let loaded = Loaded::of(files, read_all(files)?, &Revocations::default())?;
    let mismatch = |why: &dyn fmt::Display| Error::Mismatch { files: files.clone(), why: why.to_string() };
    let facts = loaded.facts.ok_or_else(|| pem(&files.certificate, &"it is no certificate of X.509"))?;
    let [ca, certificate, _] = &loaded.raw;
    let verifier = WebPkiClientVerifier::builder(roots(&files.ca, ca)?).build().map_err(|why| mismatch(&why))?;
    let chain = certificates(&files.certificate, certificate)?;
    let begin = Duration::from_millis(u64::try_from(facts.validity.not_before.millis()).unwrap_or(0));
    if let Some((leaf, above)) = chain.split_first() {
        let verified = verifier.verify_client_cert(leaf, above, UnixTime::since_unix_epoch(begin));
        verified.map_err(|why| mismatch(&why))?;
    }
    Ok(facts)
}

/// Returns what to do about a handshake that failed because of the peer's certificate.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "the list of errors grows, and most need no advice")]
pub fn advice(error: &io::Error) -> Option<&'static str> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(wrong) = error else { return None };
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some("the peer's certificate has expired; renew it with: ironmesh certificate renew NAME --data DIR")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some("the peer's certificate is not valid yet; check the clocks of both hosts")
        }
        CertificateError::Revoked => {
            Some("the peer's certificate was revoked; see: ironmesh certificate list --data DIR")
        }
        _ => None,
    }
}

fn roots(path: &Path, ca: &[u8]) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for root in certificates(path, ca)? {
        roots.add(root).map_err(|why| pem(path, &why))?;
    }
    Ok(Arc::new(roots))
}

/// Reads CA, certificate and key.
fn read_all(files: &Files) -> Result<[Vec<u8>; 3], Error> {
    Ok([read(&files.ca)?, read(&files.certificate)?, read(&files.key)?])
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    match authority::damage(&bytes) {
        Some(why) => Err(pem(path, &why)),
        None => Ok(bytes),
    }
}

fn pem(path: &Path, why: &dyn fmt::Display) -> Error {
    Error::Pem { path: path.to_owned(), why: why.to_string() }
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(|why| pem(path, &why))?;
    if all.is_empty() { Err(pem(path, &"it contains no certificate")) } else { Ok(all) }
}

/// Returns the identity in the first certificate of a PEM file, which is not verified.
#[must_use]
pub fn certificate_identity(pem: &[u8]) -> Option<Identity> {
    Some(Identity::in_certificate(&CertificateDer::from_pem_slice(pem).ok()?)?.1)
}

/// Returns the server name that clients verify for a rack's service.
#[must_use]
pub fn server_name(service: Service, rack: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(dns_name(service, rack)).ok()
}
