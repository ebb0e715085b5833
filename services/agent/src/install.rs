//! Writes an image to a disk: it is decompressed and hashed while it is written, and its first block is written last,
//! so that a machine never boots an unverified image.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use domain::image::{
    Digest, Encoding,
    format::{HEAD_BYTES, ImageFormatError, check_content, check_unpacked},
};

use crate::{
    disks::other_block_size,
    error::WorkError,
    unpack::{self, HashingReader, Unpacked},
    wipe::clear_ends,
};

/// Size of the blocks that are written, in bytes.
const BLOCK_BYTES: usize = 1 << 20;

/// A device that an image is written to.
pub trait Device: Read + Write + Seek {
    /// Flushes all written data to the medium.
    ///
    /// # Errors
    /// I/O errors of the device.
    fn sync(&mut self) -> io::Result<()>;
}

impl Device for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// A disk opened for writing.
#[derive(Debug)]
pub struct Target<D> {
    /// Name of the disk for operators.
    pub title: String,
    /// Size in bytes.
    pub size: u64,
    /// Size of its logical blocks in bytes, if it is known.
    pub block_size: Option<u64>,
    /// The device.
    pub device: D,
}

impl<D: Device> Target<D> {
    /// Determines the size of the device.
    ///
    /// # Errors
    /// [`WorkError::Disk`] if the device cannot be read.
    pub fn new(title: String, mut device: D) -> Result<Self, WorkError> {
        match device.seek(SeekFrom::End(0)) {
            Ok(size) => Ok(Self { title, size, block_size: None, device }),
            Err(source) => Err(WorkError::Disk { disk: title, doing: "measure", source }),
        }
    }

    /// Returns a function that converts an I/O error of the operation.
    pub fn error(&self, doing: &'static str) -> impl FnOnce(io::Error) -> WorkError + use<D> {
        let disk = self.title.clone();
        move |source| WorkError::Disk { disk, doing, source }
    }

    /// Zeros both ends.
    ///
    /// # Errors
    /// [`WorkError::Disk`] if the device returns an error.
    pub fn clear_ends(&mut self) -> Result<(), WorkError> {
        let size = self.size;
        clear_ends(&mut self.device, size, &[]).and_then(|()| self.device.sync()).map_err(self.error("clear"))
    }

    /// Checks that the disk can hold and boot an image with this unpacked start.
    fn check_first_block(&self, block: &[u8]) -> Result<(), WorkError> {
        check_unpacked(block).map_err(|error| self.refuse(error))?;
        match self.block_size.and_then(|found| Some((found, other_block_size(block, found)?))) {
            Some((found, image)) => Err(WorkError::BlockSize { disk: self.title.clone(), found, image }),
            None => Ok(()),
        }
    }

    fn refuse(&self, source: ImageFormatError) -> WorkError {
        WorkError::Format { disk: self.title.clone(), source }
    }

    fn write(&mut self, at: u64, block: &[u8]) -> Result<(), WorkError> {
        let written = self.device.seek(SeekFrom::Start(at)).and_then(|_| self.device.write_all(block));
        written.map_err(self.error("write to"))
    }

    fn sync(&mut self) -> Result<(), WorkError> {
        self.device.sync().map_err(self.error("write to"))
    }
}

/// The image to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the compressed stream.
    pub digest: Digest,
    /// Compression.
    pub encoding: Encoding,
    /// Decompressed size in bytes, if known.
    pub unpacked_size: Option<u64>,
}

/// Writes an image and returns its decompressed size in bytes. The disk is left as it was if the start of the image shows
/// that it cannot be written.
///
/// # Errors
/// On any later error both ends of the disk are zeroed, if the disk still accepts writes, so that its previous content
/// does not boot either.
pub fn write_image(mut packed: impl Read, image: &Image, target: &mut Target<impl Device>) -> Result<u64, WorkError> {
    let needed = image.unpacked_size.unwrap_or(0);
    if needed > target.size {
        return Err(WorkError::TooLarge { disk: target.title.clone(), size: target.size, needed });
    }
    let mut head = Vec::new();
    let reading = packed.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head);
    reading.map_err(|error| error.downcast::<WorkError>().unwrap_or(WorkError::Stopped))?;
    check_content(image.encoding, &head).map_err(|error| target.refuse(error))?;
    let mut is_cleared = false;
    let written = write_and_verify(head.chain(packed), image, target, &mut is_cleared);
    if written.is_err() && is_cleared {
        // Report the first error.
        drop(target.clear_ends());
    }
    written
}

fn write_and_verify(
    packed: impl Read,
    image: &Image,
    target: &mut Target<impl Device>,
    is_cleared: &mut bool,
) -> Result<u64, WorkError> {
    let mut source = HashingReader::new(packed, image.digest.algorithm);
    let unwritten_first = match write_unpacked(&mut source, image.encoding, target, is_cleared) {
        // These errors do not depend on the rest of the stream.
        Err(
            error @ (WorkError::Disk { .. }
            | WorkError::TooLarge { .. }
            | WorkError::Format { .. }
            | WorkError::BlockSize { .. }),
        ) => return Err(error),
        unwritten_first => unwritten_first,
    };
    // A decompression error is caused by a corrupt image or by the wrong image: the digest tells which.
    source.drain();
    if let Some(broken) = source.broken() {
        return Err(broken.downcast::<WorkError>().unwrap_or(WorkError::Stopped));
    }
    let found = source.digest();
    if !unpack::matches_digest(&found, &image.digest) {
        return Err(WorkError::Digest { wanted: image.digest.clone(), found });
    }
    let Written { first, bytes } = unwritten_first?;
    target.sync()?;
    target.write(0, &first)?;
    target.sync()?;
    Ok(bytes)
}

struct Written {
    /// The first block, which is not written yet.
    first: Vec<u8>,
    bytes: u64,
}

fn write_unpacked(
    source: impl Read,
    encoding: Encoding,
    target: &mut Target<impl Device>,
    is_cleared: &mut bool,
) -> Result<Written, WorkError> {
    let word = proto::convert::encoding_word(encoding);
    let corrupt = |source| WorkError::Corrupt { encoding: word, source };
    let mut unpacked = Unpacked::new(source, encoding).map_err(corrupt)?;
    let mut block = vec![0; BLOCK_BYTES];
    let (mut first, mut bytes) = (None, 0_u64);
    loop {
        let got = unpacked.fill(&mut block).map_err(corrupt)?;
        let filled = block.get(..got).unwrap_or_default();
        if filled.is_empty() {
            break;
        }
        let end = bytes.saturating_add(got as u64);
        if end > target.size {
            return Err(WorkError::TooLarge { disk: target.title.clone(), size: target.size, needed: end });
        }
        if first.is_none() {
            target.check_first_block(filled)?;
            *is_cleared = true;
            target.clear_ends()?;
            first = Some(filled.to_vec());
        } else {
            target.write(bytes, filled)?;
        }
        bytes = end;
    }
    let first = first.ok_or_else(|| corrupt(io::ErrorKind::UnexpectedEof.into()))?;
    Ok(Written { first, bytes })
}

#[cfg(test)]
mod tests;
