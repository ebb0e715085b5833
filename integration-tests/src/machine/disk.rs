//! Content of a machine's disk when it boots from it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Size of a sector in octets.
const SECTOR: u64 = 512;
/// Offset of the four entries of an MBR, and length of each.
const TABLE: usize = 446;
const ENTRY: usize = 16;
/// Maximum size of a config drive; a larger partition is not one.
const LARGEST_DRIVE: u64 = 128 << 20;

/// Whether the disk has a boot sector.
///
/// # Errors
/// The disk cannot be read.
pub fn boots(disk: &Path) -> Result<bool> {
    Ok(first_sector(disk)?.ends_with(&[0x55, 0xaa]))
}

/// URL at which the system phones home, from the config drive: the last partition of the disk.
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

/// Content of the last partition.
///
/// # Errors
/// The disk has no partition table, or cannot be read.
pub fn config_drive(disk: &Path) -> Result<Vec<u8>> {
    let sector = first_sector(disk)?;
    ensure!(sector.ends_with(&[0x55, 0xaa]), "the disk has no partition table");
    let entries = sector.get(TABLE..510).unwrap_or_default().chunks_exact(ENTRY);
    let (start, size) = entries.filter_map(place).max().context("the disk has no partition")?;
    ensure!(size <= LARGEST_DRIVE, "the last partition is no config drive: it has {size} octets");
    let mut drive = vec![0; usize::try_from(size)?];
    File::open(disk)?.read_exact_at(&mut drive, start).context("the last partition cannot be read")?;
    Ok(drive)
}

/// Its first 512 octets.
///
/// # Errors
/// They cannot be read.
pub fn first_sector(disk: &Path) -> Result<[u8; 512]> {
    let mut sector = [0; 512];
    File::open(disk).and_then(|disk| disk.read_exact_at(&mut sector, 0)).with_context(|| disk.display().to_string())?;
    Ok(sector)
}

/// Offset and size of an entry's partition in octets; `None` for an empty entry.
fn place(entry: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize| Some(u64::from(u32::from_le_bytes(*entry.get(at..)?.first_chunk()?)));
    let (start, size) = (number(8)?, number(12)?);
    (size > 0).then_some((start * SECTOR, size * SECTOR))
}

fn find(within: &[u8], wanted: &[u8]) -> Option<usize> {
    within.windows(wanted.len()).position(|window| window == wanted)
}
