//! One more partition in a GPT, whose second header goes to the real end of the disk (UEFI 2.10 §5.3).
//!
//! By hand and not with the `gpt` crate: that renumbers partitions when it writes, and images whose partitions are 1, 14
//! and 15 (Debian's and Ubuntu's) have boot loaders that count on those numbers.

use flate2::Crc;

use super::{ALIGN, Edit, Placed, Unplaceable};

/// Octets of the header that have a meaning (Table 5-5).
const HEADER: usize = 92;
/// The largest array of entries that we edit; 16 KiB is what everybody has.
const LARGEST_ARRAY: usize = 1 << 20;
/// EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, basic data, as it is on the disk (its first three parts least octet first).
const BASIC_DATA: [u8; 16] =
    [0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7];
/// What the partition is called.
const NAME: &str = "config-2";
/// The entry of the protective MBR that we know, and its kind.
const PROTECTIVE: usize = 446;
const PROTECTIVE_KIND: u8 = 0xee;

/// Whether a header begins here.
pub(super) fn begins(sector: &[u8; 512]) -> bool {
    sector.starts_with(b"EFI PART")
}

/// A header that is sound in itself.
#[derive(Debug, Clone)]
pub(super) struct Header {
    octets: [u8; HEADER],
    count: u32,
    entry: u32,
}

impl Header {
    /// Reads a header; what is wrong with it, where something is.
    pub(super) fn decode(sector: &[u8; 512]) -> Result<Self, &'static str> {
        let octets: [u8; HEADER] = *sector.first_chunk().ok_or("its header is short")?;
        let mut header = Self { octets, count: 0, entry: 0 };
        if header.u32(12) as usize != HEADER {
            return Err("its header has a size that no release of UEFI has");
        }
        let sum = header.u32(16);
        header.put(16, &[0; 4]);
        if crc(&header.octets) != sum {
            return Err("its header's checksum is wrong");
        }
        (header.count, header.entry) = (header.u32(80), header.u32(84));
        // §5.3.3: 128 x 2^n octets.
        let sizes = header.entry >= 128 && header.entry.is_power_of_two();
        if !sizes || header.count == 0 || header.array() > LARGEST_ARRAY {
            return Err("its header has an array of entries that can not be");
        }
        Ok(header)
    }

    /// Octets of the array of entries.
    pub(super) fn array(&self) -> usize {
        (self.count as usize).saturating_mul(self.entry as usize)
    }

    /// Where the array begins, in octets.
    pub(super) fn entries_at(&self, sector: u64) -> u64 {
        self.u64(72).saturating_mul(sector)
    }

    /// The header at `mine`, whose twin is at `other`, over an array at `entries`: with its checksums.
    fn sealed(&self, mine: u64, other: u64, entries: u64, array: &[u8]) -> Vec<u8> {
        let mut header = self.clone();
        for (at, value) in [(24, mine), (32, other), (72, entries)] {
            header.put(at, &value.to_le_bytes());
        }
        header.put(88, &crc(array).to_le_bytes());
        header.put(16, &[0; 4]);
        let sum = crc(&header.octets);
        header.put(16, &sum.to_le_bytes());
        header.octets.to_vec()
    }

    fn put(&mut self, at: usize, octets: &[u8]) {
        if let Some(field) = self.octets.get_mut(at..at.saturating_add(octets.len())) {
            field.copy_from_slice(octets);
        }
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(number(&self.octets, at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(number(&self.octets, at))
    }
}

/// The table of a disk.
#[derive(Debug)]
pub(super) struct Table {
    sector: u64,
    first: [u8; 512],
    header: Header,
    entries: Vec<u8>,
}

impl Table {
    /// From the disk's first sector, the header and its array of entries.
    pub(super) fn new(sector: u64, first: [u8; 512], header: Header, entries: Vec<u8>) -> Result<Self, &'static str> {
        if crc(&entries) != header.u32(88) {
            return Err("the checksum of its entries is wrong");
        }
        let (begin, sectors) = (header.u64(72), (entries.len() as u64).div_ceil(sector));
        if begin < 2 || begin.saturating_add(sectors) > header.u64(40) {
            return Err("its entries are not between its header and its partitions");
        }
        Ok(Self { sector, first, header, entries })
    }

    /// Octets of a sector.
    pub(super) const fn sector(&self) -> u64 {
        self.sector
    }

    /// Puts a partition of `wanted` octets at the end of a disk of `size` octets.
    pub(super) fn place(mut self, size: u64, wanted: u64, id: [u8; 16]) -> Result<Placed, Unplaceable> {
        let sector = self.sector;
        let layout = self.layout(size, wanted).ok_or(Unplaceable::NoRoom { wanted })?;
        let length = self.header.entry as usize;
        let free = self.entries.chunks_exact_mut(length).find(|entry| !used(entry)).ok_or(Unplaceable::NoEntry)?;
        write_entry(free, id, layout.start, layout.usable);
        self.header.put(48, &layout.usable.to_le_bytes());
        let (front, back) = (self.header.u64(72), layout.usable.saturating_add(1));
        let edit = |lba: u64, octets: Vec<u8>| Edit { at: lba.saturating_mul(sector), octets };
        let mut edits = vec![
            edit(back, self.entries.clone()),
            edit(layout.last, self.header.sealed(layout.last, 1, back, &self.entries)),
            edit(0, protective(self.first, layout.last).to_vec()),
            edit(front, self.entries.clone()),
            edit(1, self.header.sealed(1, layout.last, front, &self.entries)),
        ];
        // A second header in the middle of the disk would only mislead.
        let old = self.header.u64(32);
        if old > layout.taken && old < layout.start {
            edits.push(edit(old, vec![0; HEADER]));
        }
        Ok(Placed { start: layout.start.saturating_mul(sector), edits })
    }

    /// Where everything goes; `None` where there is no room.
    fn layout(&self, size: u64, wanted: u64) -> Option<Layout> {
        let last = (size / self.sector).checked_sub(1)?;
        let array = (self.entries.len() as u64).div_ceil(self.sector);
        let usable = last.checked_sub(array)?.checked_sub(1)?;
        let begin = usable.checked_add(1)?.checked_sub(wanted.div_ceil(self.sector))?;
        let start = begin - begin % (ALIGN / self.sector);
        let entries = self.entries.chunks_exact(self.header.entry as usize).filter(|entry| used(entry));
        let taken = entries.map(last_lba).max().unwrap_or(0);
        (start > taken && start >= self.header.u64(40)).then_some(Layout { last, usable, start, taken })
    }
}

