//! The config drive: a FAT volume labelled `config-2` in a partition of its own at the end of the disk, which cloud-init
//! and its kind find by that label.

mod gpt;
mod mbr;

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
};

use domain::failure::Cause;
use wire_config_drive::{ConfigDriveError, volume};

use crate::{
    error::Trouble,
    install::{Device, Target},
};

/// Partitions begin at a multiple of this many octets, as everybody's do.
const ALIGN: u64 = 1 << 20;
/// The sizes that sectors have.
const SECTORS: [u64; 2] = [512, 4096];

/// Why a config drive can not be put on a disk.
#[derive(Debug, thiserror::Error)]
pub enum Unplaceable {
    /// The image brought no partition table that we know.
    #[error("the image has neither a GPT nor an MBR partition table")]
    NoTable,
    /// The image brought a partition table that contradicts itself.
    #[error("the image's partition table is damaged: {0}")]
    Damaged(&'static str),
    /// Every entry of the table is taken.
    #[error("the partition table has no free entry")]
    NoEntry,
    /// The end of the disk is taken.
    #[error("it needs {wanted} octets behind the last partition")]
    NoRoom {
        /// Octets of the config drive.
        wanted: u64,
    },
    /// The files can not be put into a volume.
    #[error(transparent)]
    Volume(#[from] ConfigDriveError),
}

impl Unplaceable {
    /// The word for programs.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        match self {
            Self::NoTable | Self::Damaged(_) => Cause::ImageCorrupt,
            Self::NoEntry | Self::NoRoom { .. } | Self::Volume(ConfigDriveError::TooLarge { .. }) => {
                Cause::ImageTooLarge
            }
            Self::Volume(
                ConfigDriveError::Name(_)
                | ConfigDriveError::Volume(_)
                | ConfigDriveError::Zip(_)
                | ConfigDriveError::Strange,
            ) => Cause::AgentCrashed,
        }
    }
}

/// A change of some octets of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    at: u64,
    octets: Vec<u8>,
}

/// What makes a partition on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    /// Where the partition begins, in octets.
    start: u64,
    /// What to write, in this order.
    edits: Vec<Edit>,
}

/// Makes the config drive from its files and puts it on a disk that has its image. `id` tells this partition from every
/// other in the world: the node's UUID.
///
/// # Errors
/// [`Trouble::ConfigDrive`], [`Trouble::Disk`]; the disk may have half of it then.
pub fn write_config_drive(
    files: &BTreeMap<String, Vec<u8>>,
    id: [u8; 16],
    target: &mut Target<impl Device>,
) -> Result<(), Trouble> {
    let unplaceable = |disk: &str, source| Trouble::ConfigDrive { disk: disk.to_owned(), source };
    let table = read_table(&mut target.device).map_err(target.trouble("read"))?;
    let volume = volume(files, id, table.sector()).map_err(|source| unplaceable(&target.title, source.into()))?;
    let placed =
        table.place(target.size, volume.len() as u64, id).map_err(|source| unplaceable(&target.title, source))?;
    // The table comes last: whoever sees the partition sees what is in it.
    let content = Edit { at: placed.start, octets: volume };
    for edit in [content].into_iter().chain(placed.edits) {
        let device = &mut target.device;
        let written = device.seek(SeekFrom::Start(edit.at)).and_then(|_| device.write_all(&edit.octets));
        written.and_then(|()| device.sync()).map_err(target.trouble("write the config drive to"))?;
    }
    Ok(())
}

/// A partition table as it was found.
#[derive(Debug)]
enum Table {
    Gpt(gpt::Table),
    Mbr([u8; 512]),
    Damaged(&'static str),
    None,
}

impl Table {
    /// Octets of a sector: a FAT volume must not have smaller ones than its disk.
    const fn sector(&self) -> u16 {
        match self {
            Self::Gpt(table) if table.sector() == 4096 => 4096,
            Self::Gpt(_) | Self::Mbr(_) | Self::Damaged(_) | Self::None => 512,
        }
    }

    fn place(self, size: u64, wanted: u64, id: [u8; 16]) -> Result<Placed, Unplaceable> {
        match self {
            Self::Gpt(table) => table.place(size, wanted, id),
            Self::Mbr(sector) => mbr::place(sector, size, wanted),
            Self::Damaged(why) => Err(Unplaceable::Damaged(why)),
            Self::None => Err(Unplaceable::NoTable),
        }
    }
}

fn read_table(device: &mut (impl Read + Seek)) -> io::Result<Table> {
    let mut first = [0; 512];
    read_at(device, 0, &mut first)?;
    for sector in SECTORS {
        let mut header = [0; 512];
        read_at(device, sector, &mut header)?;
        if !gpt::begins(&header) {
            continue;
        }
        let header = match gpt::Header::decode(&header) {
            Ok(header) => header,
            Err(why) => return Ok(Table::Damaged(why)),
        };
        let mut entries = vec![0; header.array()];
        read_at(device, header.entries_at(sector), &mut entries)?;
        return Ok(gpt::Table::new(sector, first, header, entries).map_or_else(Table::Damaged, Table::Gpt));
    }
    Ok(if mbr::is(&first) { Table::Mbr(first) } else { Table::None })
}

/// Reads as much as there is; the rest stays zero.
fn read_at(device: &mut (impl Read + Seek), at: u64, buffer: &mut [u8]) -> io::Result<()> {
    device.seek(SeekFrom::Start(at))?;
    match device.read_exact(buffer) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
