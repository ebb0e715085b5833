//! Adds a partition to a GPT and moves its backup header to the end of the disk (UEFI 2.10 §5.3).
//!
//! It does not use the `gpt` crate, which renumbers partitions: images with the partitions 1, 14 and 15, like those of
//! Debian and Ubuntu, have boot loaders that depend on these numbers.

use flate2::Crc;

use super::{ALIGNMENT_BYTES, Edit, Placed};
use crate::error::PlacementError;

/// Size of the header, in bytes (Table 5-5).
const HEADER_BYTES: usize = 92;
/// Maximum size of the array of entries, in bytes; usually it is 16 KiB.
const MAX_ARRAY_BYTES: usize = 1 << 20;
/// Type GUID EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 (basic data) as stored: the first three parts in little-endian order.
const BASIC_DATA: [u8; 16] =
    [0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7];
/// Name of the partition.
const NAME: &str = "config-2";
/// Offset of the first entry of the protective MBR, and the type of a protective entry.
const PROTECTIVE_OFFSET: usize = 446;
const PROTECTIVE_TYPE: u8 = 0xee;

/// Returns whether the sector contains a GPT header.
pub(super) fn is_header(sector: &[u8; 512]) -> bool {
    sector.starts_with(b"EFI PART")
}

/// A valid header.
#[derive(Debug, Clone)]
pub(super) struct Header {
    bytes: [u8; HEADER_BYTES],
    count: u32,
    entry: u32,
}

impl Header {
    /// Parses and checks a header. Returns what is wrong with it on error.
    pub(super) fn decode(sector: &[u8; 512]) -> Result<Self, &'static str> {
        let bytes: [u8; HEADER_BYTES] = *sector.first_chunk().ok_or("its header is short")?;
        let mut header = Self { bytes, count: 0, entry: 0 };
        if header.u32(12) as usize != HEADER_BYTES {
            return Err("unexpected header size");
        }
        let sum = header.u32(16);
        header.put(16, &[0; 4]);
        if crc(&header.bytes) != sum {
            return Err("wrong header checksum");
        }
        (header.count, header.entry) = (header.u32(80), header.u32(84));
        // §5.3.3: 128 × 2^n bytes.
        let sizes = header.entry >= 128 && header.entry.is_power_of_two();
        if !sizes || header.count == 0 || header.array() > MAX_ARRAY_BYTES {
            return Err("invalid array of entries");
        }
        Ok(header)
    }

    /// Returns the size of the array of entries, in bytes.
    pub(super) fn array(&self) -> usize {
        (self.count as usize).saturating_mul(self.entry as usize)
    }

    /// Returns the start of the array, in bytes.
    pub(super) fn entries_at(&self, sector: u64) -> u64 {
        self.u64(72).saturating_mul(sector)
    }

    /// Returns the header at sector `mine`, with its copy at `other` and its array at `entries`, and with checksums.
    fn sealed(&self, mine: u64, other: u64, entries: u64, array: &[u8]) -> Vec<u8> {
        let mut header = self.clone();
        for (at, value) in [(24, mine), (32, other), (72, entries)] {
            header.put(at, &value.to_le_bytes());
        }
        header.put(88, &crc(array).to_le_bytes());
        header.put(16, &[0; 4]);
        let sum = crc(&header.bytes);
        header.put(16, &sum.to_le_bytes());
        header.bytes.to_vec()
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(field) = self.bytes.get_mut(at..at.saturating_add(bytes.len())) {
            field.copy_from_slice(bytes);
        }
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(number(&self.bytes, at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(number(&self.bytes, at))
    }
}

/// The partition table of a disk.
#[derive(Debug)]
pub(super) struct Table {
    sector: u64,
    first: [u8; 512],
    header: Header,
    entries: Vec<u8>,
}

impl Table {
    /// Creates a table from the first sector of the disk, the header and the array of entries.
    pub(super) fn new(sector: u64, first: [u8; 512], header: Header, entries: Vec<u8>) -> Result<Self, &'static str> {
        if crc(&entries) != header.u32(88) {
            return Err("wrong checksum of the entries");
        }
        let (begin, sectors) = (header.u64(72), (entries.len() as u64).div_ceil(sector));
        if begin < 2 || begin.saturating_add(sectors) > header.u64(40) {
            return Err("the entries overlap the header or the partitions");
        }
        Ok(Self { sector, first, header, entries })
    }

    /// Returns the sector size in bytes.
    pub(super) const fn sector(&self) -> u64 {
        self.sector
    }

    /// Adds a partition of `wanted` bytes at the end of a disk of `size` bytes.
    pub(super) fn place(mut self, size: u64, wanted: u64, id: [u8; 16]) -> Result<Placed, PlacementError> {
        let sector = self.sector;
        let layout = self.layout(size, wanted, ALIGNMENT_BYTES / sector).ok_or(PlacementError::NoRoom { wanted })?;
        let length = self.header.entry as usize;
        let free =
            self.entries.chunks_exact_mut(length).find(|entry| !is_used(entry)).ok_or(PlacementError::NoEntry)?;
        write_entry(free, id, layout.start, layout.usable);
        Ok(Placed { start: layout.start.saturating_mul(sector), edits: self.edits(&layout) })
    }

    /// Returns the changes that move the backup header to the end of a disk of `size` bytes. There are none if it is
    /// there, or if a partition is.
    pub(super) fn move_backup(self, size: u64) -> Vec<Edit> {
        match self.layout(size, 0, 1) {
            Some(layout) if self.header.u64(32) != layout.last => self.edits(&layout),
            Some(_) | None => Vec::new(),
        }
    }

    /// Returns the changes that write the table for a disk with this layout, the backup first.
    fn edits(mut self, layout: &Layout) -> Vec<Edit> {
        self.header.put(48, &layout.usable.to_le_bytes());
        let (sector, front, back) = (self.sector, self.header.u64(72), layout.usable.saturating_add(1));
        let edit = |lba: u64, bytes: Vec<u8>| Edit { at: lba.saturating_mul(sector), bytes };
        let mut edits = vec![
            edit(back, self.entries.clone()),
            edit(layout.last, self.header.sealed(layout.last, 1, back, &self.entries)),
            edit(0, protective(self.first, layout.last).to_vec()),
            edit(front, self.entries.clone()),
            edit(1, self.header.sealed(1, layout.last, front, &self.entries)),
        ];
        // A stale backup header in the middle of the disk would be misleading.
        let old = self.header.u64(32);
        if old > layout.taken && old < layout.start {
            edits.push(edit(old, vec![0; HEADER_BYTES]));
        }
        edits
    }

    /// Computes the new layout, with a partition that starts at a multiple of `alignment` sectors. Returns `None` if there
    /// is not enough space.
    fn layout(&self, size: u64, wanted: u64, alignment: u64) -> Option<Layout> {
        let last = (size / self.sector).checked_sub(1)?;
        let array = (self.entries.len() as u64).div_ceil(self.sector);
        let usable = last.checked_sub(array)?.checked_sub(1)?;
        let begin = usable.checked_add(1)?.checked_sub(wanted.div_ceil(self.sector))?;
        let start = begin - begin % alignment;
        let entries = self.entries.chunks_exact(self.header.entry as usize).filter(|entry| is_used(entry));
        let taken = entries.map(last_lba).max().unwrap_or(0);
        (start > taken && start >= self.header.u64(40)).then_some(Layout { last, usable, start, taken })
    }
}

