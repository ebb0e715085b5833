//! Makes disks forget what they hold.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    iter,
};

use domain::hardware::Disk;
use rustix::fs::FallocateFlags;

use crate::{disks, error::Trouble, machine::Machine};

/// Octets that are zeroed at either end: enough for partition tables, boot loaders behind them, and the superblocks of
/// LVM, RAID, ext4, xfs, btrfs (at 64 KiB) and ZFS (four labels, 256 KiB each, two at either end).
const EDGE: u64 = 4 << 20;
/// Octets of zeros written at once.
const ZEROS: usize = 1 << 20;

/// Wipes every disk that may be written to and says which.
///
/// # Errors
/// [`Trouble::Disk`]: the disk was not wiped; those before it were.
pub(crate) fn wipe(machine: &Machine) -> Result<Vec<String>, Trouble> {
    let disks = disks::fit(disks::scan(machine));
    for disk in &disks {
        wipe_one(machine, disk)?;
        machine.say(format_args!("wiped disk {}", disks::title(disk)));
    }
    Ok(disks.into_iter().map(|disk| disk.name).collect())
}

fn wipe_one(machine: &Machine, disk: &Disk) -> Result<(), Trouble> {
    let mut file = disks::open(machine, disk)?;
    let trouble = |source| Trouble::Disk { disk: disks::title(disk), doing: "wipe", source };
    let size = file.seek(SeekFrom::End(0)).map_err(trouble)?;
    if let Err(error) = discard(&file, size) {
        machine.say(format_args!("disk {} can not discard ({error}): writing zeros", disk.name));
    }
    forget(&mut file, size, &disks::partitions(machine, &disk.name)).map_err(trouble)?;
    file.sync_all().map_err(trouble)
}

/// Lets the disk itself zero everything, where it can do so without writing. On a block device, punching a hole is
/// that (Linux, block/fops.c, `blkdev_fallocate`): unlike BLKDISCARD it promises that zeros are read afterwards.
fn discard(file: &File, size: u64) -> rustix::io::Result<()> {
    rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, size)
}

/// Zeros both ends of each partition, and then of the disk, so that a wipe that is cut short is seen to be wanted still.
pub(crate) fn forget(disk: &mut (impl Write + Seek), size: u64, partitions: &[(u64, u64)]) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    for (at, octets) in edges(size, partitions) {
        disk.seek(SeekFrom::Start(at))?;
        let mut left = octets;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(ZEROS).min(ZEROS);
            disk.write_all(zeros.get(..now).unwrap_or_default())?;
            left = left.saturating_sub(now as u64);
        }
    }
    Ok(())
}

/// The ends: where each begins, and how many octets it has.
fn edges(size: u64, partitions: &[(u64, u64)]) -> Vec<(u64, u64)> {
    partitions
        .iter()
        .copied()
        .chain(iter::once((0, size)))
        .filter(|(start, _)| *start < size)
        .map(|(start, octets)| (start, start.saturating_add(octets).min(size)))
        .flat_map(|(start, end)| {
            let near = end.saturating_sub(start).min(EDGE);
            let far = end.saturating_sub(EDGE).max(start.saturating_add(near));
            [(start, near), (far, end.saturating_sub(far))]
        })
        .filter(|(_, octets)| *octets > 0)
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
            [(20 * MIB, EDGE), (46 * MIB, EDGE), (90 * MIB, EDGE), (96 * MIB, EDGE), (0, EDGE), (96 * MIB, EDGE)]
        );
    }

    #[test]
    fn a_small_disk_goes_whole_and_only_once() {
        assert_eq!(edges(MIB, &[]), [(0, MIB)]);
        assert_eq!(edges(6 * MIB, &[]), [(0, EDGE), (EDGE, 2 * MIB)]);
        assert_eq!(edges(0, &[]), []);
    }

    #[test]
    fn every_disk_that_may_be_written_is_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let disk = |name: &str| Disk { name: name.to_owned(), size_bytes: 9 * MIB, ..Disk::default() };
        let hardware = Hardware { disks: vec![disk("vda"), disk("vdb")], ..Hardware::default() };
        let machine = lay_out(folder.path(), &hardware).unwrap();
        for name in ["vda", "vdb"] {
            std::fs::write(machine.disks.join(name), vec![7; 9 << 20]).unwrap();
        }
        assert_eq!(wipe(&machine).unwrap(), ["vda", "vdb"]);
        for name in ["vda", "vdb"] {
            let left = std::fs::read(machine.disks.join(name)).unwrap();
            assert_eq!(left.len(), 9 << 20);
            assert!(left.iter().take(4 << 20).chain(left.iter().rev().take(4 << 20)).all(|octet| *octet == 0));
        }
    }
}
