//! Adds a primary partition to an MBR partition table (UEFI 2.10 §5.2.1, Tables 5-1 and 5-2).

use super::{ALIGNMENT_BYTES, Edit, Placed};
use crate::error::PlacementError;

const SECTOR_BYTES: u64 = 512;
/// Offset and size of the four entries.
const ENTRIES_OFFSET: usize = 446;
const ENTRY_BYTES: usize = 16;
/// Type of FAT16 with LBA, which other systems accept for any FAT.
const PARTITION_TYPE: u8 = 0x0e;
/// A CHS address that means: use the LBA.
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];

/// Returns whether the sector contains an MBR partition table. A file system without one has the same signature, but
/// not 0x00 or 0x80 at the start of all four entries.
pub(super) fn is_table(sector: &[u8; 512]) -> bool {
    let flags = entries(sector).all(|entry| matches!(entry.first(), Some(0x00 | 0x80)));
    let used = entries(sector).any(|entry| partition_type(entry) != 0 && sectors(entry) > 0);
    sector.ends_with(&[0x55, 0xaa]) && flags && used
}

/// Adds a partition of `wanted` bytes at the end of a disk of `size` bytes.
pub(super) fn place(mut sector: [u8; 512], size: u64, wanted: u64) -> Result<Placed, PlacementError> {
    let no_room = || PlacementError::NoRoom { wanted };
    let free = entries(&sector).position(|entry| partition_type(entry) == 0).ok_or(PlacementError::NoEntry)?;
    let used = entries(&sector)
        .filter(|entry| partition_type(entry) != 0)
        .map(|entry| first(entry).saturating_add(sectors(entry)));
    let taken = used.max().unwrap_or(0).saturating_mul(SECTOR_BYTES).max(SECTOR_BYTES);
    // Entries count sectors in 32 bits, which limits the end on a larger disk.
    let end = size.min((u64::from(u32::MAX) + 1).saturating_mul(SECTOR_BYTES));
    let start = end.checked_sub(wanted).map(|start| start - start % ALIGNMENT_BYTES).filter(|start| *start >= taken);
    let start = start.ok_or_else(no_room)?;
    let [lba, length] = [start / SECTOR_BYTES, wanted / SECTOR_BYTES].map(u32::try_from);
    let (lba, length) = (lba.map_err(|_| no_room())?, length.map_err(|_| no_room())?);
    let mut entry = [0; ENTRY_BYTES];
    let fields = [&[0][..], &NO_CHS, &[PARTITION_TYPE], &NO_CHS, &lba.to_le_bytes(), &length.to_le_bytes()].concat();
    entry.copy_from_slice(&fields);
    let at = ENTRIES_OFFSET.saturating_add(free.saturating_mul(ENTRY_BYTES));
    if let Some(slot) = sector.get_mut(at..at.saturating_add(ENTRY_BYTES)) {
        slot.copy_from_slice(&entry);
    }
    Ok(Placed { start, edits: vec![Edit { at: 0, bytes: sector.to_vec() }] })
}

fn entries(sector: &[u8; 512]) -> impl Iterator<Item = &[u8]> {
    sector.get(ENTRIES_OFFSET..).unwrap_or_default().chunks_exact(ENTRY_BYTES).take(4)
}

fn partition_type(entry: &[u8]) -> u8 {
    entry.get(4).copied().unwrap_or(0)
}

fn first(entry: &[u8]) -> u64 {
    number(entry, 8)
}

fn sectors(entry: &[u8]) -> u64 {
    number(entry, 12)
}

fn number(entry: &[u8], at: usize) -> u64 {
    let bytes = entry.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
    u64::from(u32::from_le_bytes(bytes))
}