/// The new layout, in sectors.
struct Layout {
    /// The last sector, for the backup header.
    last: u64,
    /// The last sector usable by partitions.
    usable: u64,
    /// The first sector of the new partition.
    start: u64,
    /// The last sector used by existing partitions.
    taken: u64,
}

/// Returns whether an entry is used: the type of a free one is zero (§5.3.3).
fn is_used(entry: &[u8]) -> bool {
    entry.iter().take(16).any(|octet| *octet != 0)
}

fn last_lba(entry: &[u8]) -> u64 {
    u64::from_le_bytes(number(entry, 40))
}

/// Writes an entry (Table 5-6): type, id, first and last sector, attributes, name in UTF-16.
fn write_entry(entry: &mut [u8], id: [u8; 16], start: u64, end: u64) {
    let name = NAME.encode_utf16().flat_map(u16::to_le_bytes);
    let content =
        [&BASIC_DATA[..], &id, &start.to_le_bytes(), &end.to_le_bytes(), &[0; 8]].concat().into_iter().chain(name);
    entry.fill(0);
    for (octet, value) in entry.iter_mut().zip(content) {
        *octet = value;
    }
}

/// Returns the protective MBR for the new size (§5.2.3, Table 5-4), 0xFFFFFFFF if the disk is too large for it. A
/// hybrid MBR is left unchanged.
fn protective(mut first: [u8; 512], last: u64) -> [u8; 512] {
    let sectors = u32::try_from(last).unwrap_or(u32::MAX);
    if let Some(entry) = first.get_mut(PROTECTIVE_OFFSET..PROTECTIVE_OFFSET + 16)
        && entry.get(4) == Some(&PROTECTIVE_TYPE)
        && u32::from_le_bytes(number(entry, 8)) == 1
        && let Some(field) = entry.get_mut(12..16)
    {
        field.copy_from_slice(&sectors.to_le_bytes());
    }
    first
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
