//! Creates the config drive: a FAT volume labelled `config-2` in its own partition at the end of the disk, which
//! cloud-init finds by the label.

mod gpt;
mod mbr;

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
};

use wire_config_drive::volume;

use crate::{
    error::{PlacementError, WorkError},
    install::{Device, Target},
};

/// Alignment of partitions, in bytes.
const ALIGNMENT_BYTES: u64 = 1 << 20;
/// Supported sector sizes, in bytes.
const SECTOR_SIZES: [u64; 2] = [512, 4096];

/// A change of some bytes of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    at: u64,
    bytes: Vec<u8>,
}

/// A new partition: where it starts, and the changes that create it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    /// Start of the partition, in bytes.
    start: u64,
    /// The changes, in the order in which to write them.
    edits: Vec<Edit>,
}

/// Builds the config drive from its files and writes it to a disk that has its image. `id` is the unique id of the
/// partition: the node's UUID.
///
/// # Errors
/// [`WorkError::ConfigDrive`] or [`WorkError::Disk`]; the disk may then have a part of it.
pub fn write_config_drive(
    files: &BTreeMap<String, Vec<u8>>,
    id: [u8; 16],
    target: &mut Target<impl Device>,
) -> Result<(), WorkError> {
    let placement_error = |disk: &str, source| WorkError::ConfigDrive { disk: disk.to_owned(), source };
    let table = read_table(&mut target.device).map_err(target.error("read"))?;
    let volume = volume(files, id, table.sector()).map_err(|source| placement_error(&target.title, source.into()))?;
    let placed =
        table.place(target.size, volume.len() as u64, id).map_err(|source| placement_error(&target.title, source))?;
    // The table is written last, so that the partition never appears without its content.
    let content = Edit { at: placed.start, bytes: volume };
    apply([content].into_iter().chain(placed.edits), target, "write the config drive to")
}

/// Moves the backup header of a GPT to the end of a disk that is larger than its image (UEFI 2.10 §5.3.2). Other disks,
/// and those with a damaged table, are left unchanged.
///
/// # Errors
/// [`WorkError::Disk`]
pub fn move_backup_table(target: &mut Target<impl Device>) -> Result<(), WorkError> {
    match read_table(&mut target.device).map_err(target.error("read"))? {
        Table::Gpt(table) => apply(table.move_backup(target.size), target, "write the partition table to"),
        Table::Mbr(_) | Table::Damaged(_) | Table::None => Ok(()),
    }
}

fn apply(
    edits: impl IntoIterator<Item = Edit>,
    target: &mut Target<impl Device>,
    doing: &'static str,
) -> Result<(), WorkError> {
    for edit in edits {
        let device = &mut target.device;
        let written = device.seek(SeekFrom::Start(edit.at)).and_then(|_| device.write_all(&edit.bytes));
        written.and_then(|()| device.sync()).map_err(target.error(doing))?;
    }
    Ok(())
}

/// The partition table of a disk.
#[derive(Debug)]
enum Table {
    Gpt(gpt::Table),
    Mbr([u8; 512]),
    Damaged(&'static str),
    None,
}

impl Table {
    /// Returns the sector size in bytes: that of a FAT volume must not be smaller than that of its disk.
    const fn sector(&self) -> u16 {
        match self {
            Self::Gpt(table) if table.sector() == 4096 => 4096,
            Self::Gpt(_) | Self::Mbr(_) | Self::Damaged(_) | Self::None => 512,
        }
    }

    fn place(self, size: u64, wanted: u64, id: [u8; 16]) -> Result<Placed, PlacementError> {
        match self {
            Self::Gpt(table) => table.place(size, wanted, id),
            Self::Mbr(sector) => mbr::place(sector, size, wanted),
            Self::Damaged(why) => Err(PlacementError::Damaged(why)),
            Self::None => Err(PlacementError::NoTable),
        }
    }
}

fn read_table(device: &mut (impl Read + Seek)) -> io::Result<Table> {
    let mut first = [0; 512];
    read_at(device, 0, &mut first)?;
    for sector in SECTOR_SIZES {
        let mut header = [0; 512];
        read_at(device, sector, &mut header)?;
        if !gpt::is_header(&header) {
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
    Ok(if mbr::is_table(&first) { Table::Mbr(first) } else { Table::None })
}

/// Reads as much as there is; the rest of the buffer stays zero.
fn read_at(device: &mut (impl Read + Seek), at: u64, buffer: &mut [u8]) -> io::Result<()> {
    device.seek(SeekFrom::Start(at))?;
    match device.read_exact(buffer) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
