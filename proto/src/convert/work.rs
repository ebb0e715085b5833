//! Encodings of images.

use domain::image::Encoding;

use super::Invalid;
use crate::{agent::v1 as wire, storage::v1::FileFormat};

impl From<Option<Encoding>> for FileFormat {
    /// The format of a file that is expected; of no encoding, any format is.
    fn from(encoding: Option<Encoding>) -> Self {
        match encoding {
            None => Self::Unspecified,
            Some(Encoding::Plain) => Self::Raw,
            Some(Encoding::Gzip) => Self::Gzip,
            Some(Encoding::Zstd) => Self::Zstd,
            Some(Encoding::Qcow2) => Self::Qcow2,
        }
    }
}

impl From<Encoding> for wire::Encoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Plain => Self::Plain,
            Encoding::Gzip => Self::Gzip,
            Encoding::Zstd => Self::Zstd,
            // The storage-service converts it before an agent is told to write it.
            Encoding::Qcow2 => Self::Unspecified,
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

/// Returns the word for an encoding in messages for people.
#[must_use]
pub const fn encoding_word(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Plain => "plain",
        Encoding::Gzip => "gzip",
        Encoding::Zstd => "zstd",
        Encoding::Qcow2 => "qcow2",
    }
}
