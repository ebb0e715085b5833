//! Verifies the certificates of Redfish services.

use std::sync::{Arc, OnceLock};

use keyspace::value::Trust;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::{certificates::CertificateFolder, error::RedfishError};

/// Builds TLS configurations. The one with the CAs of the operating system is loaded on first use.
#[derive(Debug, Clone)]
pub(super) struct TrustStore {
    platform: Arc<OnceLock<Arc<ClientConfig>>>,
    folder: CertificateFolder,
}

impl TrustStore {
    /// Creates it with the folder of the certificates that records name by their file name.
    pub(super) fn new(folder: CertificateFolder) -> Self {
        Self { platform: Arc::default(), folder }
    }

    /// Returns the TLS configuration for a service.
    ///
    /// # Errors
    /// [`RedfishError`] if the certificates cannot be loaded.
    pub(super) async fn config(&self, trust: &Trust) -> Result<Arc<ClientConfig>, RedfishError> {
        match trust {
            Trust::Host => self.platform(),
            Trust::File(name) => {
                let unusable = || RedfishError::CaFile(name.clone());
                let pem = self.folder.read(name).await.ok_or_else(unusable)?;
                // What is in a file that holds no certificates is not told to those who may name files.
                with_verifier(Arc::new(PinnedCertificates::parse(&pem).map_err(|error| {
                    tracing::warn!(file = name, %error, "a file in power.ca_folder cannot be used");
                    unusable()
                })?))
            }
            Trust::Pem(text) => {
                let named = PinnedCertificates::parse(text.as_bytes());
                with_verifier(Arc::new(named.map_err(|error| RedfishError::CaText(error.to_string()))?))
            }
            Trust::Anybody => with_verifier(Arc::new(AcceptAny(provider()))),
        }
    }

    fn platform(&self) -> Result<Arc<ClientConfig>, RedfishError> {
        if let Some(known) = self.platform.get() {
            return Ok(Arc::clone(known));
        }
        let builder = builder()?.with_platform_verifier();
        let builder = builder.map_err(|error| RedfishError::Tls(error.to_string()))?;
        Ok(Arc::clone(self.platform.get_or_init(|| Arc::new(builder.with_no_client_auth()))))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, RedfishError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    builder.map_err(|error| RedfishError::Tls(error.to_string()))
}

fn with_verifier(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, RedfishError> {
    let builder = builder()?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// Why certificates cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum InvalidPem {
    /// They are not PEM.
    #[error("they are not PEM")]
    NotPem,
    /// There is no certificate that can be parsed.
    #[error("there is no certificate that can be parsed")]
    Empty,
    /// The certificates cannot be used as CAs.
    #[error("{0}")]
    Unusable(String),
}

/// Trusts the certificates that the record names themselves, whatever their name, and those that they signed.
///
/// The certificate of a BMC is usually self-signed, often marked as a CA, with a name that does not match. Standard
/// verification would reject it although the operator configured exactly this certificate.
#[derive(Debug)]
struct PinnedCertificates {
    certificates: Vec<CertificateDer<'static>>,
    issuer: Arc<WebPkiServerVerifier>,
}

impl PinnedCertificates {
    fn parse(pem: &[u8]) -> Result<Self, InvalidPem> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|_| InvalidPem::NotPem)?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err(InvalidPem::Empty);
        }
        let issuer = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        Ok(Self { certificates, issuer: issuer.map_err(|error| InvalidPem::Unusable(error.to_string()))? })
    }
}

impl ServerCertVerifier for PinnedCertificates {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.iter().any(|named| named == shown) {
            return Ok(ServerCertVerified::assertion());
        }
        self.issuer.verify_server_cert(shown, between, name, stapled, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issuer.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issuer.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issuer.supported_verify_schemes()
    }
}

/// Accepts any certificate if the service proves possession of its key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    };
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    /// A typical BMC certificate: self-signed, marked as a CA, with a name that does not match.
    struct Bmc {
        pem: String,
        acceptor: TlsAcceptor,
    }

    impl Bmc {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["factory.example".to_owned()]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let certificate = params.self_signed(&key).unwrap();
            let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
            let builder = builder.unwrap().with_no_client_auth();
            let config = builder.with_single_cert(vec![certificate.der().clone()], der).unwrap();
            Self { pem: certificate.pem(), acceptor: Arc::new(config).into() }
        }

        async fn is_believed(&self, verifier: Arc<dyn ServerCertVerifier>) -> bool {
            let (ours, theirs) = tokio::io::duplex(16 << 10);
            let name = ServerName::try_from("10.0.0.5").unwrap();
            let connector = TlsConnector::from(with_verifier(verifier).unwrap());
            let (ours, _) = futures::join!(connector.connect(name, ours), self.acceptor.accept(theirs));
            ours.is_ok()
        }
    }

    #[tokio::test]
    async fn the_certificate_that_was_named_is_believed_and_no_other() {
        let (bmc, other) = (Bmc::new(), Bmc::new());
        let named = Arc::new(PinnedCertificates::parse(bmc.pem.as_bytes()).unwrap());
        assert!(bmc.is_believed(named.clone()).await);
        assert!(!other.is_believed(named).await);
        assert!(other.is_believed(Arc::new(AcceptAny(provider()))).await);
    }

    #[tokio::test]
    async fn an_error_tells_nothing_about_the_files_of_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let bmc = Bmc::new();
        std::fs::write(folder.path().join("ca.pem"), &bmc.pem).unwrap();
        std::fs::write(folder.path().join("other.pem"), "no certificate").unwrap();
        let store = TrustStore::new(CertificateFolder::new(folder.path()));
        let config = async |trust| store.config(&trust).await;
        assert!(config(Trust::File("ca.pem".to_owned())).await.is_ok());
        assert!(config(Trust::Pem(bmc.pem.clone())).await.is_ok());
        let mut texts = std::collections::BTreeSet::new();
        for name in ["missing.pem", "other.pem", "/etc/passwd", "/none", "/dev/zero", "../x", "."] {
            let error = config(Trust::File(name.to_owned())).await.unwrap_err().to_string();
            texts.insert(error.replace(&format!("{name:?}"), ""));
        }
        assert_eq!(texts.len(), 1, "{texts:?}");
        let error = config(Trust::Pem("nothing".to_owned())).await.unwrap_err().to_string();
        assert!(error.contains("redfish_verify_ca"), "{error}");
    }

    #[test]
    fn a_file_without_a_certificate_says_so() {
        assert_eq!(PinnedCertificates::parse(b"nothing").unwrap_err(), InvalidPem::Empty);
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(PinnedCertificates::parse(broken.as_bytes()).is_err());
    }
}
