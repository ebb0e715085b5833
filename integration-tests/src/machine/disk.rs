//! What a machine finds on its disk when it is told to boot from it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Octets of a sector.
const SECTOR: u64 = 512;
/// Where the four entries of an MBR begin, and how long each is.
const TABLE: usize = 446;
const ENTRY: usize = 16;
/// A config drive is at most this large; what is larger is some other partition.
const LARGEST_DRIVE: u64 = 128 << 20;

/// Whether it has a boot sector.
///
/// # Errors
/// It can not be read.
pub fn boots(disk: &Path) -> Result<bool> {
    Ok(first_sector(disk)?.ends_with(&[0x55, 0xaa]))
}

/// The URL that the system calls home at, from the config drive: the last partition of the disk.
///
/// # Errors
/// There is none.
pub fn phone_home(disk: &Path) -> Result<String> {
    let drive = config_drive(disk)?;
    ensure!(find(&drive, b"CONFIG-2").or_else(|| find(&drive, b"config-2")).is_some(), "no volume is named config-2");
    let key = br#""phone_home":""#;
    let at = find(&drive, key).context("the config drive says nothing of phoning home")?;
    let rest = drive.get(at + key.len()..).unwrap_or_default();
    let end = find(rest, b"\"").context("the URL does not end")?;
    Ok(String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned())
}

/// The octets of the last partition.
///
/// # Errors
/// The disk has no partition table, or it can not be read.
pub fn config_drive(disk: &Path) -> Result<Vec<u8>> {
    let sector = first_sector(disk)?;
    ensure!(sector.ends_with(&[0x55, 0xaa]), "the disk has no partition table");
    let entries = sector.get(TABLE..510).unwrap_or_default().chunks_exact(ENTRY);
    let (start, size) = entries.filter_map(place).max().context("the disk has no partition")?;
    ensure!(size <= LARGEST_DRIVE, "the last partition is no config drive: it has {size} octets");
    let mut drive = vec![0; usize::try_from(size)?];
    File::open(disk)?.read_exact_at(&mut drive, start).context("the last partition can not be read")?;
    Ok(drive)
}

/// Its first 512 octets.
///
/// # Errors
/// They can not be read.
pub fn first_sector(disk: &Path) -> Result<[u8; 512]> {
    let mut sector = [0; 512];
    File::open(disk).and_then(|disk| disk.read_exact_at(&mut sector, 0)).with_context(|| disk.display().to_string())?;
    Ok(sector)
}

/// Where an entry's partition begins and how large it is, in octets; nothing of an empty entry.
fn place(entry: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize| Some(u64::from(u32::from_le_bytes(*entry.get(at..)?.first_chunk()?)));
    let (start, size) = (number(8)?, number(12)?);
    (size > 0).then_some((start * SECTOR, size * SECTOR))
}

fn find(within: &[u8], wanted: &[u8]) -> Option<usize> {
    within.windows(wanted.len()).position(|window| window == wanted)
}
