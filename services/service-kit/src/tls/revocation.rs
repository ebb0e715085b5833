//! Certificates that were revoked: refused at each handshake, and open connections with them end.
//!
//! Each process knows all serial numbers that were revoked since its store began. A revocation is final: a number that was
//! added stays until the process ends, whatever happens to the store meanwhile.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{CertificateFacts, Serial, facts};
use crate::clock;

/// How often the wall clock is read to notice that a certificate has expired: it can be set, and a suspended host's
/// timers stand still.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Why a certificate was revoked (RFC 5280 §5.3.1). Reasons that can be taken back, or that concern a CA, are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// No reason is given.
    #[default]
    Unspecified,
    /// Another person or program may have the private key.
    KeyCompromise,
    /// The bearer has another name or role.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// The bearer does not exist any more.
    CessationOfOperation,
    /// The bearer is not authorized any more.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// Returns the name of the reason.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }
}

/// Why a connection ends because of its peer's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateEnd {
    /// It was revoked.
    #[error("the certificate of the peer was revoked")]
    Revoked,
    /// It is not valid any more.
    #[error("the certificate of the peer has expired")]
    Expired,
}

/// The serial numbers of all revoked certificates of the mesh's CA. Clones share them.
#[derive(Clone)]
pub struct Revocations {
    serials: watch::Sender<HashSet<Serial>>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { serials: watch::Sender::new(HashSet::new()) }
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("count", &self.serials.borrow().len()).finish()
    }
}

impl Revocations {
    /// Adds serial numbers. Returns how many were not known.
    pub fn add(&self, serials: impl IntoIterator<Item = Serial>) -> usize {
        let mut added = 0;
        self.serials.send_if_modified(|known| {
            added = serials.into_iter().filter(|serial| known.insert(serial.clone())).count();
            added > 0
        });
        added
    }

    /// Returns whether a certificate with this serial number was revoked.
    #[must_use]
    pub fn contains(&self, serial: &Serial) -> bool {
        self.serials.borrow().contains(serial)
    }

    /// Resolves after the next change. Cancel safe.
    pub(super) async fn changed(changes: &mut watch::Receiver<HashSet<Serial>>) {
        // The sender lives as long as the subscriber's `Tls`.
        if changes.changed().await.is_err() {
            std::future::pending().await
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<HashSet<Serial>> {
        self.serials.subscribe()
    }

    /// Resolves when a certificate (DER) is revoked or has expired, at once if it is. Cancel safe.
    pub async fn ended(self, certificate: Vec<u8>) -> CertificateEnd {
        // What passed a handshake can be read.
        let Some(facts) = CertificateFacts::of_der(&certificate) else { return CertificateEnd::Revoked };
        drop(certificate);
        let mut changes = self.serials.subscribe();
        let expiry = async {
            loop {
                let left = facts.validity.left(clock::now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(EXPIRY_CHECK_INTERVAL)).await;
            }
        };
        tokio::select! {
            biased;
            // The sender lives as long as `self`.
            _ = changes.wait_for(|known| known.contains(&facts.serial)) => CertificateEnd::Revoked,
            () = expiry => CertificateEnd::Expired,
        }
    }

    fn check(&self, leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        for certificate in std::iter::once(leaf).chain(above) {
            let serial = facts::serial_of(certificate).ok_or(CertificateError::BadEncoding)?;
            if self.contains(&serial) {
                return Err(CertificateError::Revoked.into());
            }
        }
        Ok(())
    }
}

/// Verifies as `inner` does, and refuses revoked certificates.
#[derive(Debug)]
pub(super) struct RefuseRevoked<V: ?Sized> {
    pub(super) revocations: Revocations,
    pub(super) inner: Arc<V>,
}

impl ClientCertVerifier for RefuseRevoked<dyn ClientCertVerifier> {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(leaf, above, now)?;
        self.revocations.check(leaf, above)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ServerCertVerifier for RefuseRevoked<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(leaf, above, name, ocsp, now)?;
        self.revocations.check(leaf, above)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
