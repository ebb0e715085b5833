//! Trust in a CA of which only the digest is known, for a host that joins a datacenter with a token.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest as _, Sha256};

use super::{Identity, install_provider};

/// Trusts the authority whose CA has a known digest. The server sends its CA beside its certificate.
#[derive(Debug, Clone)]
pub struct PinnedTrust {
    client: Arc<ClientConfig>,
}

impl PinnedTrust {
    /// Trusts the authority of a datacenter, whose CA's certificate (DER) has this SHA-256.
    #[must_use]
    pub fn new(ca_digest: [u8; 32], datacenter: &str) -> Self {
        install_provider();
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let verifier = PinnedCa { ca_digest, datacenter: datacenter.to_owned(), algorithms };
        let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut client = builder.with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        client.resumption = Resumption::disabled();
        Self { client: Arc::new(client) }
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

/// Verifies the certificate of an authority by the digest of its CA.
#[derive(Debug)]
struct PinnedCa {
    ca_digest: [u8; 32],
    datacenter: String,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = above.iter().find(|ca| Sha256::digest(ca)[..] == self.ca_digest);
        let ca = ca.ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build();
        let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(leaf, &[], name, ocsp, now)?;
        // The CA certifies others, too, which must not get the secret of a token.
        match Identity::in_certificate(leaf) {
            Some((realm, Identity::Authority)) if realm.datacenter() == self.datacenter => Ok(verified),
            Some(_) | None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
