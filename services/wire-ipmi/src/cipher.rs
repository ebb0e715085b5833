//! Cipher suites 3 and 17 (IPMI 2.0 §13.28, Table 22-20).

use std::fmt;

use aes::Aes128;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Malformed;
use crate::rmcp::{self, Packet, Protection};

/// Block size of AES and length of an initialization vector, in octets.
const BLOCK: usize = 16;
/// Block size of SHA-1 and SHA-256, to which HMAC pads a key, in octets.
const HMAC_BLOCK: usize = 64;
/// Length of the constants of IPMI 2.0 §13.32, in octets, also for SHA-256 (as in ipmitool and FreeIPMI).
const CONSTANT: usize = 20;

/// Cipher suite of a session. Weaker suites are not supported: 0 to 2 lack authentication, integrity or confidentiality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128. Every BMC has it.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl Suite {
    /// Returns the number in Table 22-20.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Seventeen => 17,
        }
    }

    /// Authentication (Table 13-17), integrity (Table 13-18) and confidentiality (Table 13-19) algorithms.
    pub(crate) const fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Three => [1, 1, 1],
            Self::Seventeen => [3, 4, 1],
        }
    }

    pub(crate) fn of(algorithms: [u8; 3]) -> Option<Self> {
        [Self::Three, Self::Seventeen].into_iter().find(|suite| suite.algorithms() == algorithms)
    }

    /// Returns the length of a key exchange authentication code, in octets.
    pub(crate) const fn digest(self) -> usize {
        match self {
            Self::Three => 20,
            Self::Seventeen => 32,
        }
    }

    /// Returns the length of an integrity check value, in octets.
    pub(crate) const fn check(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }
}

/// Output of HMAC. It is wiped when it is dropped, because it may be a key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Digest {
    octets: [u8; 32],
    length: usize,
}

impl Digest {
    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Returns the octets of an integrity check value (§13.28.4 truncates the digest).
    pub(crate) fn check(&self, suite: Suite) -> &[u8] {
        self.octets.get(..suite.check()).unwrap_or_default()
    }

    pub(crate) fn first(&self) -> [u8; BLOCK] {
        self.octets.first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// Computes the HMAC of the concatenated parts. The key has at most 64 octets, as all keys of IPMI.
pub(crate) fn hmac(suite: Suite, key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut block = Zeroizing::new([0; HMAC_BLOCK]);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut digest = Digest { octets: [0; 32], length: suite.digest() };
    match suite {
        Suite::Three => fill(&mut digest.octets, Hmac::<Sha1>::new((&*block).into()), parts),
        Suite::Seventeen => fill(&mut digest.octets, Hmac::<Sha256>::new((&*block).into()), parts),
    }
    digest
}

fn fill(octets: &mut [u8; 32], mut mac: impl Mac, parts: &[&[u8]]) {
    parts.iter().for_each(|part| mac.update(part));
    octets.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
}

/// Compares in constant time.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Keys of a session, for signing and for encryption (IPMI 2.0 §13.32).
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Keys {
    #[zeroize(skip)]
    suite: Suite,
    integrity: Digest,
    confidentiality: [u8; BLOCK],
}

impl Keys {
    pub(crate) fn derive(suite: Suite, session_integrity_key: &Digest) -> Self {
        let key = session_integrity_key.octets();
        Self {
            suite,
            integrity: hmac(suite, key, &[&[1; CONSTANT]]),
            confidentiality: hmac(suite, key, &[&[2; CONSTANT]]).first(),
        }
    }

    /// Encrypts and signs an IPMI message.
    pub(crate) fn seal(&self, session: u32, sequence: u32, vector: [u8; BLOCK], message: &[u8]) -> Vec<u8> {
        let payload = self.encrypt(vector, message);
        let mut datagram = rmcp::sealed(session, sequence, &payload);
        let signed = datagram.get(rmcp::HEADER..).unwrap_or_default();
        let code = hmac(self.suite, self.integrity.octets(), &[signed]);
        datagram.extend_from_slice(code.check(self.suite));
        datagram
    }

    /// Decrypts the message of a datagram if its integrity check value is valid.
    pub(crate) fn open(&self, packet: &Packet<'_>) -> Result<Vec<u8>, Malformed> {
        // Without this check, a cleared bit in the payload type would bypass authentication.
        let Protection::Sealed { signed, trailer } = packet.protection else {
            return Err(Malformed::Unauthentic);
        };
        let code = hmac(self.suite, self.integrity.octets(), &[signed]);
        // Octets after the check value are not signed and are ignored.
        let given = trailer.get(..self.suite.check()).ok_or(Malformed::Truncated)?;
        if !equal(code.check(self.suite), given) {
            return Err(Malformed::Unauthentic);
        }
        self.decrypt(packet.payload)
    }

    /// Encrypts a message, padded with 1, 2, 3, … and the length of the padding (IPMI 2.0 §13.29, Table 13-20).
    fn encrypt(&self, vector: [u8; BLOCK], message: &[u8]) -> Vec<u8> {
        let mut text = message.to_vec();
        let pad =
            (1..=u8::MAX).take_while(|n| !(message.len() + usize::from(*n)).is_multiple_of(BLOCK)).last().unwrap_or(0);
        text.extend(1..=pad);
        text.push(pad);
        let mut cipher = cbc::Encryptor::<Aes128>::new(&self.confidentiality.into(), &vector.into());
        for block in text.chunks_exact_mut(BLOCK) {
            if let Ok(block) = block.try_into() {
                cipher.encrypt_block(block);
            }
        }
        [vector.as_slice(), &text].concat()
    }

    fn decrypt(&self, payload: &[u8]) -> Result<Vec<u8>, Malformed> {
        let (vector, text) = payload.split_first_chunk::<BLOCK>().ok_or(Malformed::Truncated)?;
        if text.is_empty() || !text.len().is_multiple_of(BLOCK) {
            return Err(Malformed::Inconsistent);
        }
        let mut text = text.to_vec();
        let mut cipher = cbc::Decryptor::<Aes128>::new(&self.confidentiality.into(), vector.into());
        for block in text.chunks_exact_mut(BLOCK) {
            if let Ok(block) = block.try_into() {
                cipher.decrypt_block(block);
            }
        }
        let pad = usize::from(text.pop().unwrap_or(0));
        let length = text.len().checked_sub(pad).ok_or(Malformed::Inconsistent)?;
        text.truncate(length);
        Ok(text)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
