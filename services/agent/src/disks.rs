//! Finds the disks of the machine and chooses the one to write.

use std::{
    fs::{self, File},
    path::Path,
};

use domain::{
    disk_hints::{DiskHints, Verdict},
    hardware::Disk,
};
use rustix::fs::{Mode, OFlags};

use crate::{
    error::WorkError,
    machine::{Machine, text},
};

/// Sector size in sysfs, in bytes, whatever the disk's own (Linux, Documentation/ABI/stable/sysfs-block).
const SECTOR_BYTES: u64 = 512;
/// Sizes of logical blocks of disks, in bytes.
const BLOCK_SIZES: [u64; 2] = [512, 4096];
/// Size in bytes below which a disk is chosen last: small disks are often SD cards and firmware modules.
const MIN_ORDINARY_BYTES: u64 = 4 << 30;
/// Prefixes of kernel names that are not disks of the machine.
const IGNORED_PREFIXES: [&str; 8] = ["ram", "loop", "zram", "sr", "fd", "dm-", "md", "nbd"];

/// A block device, and whether it may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// The device. Its serial number is its identifier if it tells no serial number.
    pub disk: Disk,
    /// Its identifier (`wwid`). Empty if it has none.
    pub identifier: String,
    /// Why it must not be written; `None` if it may.
    pub unusable: Option<&'static str>,
}

/// Returns all block devices, sorted by kernel name.
#[must_use]
pub fn scan(machine: &Machine) -> Vec<BlockDevice> {
    let mut names: Vec<String> = fs::read_dir(machine.path("sys/block"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names.into_iter().map(|name| inspect(machine, name)).collect()
}

/// Returns the disks that may be written.
#[must_use]
pub fn usable(found: Vec<BlockDevice>) -> Vec<Disk> {
    found.into_iter().filter(|found| found.unusable.is_none()).map(|found| found.disk).collect()
}

fn inspect(machine: &Machine, name: String) -> BlockDevice {
    let folder = machine.path("sys/block").join(&name);
    let read = |file: &str| text(&folder.join(file));
    let first = |files: &[&str]| files.iter().map(|file| read(file)).find(|text| !text.is_empty()).unwrap_or_default();
    let identifier = first(&["device/wwid", "wwid"]);
    let disk = Disk {
        size_bytes: read("size").parse::<u64>().unwrap_or(0).saturating_mul(SECTOR_BYTES),
        // virtio has the serial number at the disk, NVMe at the device, and SCSI in a page of the device's own data.
        serial: [first(&["serial", "device/serial"]), unit_serial_number(&folder.join("device/vpd_pg80"))]
            .into_iter()
            .find(|serial| !serial.is_empty())
            .unwrap_or_else(|| identifier.clone()),
        model: first(&["device/model", "device/name"]),
        rotational: read("queue/rotational") == "1",
        name,
    };
    let unusable = if IGNORED_PREFIXES.iter().any(|prefix| disk.name.starts_with(prefix)) {
        Some("is not a physical disk")
    } else if read("hidden") == "1" || disk.name.contains("boot") && disk.name.starts_with("mmcblk") {
        Some("is part of another disk")
    } else if read("removable") == "1" {
        Some("is removable")
    } else if read("ro") == "1" {
        Some("is read-only")
    } else if disk.size_bytes == 0 {
        Some("is empty")
    } else {
        None
    };
    BlockDevice { disk, identifier, unusable }
}

/// Reads the serial number of a SCSI disk from its Unit Serial Number page (SPC-4 §7.8.10). Empty if it has none.
fn unit_serial_number(page: &Path) -> String {
    serial_of_page(&fs::read(page).unwrap_or_default()).unwrap_or_default()
}

/// Returns the serial number in a Unit Serial Number page: four bytes of header, the last two of which are the length, and
/// then ASCII, which may be padded with spaces on either side.
fn serial_of_page(page: &[u8]) -> Option<String> {
    const UNIT_SERIAL_NUMBER: u8 = 0x80;
    let (&[_, UNIT_SERIAL_NUMBER, high, low], rest) = page.split_first_chunk::<4>()? else { return None };
    let serial = rest.get(..usize::from(u16::from_be_bytes([high, low]))).unwrap_or(rest);
    let serial = String::from_utf8_lossy(serial);
    Some(serial.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

/// Block devices of which those are marked that match hints of disks to skip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// All block devices.
    pub found: Vec<BlockDevice>,
    /// The positions of the hints that no block device matches.
    pub unmatched: Vec<usize>,
}

impl Skipped {
    /// Says on the console which hints match no block device: there may be a mistake in them.
    pub fn say_unmatched(&self, machine: &Machine) {
        for at in &self.unmatched {
            machine.say(format_args!("properties/skip_block_devices: no block device matches hint {at} (from 0)"));
        }
    }
}

/// Marks the disks that match one of these hints, before all others are wiped.
///
/// # Errors
/// [`WorkError::SkipUnknown`] if it is not known of a usable disk whether it matches: it may be the one to skip.
pub fn skip(found: Vec<BlockDevice>, skipped: &[DiskHints]) -> Result<Skipped, WorkError> {
    let (marked, unknown) = mark(found, skipped);
    unknown.map_or(Ok(marked), |(disk, hint)| Err(WorkError::SkipUnknown { disk, hint }))
}

/// Marks the disks that match one of these hints, or may match one, before another is chosen to be written.
#[must_use]
pub fn skip_for_write(found: Vec<BlockDevice>, skipped: &[DiskHints]) -> Skipped {
    mark(found, skipped).0
}

/// Marks the disks that match, or may match, one of these hints. Returns the first that may, with the position of the hint.
fn mark(mut found: Vec<BlockDevice>, skipped: &[DiskHints]) -> (Skipped, Option<(String, usize)>) {
    let mut unknown = None;
    let judge = |hints: &DiskHints, device: &BlockDevice| hints.judge(&device.disk, &device.identifier);
    let is_matched = |hints: &DiskHints| found.iter().any(|device| judge(hints, device) == Verdict::Matches);
    let unmatched = (0..).zip(skipped).filter(|(_, hints)| !is_matched(hints)).map(|(at, _)| at).collect();
    for device in found.iter_mut().filter(|device| device.unusable.is_none()) {
        let verdicts: Vec<Verdict> = skipped.iter().map(|hints| judge(hints, device)).collect();
        if verdicts.contains(&Verdict::Matches) {
            device.unusable = Some("is skipped, as properties/skip_block_devices says");
        } else if let Some(hint) = verdicts.iter().position(|verdict| *verdict == Verdict::Unknown) {
            device.unusable = Some("may be one to skip: it lacks what properties/skip_block_devices asks for");
            unknown.get_or_insert_with(|| (title(&device.disk), hint));
        }
    }
    (Skipped { found, unmatched }, unknown)
}

/// Requirements on the disk that is to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Its kernel name. Empty for any.
    pub name: String,
    /// What it is like.
    pub hints: DiskHints,
    /// The least size, in bytes.
    pub bytes: u64,
}

/// Chooses a disk: of those that meet the requirements the smallest, preferring disks of 4 GiB and more.
///
/// # Errors
/// [`WorkError::NoDisk`] lists the devices found; [`WorkError::TooLarge`] names the largest disk.
pub fn choose<'f>(found: &'f [BlockDevice], wanted: &Wanted) -> Result<&'f Disk, WorkError> {
    let Wanted { name, hints, bytes: needed } = wanted;
    let needed = *needed;
    let usable = || {
        let meets = move |found: &&BlockDevice| {
            let BlockDevice { disk, identifier, unusable } = found;
            unusable.is_none() && (name.is_empty() || disk.name == *name) && hints.select(disk, identifier)
        };
        found.iter().filter(meets).map(|found| &found.disk)
    };
    let Some(largest) = usable().max_by_key(|disk| disk.size_bytes) else {
        let wanted = match (name.is_empty(), hints.is_empty()) {
            (false, _) => format!("disk {name:?}"),
            (true, false) => "a disk that matches the root device hints (properties/root_device)".to_owned(),
            (true, true) => "a usable disk".to_owned(),
        };
        return Err(WorkError::NoDisk { wanted, found: describe(found) });
    };
    usable()
        .filter(|disk| disk.size_bytes >= needed)
        .min_by_key(|disk| (disk.size_bytes < MIN_ORDINARY_BYTES, disk.size_bytes))
        .ok_or_else(|| WorkError::TooLarge { disk: title(largest), size: largest.size_bytes, needed })
}

