//! Mutual TLS between all processes of the mesh, with certificates that are reloaded when they change.
//!
//! A service's certificate has two names: a URI, its [`Identity`], which servers read; and a DNS name,
//! `<service>.<rack>.ironmesh.internal`, which clients verify. The CA thus proves the identity of the caller, and that a
//! call reaches the intended service of the intended rack.

mod authority;
mod identity;

pub use authority::{AuthorityError, Bearer, CertificateAuthority, Issued};
pub use identity::{Identity, Role, UnknownRole, is_operator_name};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use domain::service::Service;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio::sync::watch;

use crate::host::Host;

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
    #[error("{path} is not a valid PEM file: {why}")]
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
}

#[derive(Debug)]
struct Loaded {
    server: Arc<ServerConfig>,
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
        let loaded = Loaded::read(&files)?;
        Ok(Self { files, current: Arc::new(ArcSwap::from_pointee(loaded)), changes: watch::Sender::default() })
    }

    /// Returns the configuration for servers: clients must present a certificate of our CA.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
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

    /// Reloads the files when they change and uses them for new connections.
    pub async fn follow(self, host: Host) {
        loop {
            tokio::select! {
                () = host.stopping() => return,
                () = tokio::time::sleep(RELOAD_INTERVAL) => {}
            }
            match Loaded::read(&self.files) {
                Ok(loaded) if loaded.raw != self.current.load().raw => {
                    tracing::info!(certificate = %self.files.certificate.display(), "certificates changed");
                    self.current.store(Arc::new(loaded));
                    self.changes.send_modify(|changes| *changes += 1);
                }
                Ok(_) => {}
                // While the files are being replaced one by one they do not match.
                Err(error) => tracing::warn!(%error, "cannot load the changed certificates, keeping the previous ones"),
            }
        }
    }
}

impl Loaded {
    fn read(files: &Files) -> Result<Self, Error> {
        let raw = [read(&files.ca)?, read(&files.certificate)?, read(&files.key)?];
        let [ca, certificate, key] = &raw;
        let mut roots = RootCertStore::empty();
        for root in certificates(&files.ca, ca)? {
            roots.add(root).map_err(|why| pem(&files.ca, &why))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&files.certificate, certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|why| pem(&files.key, &why))?;
        let mismatch = |why: &dyn fmt::Display| Error::Mismatch { files: files.clone(), why: why.to_string() };
        let callers = WebPkiClientVerifier::builder(Arc::clone(&roots)).build().map_err(|why| mismatch(&why))?;
        let mut server = ServerConfig::builder()
            .with_client_cert_verifier(callers)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|why| mismatch(&why))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut for_agents = ServerConfig::builder()
            .with_client_cert_verifier(Arc::new(AnyKey))
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|why| mismatch(&why))?;
        for_agents.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|why| mismatch(&why))?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        let (server, for_agents) = (Arc::new(server), Arc::new(for_agents));
        Ok(Self { server, for_agents, client: Arc::new(client), raw })
    }
}

/// Accepts any certificate if the client proves possession of its key.
#[derive(Debug)]
struct AnyKey;

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
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
    Identity::of_certificate(&CertificateDer::from_pem_slice(pem).ok()?)
}

/// Returns the server name that clients verify for a rack's service.
#[must_use]
pub fn server_name(service: Service, rack: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(dns_name(service, rack)).ok()
}
