//! Images for disks and for booting from the network, and their digests.

pub mod checksum;
pub mod format;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{id::ImageId, net::as_text};

/// Hash function of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// FIPS 180-4, 32 octets.
    Sha256,
    /// FIPS 180-4, 64 octets.
    Sha512,
}

impl Algorithm {
    /// Returns the size of a digest, in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Returns the name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// Expected digest of a file's content. Written as `sha256:<hex>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// Hash function.
    pub algorithm: Algorithm,
    /// Lower-case hexadecimal, exactly as long as the output of the function.
    hex: String,
}

/// Error for a text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a digest such as sha256:<64 hexadecimal digits> or sha512:<128 hexadecimal digits>")]
pub struct ParseDigestError(String);

impl Digest {
    /// Returns the hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Returns a file name that is unique to the digest.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.word(), self.hex)
    }
}
impl FromStr for Digest {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let wrong = || ParseDigestError(text.chars().take(160).collect());
        let (word, hex) = text.split_once([':', '-']).ok_or_else(wrong)?;
        let algorithm = match word {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(wrong()),
        };
        let fits = hex.len() == algorithm.size() * 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if fits { Ok(Self { algorithm, hex: hex.to_ascii_lowercase() }) } else { Err(wrong()) }
    }
}
as_text!(Digest);

/// How the content of an image is packed in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Not compressed.
    #[default]
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// QEMU copy-on-write, version 2 or 3. The storage-service converts it to plain when it downloads it.
    Qcow2,
}

/// Purpose of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Written to a whole disk.
    #[default]
    Disk,
    /// Booted from the network.
    Kernel,
    /// Initial file system for a kernel.
    Ramdisk,
}

/// Registered image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Id.
    pub id: ImageId,
    /// Name, unique within the datacenter.
    pub name: String,
    /// URL that the image is downloaded from: `http:`, `https:` or `file:`.
    pub url: String,
    /// Expected digest of the downloaded file.
    pub digest: Digest,
    /// How the file is packed. It is unpacked while it is written to a disk.
    pub encoding: Encoding,
    /// Purpose of the image.
    pub purpose: Purpose,
    /// Size in bytes after decompression, if known. It is compared with the disk before anything is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked_size: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_the_length_of_its_function() {
        let text = format!("sha256:{}", "Ab".repeat(32));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text.to_lowercase());
        for wrong in ["sha256:ab".to_owned(), format!("md5:{}", "ab".repeat(16)), format!("sha512:{}", "ab".repeat(32))]
        {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
