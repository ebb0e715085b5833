//! The serial number of a certificate.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Size of the serial numbers that we issue, in bytes.
const RANDOM_BYTES: usize = 16;
/// Maximum size of a serial number, in bytes (RFC 5280 §4.1.2.2).
const MAX_BYTES: usize = 20;

/// The serial number of a certificate, without leading zeros. As text, hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

/// The text is not a serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a serial number: it must have 1 to 40 hexadecimal digits, and may have colons between bytes")]
pub struct ParseSerialError(String);

impl Serial {
    /// Creates a serial number from its big-endian bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes.get(zeros..).unwrap_or_default().to_vec())
    }

    /// Draws a random number of 128 bits, so that no two certificates have the same one and the next one cannot be
    /// guessed (RFC 5280 §4.1.2.2). `None` if no random numbers are available.
    pub(super) fn random() -> Option<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
        // It must be positive.
        Some(Self::new(&bytes)).filter(|serial| !serial.0.is_empty())
    }

    /// The big-endian bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("00");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Serial {
    type Err = ParseSerialError;

    fn from_str(text: &str) -> Result<Self, ParseSerialError> {
        let wrong = || ParseSerialError(text.to_owned());
        let digits: String = text.chars().filter(|letter| *letter != ':').collect();
        let is_hex = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_hex || digits.len() > MAX_BYTES * 2 {
            return Err(wrong());
        }
        let digits = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        Ok(Self::new(&bytes.ok_or_else(wrong)?))
    }
}

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_read_in_the_forms_in_which_tools_show_it() {
        // Text, and what it is shown as; the tools that show serial numbers like this.
        for (text, shown) in [
            ("0a1b2c", Some("0a1b2c")),   // etcd's log
            ("A1B2C", Some("0a1b2c")),    // openssl x509 -serial, without a leading zero
            ("0A:1B:2C", Some("0a1b2c")), // openssl x509 -text
            ("00:f0:00", Some("f000")),   // DER of a number whose first bit is set
            ("7", Some("07")),
            ("0", Some("00")),
            (&"f".repeat(40), Some(&"f".repeat(40)[..])),
            (&"f".repeat(41), None),
            ("", None),
            (":", None),
            ("0x1b", None),
            ("ann", None),
            ("1b 2c", None),
            ("ü", None),
        ] {
            assert_eq!(text.parse::<Serial>().ok().map(|serial| serial.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn random_serial_numbers_differ_and_have_128_bits() {
        let many: std::collections::HashSet<_> = (0..100).map(|_| Serial::random().unwrap()).collect();
        assert_eq!(many.len(), 100);
        assert!(many.iter().all(|serial| serial.bytes().len() <= RANDOM_BYTES));
        assert!(many.iter().filter(|serial| serial.bytes().len() == RANDOM_BYTES).count() > 80);
    }
}
