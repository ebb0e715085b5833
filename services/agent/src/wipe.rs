//! Erases disks.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    iter,
};

use domain::{disk_hints::DiskHints, hardware::Disk};
use rustix::fs::FallocateFlags;

use crate::{disks, error::WorkError, machine::Machine};

/// Number of bytes zeroed at either end: covers partition tables, boot loaders after them, and the superblocks of LVM,
/// RAID, ext4, xfs, btrfs (at 64 KiB) and ZFS (four labels of 256 KiB, two at either end).
const EDGE_BYTES: u64 = 4 << 20;
/// Number of zero bytes written at once.
const ZEROS_BYTES: usize = 1 << 20;

/// What was wiped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wiped {
    /// The names of the disks.
    pub(crate) disks: Vec<String>,
    /// The positions of the hints of disks to skip that no disk matches.
    pub(crate) unmatched: Vec<usize>,
}

impl Wiped {
    /// Describes it for the timeline.
    pub(crate) fn summary(&self) -> String {
        let disks = if self.disks.is_empty() { "no disks".to_owned() } else { self.disks.join(", ") };
        if self.unmatched.is_empty() {
            return disks;
        }
        let unmatched: Vec<String> = self.unmatched.iter().map(usize::to_string).collect();
        format!("{disks}; no disk matches hint {} (from 0) of properties/skip_block_devices", unmatched.join(", "))
    }
}

/// Wipes all disks that may be written and match none of the hints.
///
/// # Errors
/// [`WorkError::Disk`]: this disk was not wiped, the previous ones were. [`WorkError::SkipUnknown`]: none was wiped.
pub(crate) fn wipe(machine: &Machine, skipped: &[DiskHints]) -> Result<Wiped, WorkError> {
    let skipped = disks::skip(disks::scan(machine), skipped)?;
    skipped.say_unmatched(machine);
    let disks = disks::usable(skipped.found);
    for disk in &disks {
        wipe_one(machine, disk)?;
        machine.say(format_args!("wiped disk {}", disks::title(disk)));
    }
    Ok(Wiped { disks: disks.into_iter().map(|disk| disk.name).collect(), unmatched: skipped.unmatched })
}

fn wipe_one(machine: &Machine, disk: &Disk) -> Result<(), WorkError> {
    let mut file = disks::open(machine, disk)?;
    let error = |source| WorkError::Disk { disk: disks::title(disk), doing: "wipe", source };
    let size = file.seek(SeekFrom::End(0)).map_err(error)?;
    if let Err(error) = discard(&file, size) {
        machine.say(format_args!("disk {} does not support discarding ({error}), writing zeros", disk.name));
    }
    clear_ends(&mut file, size, &disks::partitions(machine, &disk.name)).map_err(error)?;
    file.sync_all().map_err(error)
}

/// Asks the disk to zero itself without writing, if it can. On a block device this is a punched hole (Linux,
/// block/fops.c, `blkdev_fallocate`): unlike BLKDISCARD it guarantees that zeros are read afterwards.
fn discard(file: &File, size: u64) -> rustix::io::Result<()> {
    rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, size)
}

/// Zeros both ends of each partition, and last of the disk, so that an interrupted wipe is noticed.
pub(crate) fn clear_ends(disk: &mut (impl Write + Seek), size: u64, partitions: &[(u64, u64)]) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    for (at, bytes) in edges(size, partitions) {
        disk.seek(SeekFrom::Start(at))?;
        let mut left = bytes;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
            disk.write_all(zeros.get(..now).unwrap_or_default())?;
            left = left.saturating_sub(now as u64);
        }
    }
    Ok(())
}

