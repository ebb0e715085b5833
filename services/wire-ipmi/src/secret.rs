//! Secrets, which are never printed and are wiped when they are dropped.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::cipher::{self, Suite};

/// Maximum length of a password or key, in octets (IPMI 2.0 §13.20: K_UID and K_G have 160 bits).
pub const MAX_SECRET: usize = 20;

/// Password or key K_G, padded with zeros as on the BMC.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; MAX_SECRET]);

impl Secret {
    /// Creates a secret, or returns `None` if there are more than [`MAX_SECRET`] octets.
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Self> {
        let mut padded = [0; MAX_SECRET];
        padded.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(Self(padded))
    }

    pub(crate) const fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Generator of unpredictable bytes, from one seed.
///
/// A session needs nonces at login and an initialization vector for every datagram (IPMI 2.0 §13.29). The only source of
/// randomness is the seed, an argument, so that a session in a test is reproducible.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Entropy {
    seed: [u8; 32],
    drawn: u64,
}

impl Entropy {
    pub(crate) const fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// Returns sixteen octets that were never returned before.
    pub(crate) fn draw(&mut self) -> [u8; 16] {
        self.drawn = self.drawn.wrapping_add(1);
        let digest = cipher::hmac(Suite::Seventeen, &self.seed, &[&self.drawn.to_le_bytes()]);
        digest.first()
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(..)")
    }
}
