//! The text of a join token: what an administrator gives to a host that is to join the datacenter.
//!
//! ```text
//! ironmesh-join-1.<base64url without padding (RFC 4648 §5) of:
//!     version octet 1 · UUID (16 octets) · secret (32 octets) · SHA-256 of the mesh CA (32 octets) · datacenter's name>
//! ```
//!
//! The store has the SHA-256 of the secret only.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroize as _;

use crate::names::is_datacenter_name;

/// What the text begins with.
const PREFIX: &str = "ironmesh-join-1.";
/// The first octet.
const VERSION: u8 = 1;
/// Octets before the datacenter's name.
const FIXED_BYTES: usize = 1 + 16 + 32 + 32;

/// A join token with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    id: Uuid,
    secret: [u8; 32],
    ca_digest: [u8; 32],
    datacenter: String,
}

/// The text is not a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseJoinTokenError {
    /// It begins with something else.
    #[error("it is no join token: one begins with {PREFIX}; ironmesh token create prints one")]
    Prefix,
    /// It is of a later version.
    #[error("the join token is of a later version of ironmesh; use the version of the datacenter on this host")]
    Version,
    /// It is cut or damaged.
    #[error("the join token is cut or damaged; copy the whole line that ironmesh token create printed")]
    Damaged,
}

impl JoinToken {
    /// Makes a token of a random secret.
    #[must_use]
    pub const fn new(id: Uuid, secret: [u8; 32], ca_digest: [u8; 32], datacenter: String) -> Self {
        Self { id, secret, ca_digest, datacenter }
    }

    /// Its id, which is not secret.
    #[must_use]
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// Its secret, which only the authority may learn.
    #[must_use]
    pub const fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// SHA-256 of its secret in hexadecimal, as the store has it.
    #[must_use]
    pub fn secret_digest(&self) -> String {
        hex::encode(digest(&self.secret))
    }

    /// SHA-256 of the certificate (DER) of the CA that signed the authority's certificate.
    #[must_use]
    pub const fn ca_digest(&self) -> [u8; 32] {
        self.ca_digest
    }

    /// The datacenter that it is for.
    #[must_use]
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }

    /// The text, with the secret.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { id, secret, ca_digest, datacenter } = self;
        let mut octets = [&[VERSION], &id.as_bytes()[..], secret, ca_digest, datacenter.as_bytes()].concat();
        let text = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(&octets));
        octets.zeroize();
        text
    }
}

/// Hides the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).field("datacenter", &self.datacenter).finish_non_exhaustive()
    }
}

impl Drop for JoinToken {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl FromStr for JoinToken {
    type Err = ParseJoinTokenError;

    /// Reads the text; white space around it is ignored.
    fn from_str(text: &str) -> Result<Self, ParseJoinTokenError> {
        let text = text.trim();
        let encoded = match text.strip_prefix(PREFIX) {
            Some(encoded) => encoded,
            None if text.starts_with("ironmesh-join-") => return Err(ParseJoinTokenError::Version),
            None => return Err(ParseJoinTokenError::Prefix),
        };
        let mut octets = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| ParseJoinTokenError::Damaged)?;
        let token = Self::of_octets(&octets);
        octets.zeroize();
        token
    }
}

impl JoinToken {
    fn of_octets(octets: &[u8]) -> Result<Self, ParseJoinTokenError> {
        let damaged = ParseJoinTokenError::Damaged;
        if octets.first().is_some_and(|version| *version > VERSION) {
            return Err(ParseJoinTokenError::Version);
        }
        let (fixed, datacenter) = octets.split_at_checked(FIXED_BYTES).ok_or(damaged)?;
        let (version, fixed) = fixed.split_at(1);
        let (id, fixed) = fixed.split_at(16);
        let (secret, ca_digest) = fixed.split_at(32);
        let datacenter = str::from_utf8(datacenter).map_err(|_| damaged)?;
        if version != [VERSION] || !is_datacenter_name(datacenter) {
            return Err(damaged);
        }
        Ok(Self {
            id: Uuid::from_slice(id).map_err(|_| damaged)?,
            secret: secret.try_into().map_err(|_| damaged)?,
            ca_digest: ca_digest.try_into().map_err(|_| damaged)?,
            datacenter: datacenter.to_owned(),
        })
    }
}

/// SHA-256 of the first certificate (DER) of a CA file (PEM); `None` if it has none.
#[must_use]
pub fn ca_digest(pem: &[u8]) -> Option<[u8; 32]> {
    CertificateDer::from_pem_slice(pem).ok().map(|certificate| digest(&certificate))
}

fn digest(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken::new(Uuid::from_u128(7), [0xab; 32], [0xcd; 32], "fra1".to_owned())
    }

    #[test]
    fn a_token_reads_back_and_shows_its_secret_in_its_text_only() {
        let token = token();
        let text = token.text();
        assert_eq!(text.parse::<JoinToken>(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse::<JoinToken>(), Ok(token.clone()));
        // SHA-256 of 32 octets ab, by coreutils' sha256sum.
        assert_eq!(token.secret_digest(), "9a2db2e23f1504cd056606553ac049c5e718e8f9ce9233876df1a7a1821af885");
        let shown = format!("{token:?}");
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"), "{shown}");
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        use ParseJoinTokenError::{Damaged, Prefix, Version};
        let text = token().text();
        let encoded = |octets: &[u8]| format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(octets));
        let octets = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX).unwrap()).unwrap();
        let named = |name: &[u8]| encoded(&[&octets[..FIXED_BYTES], name].concat());
        for (source, text, error) in [
            ("nothing", String::new(), Prefix),
            ("a file's name", "token.txt".to_owned(), Prefix),
            ("a kubeadm token", "abcdef.0123456789abcdef".to_owned(), Prefix),
            ("a later text", text.replace("join-1", "join-2"), Version),
            ("a later version", encoded(&[&[2], &octets[1..]].concat()), Version),
            ("version 0", encoded(&[&[0], &octets[1..]].concat()), Damaged),
            ("the prefix alone", PREFIX.to_owned(), Damaged),
            ("its end cut", text[..text.len() - 10].to_owned(), Damaged),
            ("cut within the digest", encoded(&octets[..FIXED_BYTES - 1]), Damaged),
            ("no datacenter", named(b""), Damaged),
            ("a datacenter of another form", named(b"Fra 1"), Damaged),
            ("a datacenter that is no UTF-8", named(b"\xff\xfe"), Damaged),
            ("base64 with padding", format!("{text}=="), Damaged),
            ("a line break within", format!("{}\n{}", &text[..40], &text[40..]), Damaged),
        ] {
            assert_eq!(text.parse::<JoinToken>().unwrap_err(), error, "{source}");
        }
    }

    #[test]
    fn the_digest_is_that_of_the_first_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        assert_eq!(ca_digest(certificate.pem().as_bytes()), Some(digest(certificate.der())));
        assert_eq!(ca_digest(b"nothing"), None);
    }
}
