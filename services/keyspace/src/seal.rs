//! Encrypts secrets for the store, with XChaCha20-Poly1305 under a key that the store never sees.
//!
//! A sealed value is bound to its place (its record and field), so that it cannot be passed off as another record's
//! secret.

mod fields;

use std::{collections::BTreeMap, fmt, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use domain::secret::Secret;
use zeroize::Zeroizing;

pub use crate::value::Sealed;
use crate::{Error, value::ConfigDrive};

pub use self::fields::{IsSecret, has_sealed, mask, open_text, open_value, seal_record};

/// Size of a key, in bytes.
const KEY: usize = 32;
/// Size of a nonce, in bytes; random ones of this size do not repeat (draft-irtf-cfrg-xchacha).
const NONCE: usize = 24;

/// What an operator can do about a damaged key.
const MEND_KEY: &str = "put the original key back from a backup, because the secrets in the store cannot be read with another \
                        one";

/// Seals and opens secrets. Clones share the key.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    name: String,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("key", &self.name).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Reads a key from a file of 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read; [`Error::Seal`] if it does not hold a key.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let read = durable_file::read(path, MEND_KEY);
        let read = read.map_err(|error| Error::File { path: path.to_owned(), source: error.into() })?;
        let text = Zeroizing::new(String::from_utf8_lossy(&Zeroizing::new(read)).into_owned());
        let digits = text.trim();
        let mut key = Zeroizing::new([0_u8; KEY]);
        let wrong = || Error::Seal(format!("{} must hold {} hexadecimal digits; {MEND_KEY}", path.display(), KEY * 2));
        if digits.len() != KEY * 2 {
            return Err(wrong());
        }
        for (octet, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *octet = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Self::new(&key)
    }

    /// Uses a key.
    ///
    /// # Errors
    /// None in practice; the cipher's interface has one.
    pub fn new(key: &[u8; KEY]) -> Result<Self, Error> {
        let cipher =
            XChaCha20Poly1305::new_from_slice(key).map_err(|_| Error::Seal("a key of the wrong size".to_owned()))?;
        // The key is named by its encryption of nothing, under a nonce that is used for nothing else.
        let name = cipher
            .encrypt(&XNonce::from([0_u8; NONCE]), Payload { msg: b"", aad: b"ironmesh key name" })
            .map_err(|_| Error::Seal("cannot name the key".to_owned()))?;
        let name = STANDARD.encode(name.get(..6).unwrap_or_default());
        Ok(Self { cipher, name })
    }

    /// Seals a secret for a place, such as `<node>/bmc-password`.
    ///
    /// # Errors
    /// [`Error::Seal`] if the operating system provides no randomness.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Result<Sealed, Error> {
        let mut nonce = [0_u8; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| Error::Seal(format!("no randomness: {error}")))?;
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: secret, aad: place.as_bytes() })
            .map_err(|_| Error::Seal(format!("cannot seal {place}")))?;
        let mut all = nonce.to_vec();
        all.extend(sealed);
        Ok(Sealed { key: self.name.clone(), sealed: STANDARD.encode(all) })
    }

    /// Opens a secret that was sealed for this place.
    ///
    /// # Errors
    /// [`Error::Seal`] if it was sealed with another key or for another place, or is damaged.
    pub fn open(&self, place: &str, sealed: &Sealed) -> Result<Secret, Error> {
        if sealed.key != self.name {
            let why =
                format!("{place} was sealed with another key ({}); service.sealing_key has {}", sealed.key, self.name);
            return Err(Error::Seal(why));
        }
        let damaged = || Error::Seal(format!("{place} is damaged, or was sealed for another place"));
        let all = STANDARD.decode(&sealed.sealed).map_err(|_| damaged())?;
        let (nonce, sealed) = all.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        self.cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: place.as_bytes() })
            .map(Secret::new)
            .map_err(|_| damaged())
    }

    /// Seals files for a place. They are compressed first, because etcd's requests are small.
    ///
    /// # Errors
    /// [`Error::Seal`] as for [`Self::seal`], or if they cannot be compressed.
    pub fn seal_files(&self, place: &str, files: &ConfigDrive) -> Result<Sealed, Error> {
        let wrong = |error: &dyn fmt::Display| Error::Seal(format!("cannot pack {place}: {error}"));
        let texts = files.iter().map(|(path, content)| (path, STANDARD.encode(content)));
        let json = serde_json::to_vec(&texts.collect::<BTreeMap<_, _>>()).map_err(|error| wrong(&error))?;
        let packed = zstd::bulk::compress(&Zeroizing::new(json), 0).map_err(|error| wrong(&error))?;
        self.seal(place, &Zeroizing::new(packed))
    }

    /// Opens files that were sealed for this place.
    ///
    /// # Errors
    /// [`Error::Seal`] as for [`Self::open`], or if it holds something else than files.
    pub fn open_files(&self, place: &str, sealed: &Sealed) -> Result<ConfigDrive, Error> {
        let wrong = |error: &dyn fmt::Display| Error::Seal(format!("cannot unpack {place}: {error}"));
        let packed = self.open(place, sealed)?;
        let json = Zeroizing::new(zstd::decode_all(packed.expose()).map_err(|error| wrong(&error))?);
        let texts: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|error| wrong(&error))?;
        let files = texts.into_iter().map(|(path, text)| Ok((path, STANDARD.decode(text)?)));
        files.collect::<Result<_, base64::DecodeError>>().map_err(|error| wrong(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let sealer = Sealer::new(&[7; KEY]).unwrap();
        let sealed = sealer.seal("n1/bmc-password", b"labpass").unwrap();
        assert_eq!(sealer.open("n1/bmc-password", &sealed).unwrap().expose(), b"labpass");
        assert!(sealer.open("n2/bmc-password", &sealed).is_err());
        let other = Sealer::new(&[8; KEY]).unwrap();
        assert!(other.open("n1/bmc-password", &sealed).unwrap_err().to_string().contains("another key"));
    }

    #[test]
    fn the_same_secret_never_looks_the_same() {
        let sealer = Sealer::new(&[7; KEY]).unwrap();
        assert_ne!(sealer.seal("p", b"x").unwrap(), sealer.seal("p", b"x").unwrap());
    }

    #[test]
    fn sealed_files_are_hardly_larger_than_their_content() {
        let sealer = Sealer::new(&[7; KEY]).unwrap();
        // What cannot be compressed takes a third more, in base64.
        let mut noise = vec![0; 300 << 10];
        getrandom::fill(&mut noise).unwrap();
        let text = b"#cloud-config\n".repeat(20_000);
        for (content, most) in [(noise, 410 << 10), (text, 8 << 10), (Vec::new(), 1 << 10)] {
            let files = ConfigDrive::from([("openstack/latest/user_data".to_owned(), content)]);
            let sealed = sealer.seal_files("n1/config-drive", &files).unwrap();
            assert!(serde_json::to_vec(&sealed).unwrap().len() < most, "{most}");
            assert_eq!(sealer.open_files("n1/config-drive", &sealed).unwrap(), files);
            assert!(sealer.open_files("n2/config-drive", &sealed).is_err());
        }
        let other = sealer.seal("p", b"no files").unwrap();
        assert!(sealer.open_files("p", &other).unwrap_err().to_string().contains("cannot unpack p"));
    }
}
