//! Mutual TLS between all processes of the mesh, with certificates that may change while they run.
//!
//! A certificate names its bearer twice: by a URI, `spiffe://ironmesh/<rack>/<service>` or
//! `spiffe://ironmesh/operator/<name>`, which servers read; and by a DNS name, `<service>.<rack>.ironmesh.internal`,
//! which clients ask for. So a caller is who the CA says, and a call reaches the service of the rack that was meant.

mod identity;

pub use identity::{Identity, Role};
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

/// How often files are looked at for a change.
const LOOK: Duration = Duration::from_secs(5);
/// What the rack named "" is called in names that can not be empty.
const NAMELESS_RACK: &str = "default";
/// The part of all our certificates' DNS names.
const DNS_SUFFIX: &str = "ironmesh.internal";

/// Certificates that can not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can not be read.
    #[error("cannot read {path}; `ironmesh up` makes a private CA and certificates for a first run")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is not a PEM file of the right kind: {why}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Key and certificates do not go together.
    #[error("the certificate, its key and the CA do not go together: {0}")]
    Mismatch(String),
}

fn dns_label(rack: &str) -> &str {
    if rack.is_empty() { NAMELESS_RACK } else { rack }
}

/// The DNS name in the certificates of a rack's service.
#[must_use]
pub fn dns_name(service: Service, rack: &str) -> String {
    format!("{service}.{}.{DNS_SUFFIX}", dns_label(rack))
}

/// Where a process's certificates are.
#[derive(Debug, Clone)]
pub struct Files {
    /// The CA (PEM).
    pub ca: PathBuf,
    /// The own certificate, leaf first (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

/// Both ends' TLS of one process. Clones share what is loaded.
#[derive(Debug, Clone)]
pub struct Tls {
    files: Files,
    current: Arc<ArcSwap<Loaded>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Loaded {
    server: Arc<ServerConfig>,
    for_machines: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    raw: [Vec<u8>; 3],
}

/// Makes ring the provider of all cryptography of the process. May be called again.
pub fn install_provider() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("a provider of cryptography was installed before");
    }
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(files: Files) -> Result<Self, Error> {
        install_provider();
        let loaded = Loaded::read(&files)?;
        Ok(Self { files, current: Arc::new(ArcSwap::from_pointee(loaded)), changes: watch::Sender::default() })
    }

    /// What a server of ours accepts connections with: callers must show a certificate of our CA.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// What a door for machines accepts connections with: callers must show a certificate and prove that they have its
    /// key, and it may be anybody's. Who they are is for the service to find out.
    #[must_use]
    pub fn server_for_machines(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().for_machines)
    }

    /// What we call others with.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.load().client)
    }

    /// CA, certificate and key as they are in the files (PEM), for libraries that read them themselves.
    #[must_use]
    pub fn pem(&self) -> [Vec<u8>; 3] {
        self.current.load().raw.clone()
    }

    /// How often they have changed, for those who hand them on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Looks at the files now and then, and uses them for new connections when they have changed.
    pub async fn follow(self, host: Host) {
        loop {
            tokio::select! {
                () = host.stopping() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            match Loaded::read(&self.files) {
                Ok(loaded) if loaded.raw != self.current.load().raw => {
                    tracing::info!(certificate = %self.files.certificate.display(), "certificates changed");
                    self.current.store(Arc::new(loaded));
                    self.changes.send_modify(|changes| *changes += 1);
                }
                Ok(_) => {}
                // Files that are being replaced one by one do not go together for a moment.
                Err(error) => tracing::warn!(%error, "keeping the certificates that are in use"),
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
        let mismatch = |why: &dyn fmt::Display| Error::Mismatch(why.to_string());
        let callers = WebPkiClientVerifier::builder(Arc::clone(&roots)).build().map_err(|why| mismatch(&why))?;
        let mut server = ServerConfig::builder()
            .with_client_cert_verifier(callers)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|why| mismatch(&why))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut for_machines = ServerConfig::builder()
            .with_client_cert_verifier(Arc::new(AnyKey))
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|why| mismatch(&why))?;
        for_machines.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|why| mismatch(&why))?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        let (server, for_machines) = (Arc::new(server), Arc::new(for_machines));
        Ok(Self { server, for_machines, client: Arc::new(client), raw })
    }
}

/// Accepts any certificate whose key the caller proves to have.
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
    if all.is_empty() { Err(pem(path, &"it holds no certificate")) } else { Ok(all) }
}

/// The name to ask a rack's service for.
#[must_use]
pub fn server_name(service: Service, rack: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(dns_name(service, rack)).ok()
}
