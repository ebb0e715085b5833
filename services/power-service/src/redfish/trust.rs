//! Whose certificates a Redfish service may show.

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

/// Octets of a file of certificates: the whole web's authorities have a quarter of it.
const LARGEST_FILE: u64 = 1 << 20;

/// What the host's own authorities are once they were read.
#[derive(Debug, Clone, Default)]
pub(super) struct Host(Arc<OnceLock<Arc<ClientConfig>>>);

impl Host {
    /// What a service is connected to with.
    ///
    /// # Errors
    /// In words: the file can not be used.
    pub(super) async fn tls(&self, trust: &Trust) -> Result<Arc<ClientConfig>, String> {
        match trust {
            Trust::Host => self.own(),
            Trust::File(path) => checked_by(Arc::new(Named::read(path).await?)),
            Trust::Anybody => checked_by(Arc::new(Anybody(provider()))),
        }
    }

    fn own(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(known) = self.0.get() {
            return Ok(Arc::clone(known));
        }
        let builder = builder()?.with_platform_verifier();
        let builder = builder.map_err(|error| format!("the host's authorities can not be read: {error}"))?;
        Ok(Arc::clone(self.0.get_or_init(|| Arc::new(builder.with_no_client_auth()))))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    builder.map_err(|error| error.to_string())
}

fn checked_by(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, String> {
    let builder = builder()?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// Certificates that an operator named: each is believed itself, whatever name it bears, and so is what one vouches for.
///
/// A BMC's own certificate mostly signs itself, often as an authority and for a name that nobody uses; of such a one a
/// check by the book believes nothing, although the operator has said that it is this one.
#[derive(Debug)]
struct Named {
    certificates: Vec<CertificateDer<'static>>,
    vouches: Arc<WebPkiServerVerifier>,
}

impl Named {
    async fn read(path: &str) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("the certificates in redfish_verify_ca = {path:?}: {why}");
        let size = tokio::fs::metadata(path).await.map_err(|error| wrong(&error))?.len();
        if size > LARGEST_FILE {
            return Err(wrong(&format!("more than {LARGEST_FILE} octets")));
        }
        let pem = tokio::fs::read(path).await.map_err(|error| wrong(&error))?;
        Self::of(&pem).map_err(|why| wrong(&why))
    }

    fn of(pem: &[u8]) -> Result<Self, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|_| "not a PEM file")?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err("no certificate in it".to_owned());
        }
        let vouches = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        Ok(Self { certificates, vouches: vouches.map_err(|error| error.to_string())? })
    }
}

impl ServerCertVerifier for Named {
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
        self.vouches.verify_server_cert(shown, between, name, stapled, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.vouches.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.vouches.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.vouches.supported_verify_schemes()
    }
}

/// Whoever has the key of what is shown.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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

    /// A certificate of a BMC: it has signed itself, as an authority, for a name that nobody uses.
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
            let connector = TlsConnector::from(checked_by(verifier).unwrap());
            let (ours, _) = futures::join!(connector.connect(name, ours), self.acceptor.accept(theirs));
            ours.is_ok()
        }
    }

    #[tokio::test]
    async fn the_certificate_that_was_named_is_believed_and_no_other() {
        let (bmc, other) = (Bmc::new(), Bmc::new());
        let named = Arc::new(Named::of(bmc.pem.as_bytes()).unwrap());
        assert!(bmc.is_believed(named.clone()).await);
        assert!(!other.is_believed(named).await);
        assert!(other.is_believed(Arc::new(Anybody(provider()))).await);
    }

    #[test]
    fn a_file_without_a_certificate_says_so() {
        assert_eq!(Named::of(b"nothing").unwrap_err(), "no certificate in it");
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(Named::of(broken.as_bytes()).is_err());
    }
}
