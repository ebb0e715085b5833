//! Checks what a file is by its first bytes, before it is served to a machine.

use std::io::{self, Read};

use domain::image::{
    Encoding,
    format::{FileFormat, HEAD_BYTES, ImageFormatError, by_content, check_boot_file, check_content, check_unpacked},
};

/// What the content of a file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// An image for a disk with this encoding.
    Disk(Encoding),
    /// A kernel or ramdisk, of any format.
    BootFile,
}

impl Expected {
    /// Checks the start of a file: [`HEAD_BYTES`], or all of it. Returns its format.
    ///
    /// # Errors
    /// [`ImageFormatError`]
    pub(super) fn check(self, head: &[u8]) -> Result<FileFormat, ImageFormatError> {
        match self {
            Self::BootFile => check_boot_file(head)?,
            Self::Disk(encoding) => {
                check_content(encoding, head)?;
                let unpacked = match encoding {
                    Encoding::Plain | Encoding::Qcow2 => None,
                    Encoding::Gzip => Some(start_of(flate2::read::GzDecoder::new(head))),
                    Encoding::Zstd => zstd::stream::read::Decoder::new(head).ok().map(start_of),
                };
                // What is damaged is for the agent to tell, which reads all of it.
                if let Some(unpacked) = unpacked.filter(|unpacked| !unpacked.is_empty()) {
                    check_unpacked(&unpacked)?;
                }
            }
        }
        Ok(by_content(head))
    }
}

/// Returns the start of a stream, up to its first error: the packed file is cut.
fn start_of(stream: impl Read) -> Vec<u8> {
    let mut start = Vec::new();
    // What was read before the error is kept.
    drop(stream.take(HEAD_BYTES as u64).read_to_end(&mut start));
    start
}

/// Reads the start of a file.
pub(super) fn head_of(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Collects the start of a download.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
}

impl Head {
    /// Adds a chunk. Returns the start once it is complete.
    pub(super) fn add(&mut self, chunk: &[u8]) -> Option<&[u8]> {
        if self.bytes.len() >= HEAD_BYTES {
            return None;
        }
        let missing = (HEAD_BYTES - self.bytes.len()).min(chunk.len());
        self.bytes.extend_from_slice(chunk.get(..missing).unwrap_or_default());
        (self.bytes.len() >= HEAD_BYTES).then_some(self.bytes.as_slice())
    }

    /// Returns the start of a file that ended before it was complete.
    pub(super) fn short(&self) -> Option<&[u8]> {
        (self.bytes.len() < HEAD_BYTES).then_some(self.bytes.as_slice())
    }
}
