//! The disks that there are, and which of them is written.

use std::fs::{self, File};

use domain::hardware::Disk;
use rustix::fs::{Mode, OFlags};

use crate::{
    error::Trouble,
    machine::{Machine, text},
};

/// Octets of a sector in sysfs, whatever the disk's own sectors are (Linux, Documentation/ABI/stable/sysfs-block).
const SECTOR: u64 = 512;
/// Smaller disks are often SD cards and modules for firmware: they are taken last.
const ORDINARY: u64 = 4 << 30;
/// Kernel names that are no disks of the machine's own.
const NOT_DISKS: [&str; 8] = ["ram", "loop", "zram", "sr", "fd", "dm-", "md", "nbd"];

/// A block device, and why it is not one to be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub disk: Disk,
    /// Why it does not count; `None` where it does.
    pub unfit: Option<&'static str>,
}

/// Every block device, the smallest kernel name first.
#[must_use]
pub fn scan(machine: &Machine) -> Vec<Found> {
    let mut names: Vec<String> = fs::read_dir(machine.path("sys/block"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names.into_iter().map(|name| found(machine, name)).collect()
}

/// Those that may be written to.
#[must_use]
pub fn fit(found: Vec<Found>) -> Vec<Disk> {
    found.into_iter().filter(|found| found.unfit.is_none()).map(|found| found.disk).collect()
}

fn found(machine: &Machine, name: String) -> Found {
    let folder = machine.path("sys/block").join(&name);
    let read = |file: &str| text(&folder.join(file));
    let first = |files: &[&str]| files.iter().map(|file| read(file)).find(|text| !text.is_empty()).unwrap_or_default();
    let disk = Disk {
        size_bytes: read("size").parse::<u64>().unwrap_or(0).saturating_mul(SECTOR),
        // virtio has it at the disk, NVMe at the device; SCSI has an identifier made of it.
        serial: first(&["serial", "device/serial", "device/wwid", "wwid"]),
        model: first(&["device/model", "device/name"]),
        rotational: read("queue/rotational") == "1",
        name,
    };
    let unfit = if NOT_DISKS.iter().any(|prefix| disk.name.starts_with(prefix)) {
        Some("is not a disk of the machine's own")
    } else if read("hidden") == "1" || disk.name.contains("boot") && disk.name.starts_with("mmcblk") {
        Some("is a part of another")
    } else if read("removable") == "1" {
        Some("is removable")
    } else if read("ro") == "1" {
        Some("is read-only")
    } else if disk.size_bytes == 0 {
        Some("is empty")
    } else {
        None
    };
    Found { disk, unfit }
}

/// The disk to write `needed` octets to: the one of that name, or else the smallest that is large enough, where those
/// of 4 GiB and more come before smaller ones.
///
/// # Errors
/// [`Trouble::NoDisk`] lists what was found; [`Trouble::TooLarge`] names the largest that there is.
pub fn choose<'f>(found: &'f [Found], name: &str, needed: u64) -> Result<&'f Disk, Trouble> {
    let fit = || {
        let named = move |disk: &&Disk| name.is_empty() || disk.name == name;
        found.iter().filter(|found| found.unfit.is_none()).map(|found| &found.disk).filter(named)
    };
    let Some(largest) = fit().max_by_key(|disk| disk.size_bytes) else {
        let wanted = if name.is_empty() { "a disk to write to".to_owned() } else { format!("disk {name:?}") };
        return Err(Trouble::NoDisk { wanted, found: list(found) });
    };
    fit()
        .filter(|disk| disk.size_bytes >= needed)
        .min_by_key(|disk| (disk.size_bytes < ORDINARY, disk.size_bytes))
        .ok_or_else(|| Trouble::TooLarge { disk: title(largest), size: largest.size_bytes, needed })
}

fn list(found: &[Found]) -> String {
    let each = |found: &Found| {
        let size = found.disk.size_bytes;
        match found.unfit {
            Some(unfit) => format!("{} ({size} octets; {unfit})", found.disk.name),
            None => format!("{} ({size} octets)", found.disk.name),
        }
    };
    if found.is_empty() {
        "no block device at all".to_owned()
    } else {
        found.iter().map(each).collect::<Vec<_>>().join(", ")
    }
}

/// A disk's name, with what somebody who looks for it in the machine needs.
#[must_use]
pub fn title(disk: &Disk) -> String {
    match (disk.model.as_str(), disk.serial.as_str()) {
        ("", "") => disk.name.clone(),
        ("", serial) => format!("{} (serial {serial})", disk.name),
        (model, "") => format!("{} ({model})", disk.name),
        (model, serial) => format!("{} ({model}, serial {serial})", disk.name),
    }
}

/// Opens a disk for writing, for us alone.
///
/// # Errors
/// [`Trouble::Disk`], also where a part of it is mounted.
pub fn open(machine: &Machine, disk: &Disk) -> Result<File, Trouble> {
    // O_EXCL on a block device: not while a file system on it is in use (open(2)).
    let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::open(machine.disks.join(&disk.name), flags, Mode::empty())
        .map(File::from)
        .map_err(|error| Trouble::Disk { disk: title(disk), doing: "open", source: error.into() })
}

/// The partitions of a disk as the kernel knows them, each with its first octet and its octets.
#[must_use]
pub fn partitions(machine: &Machine, disk: &str) -> Vec<(u64, u64)> {
    let sectors = |text: String| text.parse::<u64>().unwrap_or(0).saturating_mul(SECTOR);
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
