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
