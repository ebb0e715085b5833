//! An image goes to a disk: unpacked and hashed while it is written, its first block last, so that a machine can never
//! boot an image that did not prove right.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use domain::image::{Digest, Encoding};

use crate::{
    error::Trouble,
    unpack::{self, Hashing, Unpacked},
    wipe::forget,
};

/// Octets written at once.
const BLOCK: usize = 1 << 20;

/// What an image is written to.
pub trait Device: Read + Write + Seek {
    /// Returns when everything that was written is on the medium.
    ///
    /// # Errors
    /// Where the medium says that it is not.
    fn sync(&mut self) -> io::Result<()>;
}

impl Device for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// A disk that is open for writing.
#[derive(Debug)]
pub struct Target<D> {
    /// What the operator knows it as.
    pub title: String,
    /// Its octets.
    pub size: u64,
    /// The disk itself.
    pub device: D,
}

impl<D: Device> Target<D> {
    /// Finds out how large the disk is.
    ///
    /// # Errors
    /// [`Trouble::Disk`]
    pub fn new(title: String, mut device: D) -> Result<Self, Trouble> {
        match device.seek(SeekFrom::End(0)) {
            Ok(size) => Ok(Self { title, size, device }),
            Err(source) => Err(Trouble::Disk { disk: title, doing: "measure", source }),
        }
    }

    /// Says what the disk answered.
    pub fn trouble(&self, doing: &'static str) -> impl FnOnce(io::Error) -> Trouble + use<D> {
        let disk = self.title.clone();
        move |source| Trouble::Disk { disk, doing, source }
    }

    /// Zeros both ends.
    ///
    /// # Errors
    /// [`Trouble::Disk`]
    pub fn forget(&mut self) -> Result<(), Trouble> {
        let size = self.size;
        forget(&mut self.device, size, &[]).and_then(|()| self.device.sync()).map_err(self.trouble("clear"))
    }

    fn write(&mut self, at: u64, block: &[u8]) -> Result<(), Trouble> {
        let written = self.device.seek(SeekFrom::Start(at)).and_then(|_| self.device.write_all(block));
        written.map_err(self.trouble("write to"))
    }

    fn sync(&mut self) -> Result<(), Trouble> {
        self.device.sync().map_err(self.trouble("write to"))
    }
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Of the packed stream.
    pub digest: Digest,
    /// How it is packed.
    pub encoding: Encoding,
    /// Octets once unpacked, where somebody knows.
    pub unpacked_size: Option<u64>,
}

/// Writes an image, and returns how many octets it unpacked to.
///
/// # Errors
/// Whatever is wrong, both ends of the disk are zero then (as far as the disk still takes it): what it held before does
/// not boot either.
pub fn write_image(packed: impl Read, image: &Image, target: &mut Target<impl Device>) -> Result<u64, Trouble> {
    let needed = image.unpacked_size.unwrap_or(0);
    if needed > target.size {
        return Err(Trouble::TooLarge { disk: target.title.clone(), size: target.size, needed });
    }
    target.forget()?;
    let written = pour_and_prove(packed, image, target);
    if written.is_err() {
        // The trouble that we have is the one to tell.
        drop(target.forget());
    }
    written
}

fn pour_and_prove(packed: impl Read, image: &Image, target: &mut Target<impl Device>) -> Result<u64, Trouble> {
    let mut source = Hashing::new(packed, image.digest.algorithm);
    let poured = match pour(&mut source, image.encoding, target) {
        // These do not depend on the rest of the stream.
        Err(trouble @ (Trouble::Disk { .. } | Trouble::TooLarge { .. })) => return Err(trouble),
        poured => poured,
    };
    // A damaged stream is damaged packing or another image: its digest tells.
    source.drain();
    if let Some(broken) = source.broken() {
        return Err(broken.downcast::<Trouble>().unwrap_or(Trouble::Stopped));
    }
    let found = source.digest();
    if !unpack::is(&found, &image.digest) {
        return Err(Trouble::Digest { wanted: image.digest.clone(), found });
    }
    let Poured { first, octets } = poured?;
    target.sync()?;
    target.write(0, &first)?;
    target.sync()?;
    Ok(octets)
}

struct Poured {
    /// The first block, which is not on the disk yet.
    first: Vec<u8>,
    octets: u64,
}

fn pour(source: impl Read, encoding: Encoding, target: &mut Target<impl Device>) -> Result<Poured, Trouble> {
    let word = proto::convert::encoding_word(encoding);
    let corrupt = |source| Trouble::Corrupt { encoding: word, source };
    let mut unpacked = Unpacked::new(source, encoding).map_err(corrupt)?;
    let mut block = vec![0; BLOCK];
    let (mut first, mut octets) = (None, 0_u64);
    loop {
        let got = unpacked.fill(&mut block).map_err(corrupt)?;
        let filled = block.get(..got).unwrap_or_default();
        if filled.is_empty() {
            break;
        }
        let end = octets.saturating_add(got as u64);
        if end > target.size {
            return Err(Trouble::TooLarge { disk: target.title.clone(), size: target.size, needed: end });
        }
        if first.is_none() {
            first = Some(filled.to_vec());
        } else {
            target.write(octets, filled)?;
        }
        octets = end;
    }
    let first = first.ok_or_else(|| corrupt(io::ErrorKind::UnexpectedEof.into()))?;
    Ok(Poured { first, octets })
}

#[cfg(test)]
mod tests;
