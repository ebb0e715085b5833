//! Hashes a compressed stream while it is decompressed.

use std::io::{self, BufReader, Read};

use domain::image::{Algorithm, Digest, Encoding};
use sha2::{Digest as _, Sha256, Sha512};
use wire_config_drive::GzipReader;

/// Maximum window of a zstd frame, as a power of two: 128 MiB, as `zstd --long` creates. A larger window could exhaust
/// the memory of a small machine.
const WINDOW_LOG: u32 = 27;
/// Size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 128 << 10;

/// A reader that hashes what passes through. It remembers the error of the stream, which decoders hide.
#[derive(Debug)]
pub(crate) struct HashingReader<R> {
    inner: R,
    hash: Hash,
    broken: Option<io::Error>,
}

#[derive(Debug)]
enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R, algorithm: Algorithm) -> Self {
        let hash = match algorithm {
            Algorithm::Sha256 => Hash::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hash::Sha512(Sha512::new()),
        };
        Self { inner, hash, broken: None }
    }

    /// Returns the error of the stream itself, if there was one.
    pub(crate) fn broken(&mut self) -> Option<io::Error> {
        self.broken.take()
    }

    /// Reads the rest of the stream: the digest covers all of it.
    pub(crate) fn drain(&mut self) {
        let mut rest = vec![0; BUFFER_BYTES];
        while self.broken.is_none() && matches!(self.read(&mut rest), Ok(1..)) {}
    }

    /// Returns the digest of what was read, in the format of [`Digest`].
    pub(crate) fn digest(self) -> String {
        match self.hash {
            Hash::Sha256(hash) => format!("sha256:{}", hex::encode(hash.finalize())),
            Hash::Sha512(hash) => format!("sha512:{}", hex::encode(hash.finalize())),
        }
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let got = match self.inner.read(buffer) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.broken = Some(error);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        };
        let seen = buffer.get(..got).unwrap_or_default();
        match &mut self.hash {
            Hash::Sha256(hash) => hash.update(seen),
            Hash::Sha512(hash) => hash.update(seen),
        }
        Ok(got)
    }
}

/// Returns whether the digest is the registered one.
pub(crate) fn matches_digest(found: &str, wanted: &Digest) -> bool {
    found == wanted.to_string()
}

/// A decompressed stream. Concatenated members or frames are one stream (RFC 1952 §2.2, RFC 8878 §3.1).
pub(crate) enum Unpacked<R: Read> {
    Plain(R),
    Gzip(GzipReader<BufReader<R>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<R>>),
}

impl<R: Read> Unpacked<R> {
    pub(crate) fn new(packed: R, encoding: Encoding) -> io::Result<Self> {
        let buffered = |packed| BufReader::with_capacity(BUFFER_BYTES, packed);
        Ok(match encoding {
            Encoding::Plain => Self::Plain(packed),
            Encoding::Gzip => Self::Gzip(GzipReader::new(buffered(packed))),
            // The storage-service serves it converted.
            Encoding::Qcow2 => return Err(io::ErrorKind::Unsupported.into()),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered(packed))?;
                decoder.window_log_max(WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
        })
    }

    /// Fills the block, unless the stream ends before.
    pub(crate) fn fill(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest) {
                Ok(0) => break,
                Ok(got) => filled = filled.saturating_add(got),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Gzip(stream) => stream.read(buffer),
            Self::Zstd(stream) => stream.read(buffer),
        }
    }
}