/// Sectors of the disk.
struct Layout {
    /// The last one: the second header.
    last: u64,
    /// The last one that a partition may have.
    usable: u64,
    /// The first one of the new partition.
    start: u64,
    /// The last one that a partition has now.
    taken: u64,
}

/// An entry is free when its kind is zero (§5.3.3).
fn used(entry: &[u8]) -> bool {
    entry.iter().take(16).any(|octet| *octet != 0)
}

fn last_lba(entry: &[u8]) -> u64 {
    u64::from_le_bytes(number(entry, 40))
}

/// Table 5-6: kind, id, first and last sector, attributes, name in UTF-16.
fn write_entry(entry: &mut [u8], id: [u8; 16], start: u64, end: u64) {
    let name = NAME.encode_utf16().flat_map(u16::to_le_bytes);
    let content =
        [&BASIC_DATA[..], &id, &start.to_le_bytes(), &end.to_le_bytes(), &[0; 8]].concat().into_iter().chain(name);
    entry.fill(0);
    for (octet, value) in entry.iter_mut().zip(content) {
        *octet = value;
    }
}

/// The protective MBR covers the disk (§5.2.3, Table 5-4): 0xFFFFFFFF where that is too much for it. One that holds
/// something of its own (a hybrid) is left as it is.
fn protective(mut first: [u8; 512], last: u64) -> [u8; 512] {
    let sectors = u32::try_from(last).unwrap_or(u32::MAX);
    if let Some(entry) = first.get_mut(PROTECTIVE..PROTECTIVE + 16)
        && entry.get(4) == Some(&PROTECTIVE_KIND)
        && u32::from_le_bytes(number(entry, 8)) == 1
        && let Some(field) = entry.get_mut(12..16)
    {
        field.copy_from_slice(&sectors.to_le_bytes());
    }
    first
}

fn number<const N: usize>(octets: &[u8], at: usize) -> [u8; N] {
    octets.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

fn crc(octets: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(octets);
    crc.sum()
}