/// Returns the ends, as start and size in bytes.
fn edges(size: u64, partitions: &[(u64, u64)]) -> Vec<(u64, u64)> {
    partitions
        .iter()
        .copied()
        .chain(iter::once((0, size)))
        .filter(|(start, _)| *start < size)
        .map(|(start, bytes)| (start, start.saturating_add(bytes).min(size)))
        .flat_map(|(start, end)| {
            let near = end.saturating_sub(start).min(EDGE_BYTES);
            let far = end.saturating_sub(EDGE_BYTES).max(start.saturating_add(near));
            [(start, near), (far, end.saturating_sub(far))]
        })
        .filter(|(_, bytes)| *bytes > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use domain::hardware::Hardware;

    use super::*;
    use crate::machine::lay_out;

    const MIB: u64 = 1 << 20;

    #[test]
    fn both_ends_of_the_disk_and_of_its_partitions_go() {
        let partition = (20 * MIB, 30 * MIB);
        assert_eq!(
            edges(100 * MIB, &[partition, (90 * MIB, 90 * MIB), (200 * MIB, MIB)]),
            [
                (20 * MIB, EDGE_BYTES),
                (46 * MIB, EDGE_BYTES),
                (90 * MIB, EDGE_BYTES),
                (96 * MIB, EDGE_BYTES),
                (0, EDGE_BYTES),
                (96 * MIB, EDGE_BYTES)
            ]
        );
    }

    #[test]
    fn a_small_disk_goes_whole_and_only_once() {
        assert_eq!(edges(MIB, &[]), [(0, MIB)]);
        assert_eq!(edges(6 * MIB, &[]), [(0, EDGE_BYTES), (EDGE_BYTES, 2 * MIB)]);
        assert_eq!(edges(0, &[]), []);
    }

    /// A machine with the disks `vda` and `vdb`, which are full.
    fn with_two_disks(folder: &std::path::Path) -> Machine {
        let disk = |name: &str| Disk { name: name.to_owned(), size_bytes: 9 * MIB, ..Disk::default() };
        let hardware = Hardware { disks: vec![disk("vda"), disk("vdb")], ..Hardware::default() };
        let machine = lay_out(folder, &hardware).unwrap();
        for name in ["vda", "vdb"] {
            std::fs::write(machine.disks.join(name), vec![7; 9 << 20]).unwrap();
        }
        machine
    }

    #[test]
    fn every_disk_that_may_be_written_is_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let machine = with_two_disks(folder.path());
        assert_eq!(wipe(&machine, &[]).unwrap().disks, ["vda", "vdb"]);
        for name in ["vda", "vdb"] {
            let left = std::fs::read(machine.disks.join(name)).unwrap();
            assert_eq!(left.len(), 9 << 20);
            assert!(left.iter().take(4 << 20).chain(left.iter().rev().take(4 << 20)).all(|octet| *octet == 0));
        }
    }

    #[test]
    fn a_disk_that_is_to_be_skipped_keeps_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let machine = with_two_disks(folder.path());
        let skipped = DiskHints::parse([("name", "/dev/vdb")]).unwrap();
        assert_eq!(wipe(&machine, &[skipped]).unwrap().disks, ["vda"]);
        assert_eq!(std::fs::read(machine.disks.join("vdb")).unwrap(), vec![7; 9 << 20]);
    }

    #[test]
    fn no_disk_is_wiped_if_one_does_not_tell_whether_it_is_to_be_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let disk = |name: &str, serial: &str| Disk {
            name: name.to_owned(),
            serial: serial.to_owned(),
            size_bytes: 9 * MIB,
            ..Disk::default()
        };
        let hardware = Hardware { disks: vec![disk("vda", "S1"), disk("vdb", "")], ..Hardware::default() };
        let machine = lay_out(folder.path(), &hardware).unwrap();
        for name in ["vda", "vdb"] {
            std::fs::write(machine.disks.join(name), vec![7; 9 << 20]).unwrap();
        }
        let error = wipe(&machine, &[DiskHints::parse([("serial", "S2")]).unwrap()]).unwrap_err();
        assert!(matches!(error, WorkError::SkipUnknown { hint: 0, .. }), "{error}");
        for name in ["vda", "vdb"] {
            assert_eq!(std::fs::read(machine.disks.join(name)).unwrap(), vec![7; 9 << 20]);
        }
        // A hint that matches nothing is no error: the disk may have been taken out.
        let none = DiskHints::parse([("name", "/dev/vdz")]).unwrap();
        let right = Wiped { disks: vec!["vda".to_owned(), "vdb".to_owned()], unmatched: vec![0] };
        assert_eq!(wipe(&machine, &[none]).unwrap(), right);
    }
}