fn describe(found: &[BlockDevice]) -> String {
    let each = |found: &BlockDevice| {
        let size = found.disk.size_bytes;
        match found.unusable {
            Some(unusable) => format!("{} ({size} bytes; {unusable})", found.disk.name),
            None => format!("{} ({size} bytes)", found.disk.name),
        }
    };
    if found.is_empty() { "no block devices".to_owned() } else { found.iter().map(each).collect::<Vec<_>>().join(", ") }
}

/// Returns the name of a disk with its model and serial number, which identify it in the machine.
#[must_use]
pub fn title(disk: &Disk) -> String {
    match (disk.model.as_str(), disk.serial.as_str()) {
        ("", "") => disk.name.clone(),
        ("", serial) => format!("{} (serial {serial})", disk.name),
        (model, "") => format!("{} ({model})", disk.name),
        (model, serial) => format!("{} ({model}, serial {serial})", disk.name),
    }
}

/// Returns the size of a disk's logical blocks in bytes, if the kernel tells it.
#[must_use]
pub fn block_size(machine: &Machine, disk: &str) -> Option<u64> {
    text(&machine.path("sys/block").join(disk).join("queue/logical_block_size")).parse().ok()
}

/// Returns the size of blocks for which the image with this start is partitioned, if its GPT is not where a disk with
/// blocks of `found` bytes has it (UEFI 2.10 §5.3.1: in the second block).
#[must_use]
pub fn other_block_size(start: &[u8], found: u64) -> Option<u64> {
    let has_table = |size: &u64| {
        let header = usize::try_from(*size).ok().and_then(|at| start.get(at..));
        header.is_some_and(|header| header.starts_with(b"EFI PART"))
    };
    if has_table(&found) { None } else { BLOCK_SIZES.into_iter().find(has_table) }
}

/// Opens a disk exclusively for writing.
///
/// # Errors
/// [`WorkError::Disk`], also if a partition of it is mounted.
pub fn open(machine: &Machine, disk: &Disk) -> Result<File, WorkError> {
    // O_EXCL on a block device fails while a file system on it is mounted (open(2)).
    let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::open(machine.disks.join(&disk.name), flags, Mode::empty())
        .map(File::from)
        .map_err(|error| WorkError::Disk { disk: title(disk), doing: "open", source: error.into() })
}

/// Returns the partitions of a disk known to the kernel, as start and size in bytes.
#[must_use]
pub fn partitions(machine: &Machine, disk: &str) -> Vec<(u64, u64)> {
    let sectors = |text: String| text.parse::<u64>().unwrap_or(0).saturating_mul(SECTOR_BYTES);
    fs::read_dir(machine.path("sys/block").join(disk))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("partition").exists())
        .map(|path| (sectors(text(&path.join("start"))), sectors(text(&path.join("size")))))
        .collect()
}

#[cfg(test)]
mod tests;
