//! Encodings and purposes of images.

use domain::image::{Encoding, Purpose};

use super::Invalid;
use crate::agent::v1 as wire;

impl From<Encoding> for wire::Encoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Plain => Self::Plain,
            Encoding::Gzip => Self::Gzip,
            Encoding::Zstd => Self::Zstd,
        }
    }
}

impl TryFrom<wire::Encoding> for Encoding {
    type Error = Invalid;
    fn try_from(encoding: wire::Encoding) -> Result<Self, Invalid> {
        match encoding {
            wire::Encoding::Unspecified => Err(Invalid::Missing("encoding")),
            wire::Encoding::Plain => Ok(Self::Plain),
            wire::Encoding::Gzip => Ok(Self::Gzip),
            wire::Encoding::Zstd => Ok(Self::Zstd),
        }
    }
}

/// Parses an encoding; an empty text is `plain`.
///
/// # Errors
/// The text is none of the known words; the error lists them.
pub fn encoding(text: &str) -> Result<Encoding, Invalid> {
    match text {
        "" | "plain" | "raw" => Ok(Encoding::Plain),
        "gzip" | "gz" => Ok(Encoding::Gzip),
        "zstd" | "zst" => Ok(Encoding::Zstd),
        other => Err(Invalid::wrong("encoding", format!("{other:?} is none of plain, gzip, zstd"))),
    }
}

/// Returns the word that the API uses.
#[must_use]
pub const fn encoding_word(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Plain => "plain",
        Encoding::Gzip => "gzip",
        Encoding::Zstd => "zstd",
    }
}

/// Parses a purpose; an empty text is `disk`.
///
/// # Errors
/// The text is none of the known words; the error lists them.
pub fn purpose(text: &str) -> Result<Purpose, Invalid> {
    match text {
        "" | "disk" => Ok(Purpose::Disk),
        "kernel" => Ok(Purpose::Kernel),
        "ramdisk" => Ok(Purpose::Ramdisk),
        other => Err(Invalid::wrong("purpose", format!("{other:?} is none of disk, kernel, ramdisk"))),
    }
}

/// Returns the word that the API uses.
#[must_use]
pub const fn purpose_word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Disk => "disk",
        Purpose::Kernel => "kernel",
        Purpose::Ramdisk => "ramdisk",
    }
}
