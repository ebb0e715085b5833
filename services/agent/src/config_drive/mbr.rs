//! One more primary partition in a classic partition table (UEFI 2.10 §5.2.1, Tables 5-1 and 5-2).

use super::{ALIGN, Edit, Placed, Unplaceable};

const SECTOR: u64 = 512;
/// Where the four entries begin, and how long each is.
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
/// FAT16 with LBA; what other systems take for FAT of any width.
const KIND: u8 = 0x0e;
/// A cylinder, head and sector that mean: see the LBA.
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];

/// Whether a first sector holds such a table. A file system without one ends in the same two octets, but does not have
/// 0x00 or 0x80 where all four entries begin.
pub(super) fn is(sector: &[u8; 512]) -> bool {
    let flags = entries(sector).all(|entry| matches!(entry.first(), Some(0x00 | 0x80)));
    let used = entries(sector).any(|entry| kind(entry) != 0 && sectors(entry) > 0);
    sector.ends_with(&[0x55, 0xaa]) && flags && used
}

/// Puts a partition of `wanted` octets at the end of a disk of `size` octets.
pub(super) fn place(mut sector: [u8; 512], size: u64, wanted: u64) -> Result<Placed, Unplaceable> {
    let no_room = || Unplaceable::NoRoom { wanted };
    let free = entries(&sector).position(|entry| kind(entry) == 0).ok_or(Unplaceable::NoEntry)?;
    let used =
        entries(&sector).filter(|entry| kind(entry) != 0).map(|entry| first(entry).saturating_add(sectors(entry)));
    let taken = used.max().unwrap_or(0).saturating_mul(SECTOR).max(SECTOR);
    // Entries count sectors in 32 bits: on a larger disk the end is where they end.
    let end = size.min((u64::from(u32::MAX) + 1).saturating_mul(SECTOR));
    let start = end.checked_sub(wanted).map(|start| start - start % ALIGN).filter(|start| *start >= taken);
    let start = start.ok_or_else(no_room)?;
    let [lba, length] = [start / SECTOR, wanted / SECTOR].map(u32::try_from);
    let (lba, length) = (lba.map_err(|_| no_room())?, length.map_err(|_| no_room())?);
    let mut entry = [0; ENTRY];
    let fields = [&[0][..], &NO_CHS, &[KIND], &NO_CHS, &lba.to_le_bytes(), &length.to_le_bytes()].concat();
    entry.copy_from_slice(&fields);
    let at = ENTRIES.saturating_add(free.saturating_mul(ENTRY));
    if let Some(slot) = sector.get_mut(at..at.saturating_add(ENTRY)) {
        slot.copy_from_slice(&entry);
    }
    Ok(Placed { start, edits: vec![Edit { at: 0, octets: sector.to_vec() }] })
}

fn entries(sector: &[u8; 512]) -> impl Iterator<Item = &[u8]> {
    sector.get(ENTRIES..).unwrap_or_default().chunks_exact(ENTRY).take(4)
}

fn kind(entry: &[u8]) -> u8 {
    entry.get(4).copied().unwrap_or(0)
}

fn first(entry: &[u8]) -> u64 {
    number(entry, 8)
}

fn sectors(entry: &[u8]) -> u64 {
    number(entry, 12)
}

fn number(entry: &[u8], at: usize) -> u64 {
    let octets = entry.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
    u64::from(u32::from_le_bytes(octets))
}
