//! Public keys of bearers, as certification requests and certificates have them.

use rcgen::SubjectPublicKeyInfo;
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    prelude::{FromDer as _, X509Certificate},
    public_key::PublicKey as ParsedKey,
};

/// Maximum size of a certification request, in bytes: one with an RSA key of 8,192 bits has less than half.
const MAX_CSR_BYTES: usize = 8 << 10;
/// Sizes of RSA keys that rustls verifies, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A certification request (RFC 2986) cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// It is not one.
    #[error("it is no certification request of PKCS #10 in DER ({0})")]
    Syntax(String),
    /// It is too large.
    #[error("it has {0} bytes, more than the {MAX_CSR_BYTES} that are read")]
    Size(usize),
    /// Its key is of a kind that peers do not verify.
    #[error("its key is of an unsupported kind; use ECDSA with P-256 or P-384, Ed25519, or RSA with 2048 to 8192 bits")]
    Key,
    /// Its RSA key is too short or too long.
    #[error("its RSA key has {0} bits; use 2048 to 8192 bits, or ECDSA with P-256")]
    RsaSize(usize),
    /// It is not signed by its own key.
    #[error("its signature is invalid: the sender does not have the private key of the request")]
    Signature,
}

/// SHA-256 of a public key (SubjectPublicKeyInfo, DER), in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest(String);

impl KeyDigest {
    fn of(spki: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(spki)))
    }

    /// Returns the digest of the key of a certificate (DER).
    #[must_use]
    pub fn of_certificate(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(Self::of(certificate.public_key().raw))
    }

    /// Returns the digest of the key of the first certificate of a PEM file.
    #[must_use]
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        Self::of_certificate(&CertificateDer::from_pem_slice(pem).ok()?)
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key whose owner has proved that it has the private key.
#[derive(Debug)]
pub struct PublicKey {
    key: SubjectPublicKeyInfo,
    digest: KeyDigest,
}

impl PublicKey {
    /// Reads the key of a certification request (RFC 2986, DER), and verifies the request's signature.
    ///
    /// # Errors
    /// [`CsrError`] says what is wrong with the request.
    pub fn of_csr(csr: &[u8]) -> Result<Self, CsrError> {
        if csr.len() > MAX_CSR_BYTES {
            return Err(CsrError::Size(csr.len()));
        }
        let syntax = |why: &dyn std::fmt::Display| CsrError::Syntax(why.to_string());
        let (rest, request) = X509CertificationRequest::from_der(csr).map_err(|why| syntax(&why))?;
        if !rest.is_empty() {
            return Err(syntax(&"bytes follow it"));
        }
        let spki = &request.certification_request_info.subject_pki;
        let kind = &spki.algorithm.algorithm;
        let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        if *kind == OID_PKCS1_RSAENCRYPTION {
            let Ok(ParsedKey::RSA(key)) = spki.parsed() else { return Err(CsrError::Key) };
            let bits = key.key_size();
            if !RSA_BITS.contains(&bits) {
                return Err(CsrError::RsaSize(bits));
            }
        } else {
            let is_curve = *kind == OID_KEY_TYPE_EC_PUBLIC_KEY
                && curve.is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384);
            if !is_curve && *kind != OID_SIG_ED25519 {
                return Err(CsrError::Key);
            }
        }
        request.verify_signature().map_err(|_| CsrError::Signature)?;
        let key = SubjectPublicKeyInfo::from_der(spki.raw).map_err(|_| CsrError::Key)?;
        Ok(Self { key, digest: KeyDigest::of(spki.raw) })
    }

    pub(super) fn key(&self) -> &SubjectPublicKeyInfo {
        &self.key
    }

    /// Returns the digest of the key.
    #[must_use]
    pub fn digest(&self) -> &KeyDigest {
        &self.digest
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    use super::*;
    use crate::{
        clock,
        tls::{Bearer, CertificateAuthority, CertificateFacts, Identity, Validity},
    };

    fn csr(key: &KeyPair) -> Vec<u8> {
        // What it asks for is not granted.
        let params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn a_request_is_refused_if_its_key_its_signature_or_its_form_is_wrong() {
        let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let good = csr(&p256);
        let other = csr(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap());
        // The point of another key in a request that this one signed.
        let place = |der: &[u8]| der.windows(3).position(|three| three == [0x03, 0x42, 0x00]).unwrap() + 4;
        let (mut stolen, from, to) = (good.clone(), place(&other), place(&good));
        stolen[to..to + 64].copy_from_slice(&other[from..from + 64]);
        let mut signature = good.clone();
        *signature.last_mut().unwrap() ^= 1;
        // secp256k1 in place of P-256: an object identifier of another length breaks the form, so its last arc is changed.
        let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        let mut curve = good.clone();
        let at = curve.windows(8).position(|eight| eight == oid).unwrap();
        curve[at + 7] = 0x06;
        let long: Vec<u8> = good.iter().copied().chain([0]).collect();
        for (case, der, expected, source) in [
            ("P-256", &good[..], None, "rustls ring provider"),
            ("P-384", &csr(&p384), None, "rustls ring provider"),
            ("Ed25519", &csr(&ed25519), None, "RFC 8410"),
            ("empty", b"", Some("no certification request"), "RFC 2986 §4"),
            ("cut off", &good[..good.len() - 9], Some("no certification request"), "RFC 2986 §4"),
            ("longer", &long, Some("bytes follow it"), "X.690 §8"),
            ("huge", &[0x30; 9000], Some("9000 bytes"), "our limit"),
            ("another signature", &signature, Some("signature is invalid"), "RFC 2986 §4.2"),
            ("the key of another", &stolen, Some("does not have the private key"), "RFC 2986 §4.2"),
            ("another curve", &curve, Some("unsupported kind"), "rustls verifies P-256 and P-384"),
            ("text", b"-----BEGIN CERTIFICATE REQUEST-----", Some("no certification request"), "DER is sent"),
        ] {
            let found = PublicKey::of_csr(der).map(drop);
            match expected {
                None => assert_eq!(found, Ok(()), "{case} ({source})"),
                Some(words) => assert!(found.unwrap_err().to_string().contains(words), "{case} ({source})"),
            }
        }
    }

    #[test]
    fn a_signed_certificate_has_the_names_of_its_bearer_and_the_key_of_the_request_only() {
        let ca = CertificateAuthority::create("CA of a test").unwrap();
        let key = KeyPair::generate().unwrap();
        let now = clock::now();
        let host = Identity::Host { name: "h1".to_owned() };
        let certificate = ca.sign(&csr(&key), Bearer::Mesh(&host), Validity::starting(now, 30)).unwrap();
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let facts = CertificateFacts::of_pem(certificate.as_bytes()).unwrap();
        assert_eq!(facts.identity, Some(host));
        assert_eq!(facts.hosts, ["h1.host.ironmesh.internal"], "nothing that the request asks for");
        let digest = KeyDigest::of_certificate(&der);
        assert_eq!(digest.as_ref(), Some(PublicKey::of_csr(&csr(&key)).unwrap().digest()));
    }
}
