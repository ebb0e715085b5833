//! Words of images on the wire.

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

/// Reads an encoding as people write it; nothing is `plain`.
///
/// # Errors
/// Names the words that there are.
pub fn encoding(text: &str) -> Result<Encoding, Invalid> {
    match text {
        "" | "plain" | "raw" => Ok(Encoding::Plain),
        "gzip" | "gz" => Ok(Encoding::Gzip),
        "zstd" | "zst" => Ok(Encoding::Zstd),
        other => Err(Invalid::wrong("encoding", format!("{other:?} is none of plain, gzip, zstd"))),
    }
}

/// As people read it.
#[must_use]
pub const fn encoding_word(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Plain => "plain",
        Encoding::Gzip => "gzip",
        Encoding::Zstd => "zstd",
    }
}

/// Reads a purpose as people write it; nothing is `disk`.
///
/// # Errors
/// Names the words that there are.
pub fn purpose(text: &str) -> Result<Purpose, Invalid> {
    match text {
        "" | "disk" => Ok(Purpose::Disk),
        "kernel" => Ok(Purpose::Kernel),
        "ramdisk" => Ok(Purpose::Ramdisk),
        other => Err(Invalid::wrong("purpose", format!("{other:?} is none of disk, kernel, ramdisk"))),
    }
}

/// As people read it.
#[must_use]
pub const fn purpose_word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Disk => "disk",
        Purpose::Kernel => "kernel",
        Purpose::Ramdisk => "ramdisk",
    }
}
