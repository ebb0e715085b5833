//! Entry point for fuzzers and for the test below: a disk with any partition table, and what must hold for each.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read, Seek, SeekFrom, Write},
};

use crate::{
    config_drive::{move_backup_table, write_config_drive},
    install::{Device, Target},
};

/// A disk in memory that is longer than what is stored of it: the rest is zeros.
struct Disk {
    start: Cursor<Vec<u8>>,
    size: u64,
    /// Writes beyond what is stored: place and number of bytes.
    written: Vec<(u64, u64)>,
}

impl Read for Disk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.start.position());
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = buffer.get_mut(..count).unwrap_or_default();
        let got = self.start.read(buffer)?;
        buffer.iter_mut().skip(got).for_each(|octet| *octet = 0);
        self.start.set_position(self.start.position() + (count - got) as u64);
        Ok(count)
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at = self.start.position();
        self.written.push((at, bytes.len() as u64));
        self.start.set_position(at + bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Disk {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        let at = match place {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.start.position().checked_add_signed(offset),
        };
        self.start.set_position(at.ok_or(io::ErrorKind::InvalidInput)?);
        Ok(self.start.position())
    }
}

impl Device for Disk {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// On a disk of `size` bytes that begins with `start`, whatever its partition table says, a config drive is placed within
/// the disk or refused, and a backup table is moved within the disk or left.
///
/// # Panics
/// If that does not hold.
pub fn disk(start: &[u8], size: u64) {
    let files = BTreeMap::from([("openstack/latest/meta_data.json".to_owned(), b"{}".to_vec())]);
    for has_drive in [false, true] {
        let disk = Disk { start: Cursor::new(start.to_vec()), size, written: Vec::new() };
        let Ok(mut target) = Target::new("vda".to_owned(), disk) else { return };
        let _ =
            if has_drive { write_config_drive(&files, [7; 16], &mut target) } else { move_backup_table(&mut target) };
        for (at, count) in &target.device.written {
            let end = at.checked_add(*count);
            assert!(end.is_some_and(|end| end <= size), "{count} bytes at {at} of a disk of {size}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, process::Command};

    use proptest::{prelude::*, sample::Index};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// The start of a disk that `tool` partitioned.
    fn partitioned(tool: &str, arguments: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vda");
        File::create(&path).unwrap().set_len(64 * MIB).unwrap();
        let done = Command::new(tool).args(arguments).arg(&path).output().unwrap();
        assert!(done.status.success(), "{tool}: {}", String::from_utf8_lossy(&done.stderr));
        let mut start = vec![0; 40 << 10];
        File::open(&path).unwrap().read_exact(&mut start).unwrap();
        start
    }

    #[test]
    fn a_changed_partition_table_never_leads_to_a_write_beyond_the_disk() {
        let gpt = partitioned("sgdisk", &["-n", "1:2048:40960", "-n", "2:40961:0"]);
        let mut mbr = gpt.clone();
        // Another tool is not needed for a table of four entries (UEFI 2.10 §5.2.1).
        mbr[512..].fill(0);
        mbr[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 160, 0, 0]);
        let edits = prop::collection::vec((any::<Index>(), any::<u8>()), 0..12);
        let inputs =
            (any::<bool>(), edits, any::<bool>(), prop::sample::select(vec![0, 512, MIB, 64 * MIB, 200 * MIB]));
        let mut runner = prop::test_runner::TestRunner::default();
        let outcome = runner.run(&inputs, |(is_gpt, edits, has_checksum, size)| {
            let mut start = if is_gpt { gpt.clone() } else { mbr.clone() };
            for (at, octet) in edits {
                // The first entries and the headers matter most.
                let at = at.index(1536);
                start[at] = octet;
            }
            if has_checksum {
                repair(&mut start);
            }
            disk(&start, size);
            Ok(())
        });
        outcome.unwrap();
    }

    /// Makes the checksums of a changed GPT right (UEFI 2.10 §5.3.2), as an attacker would.
    fn repair(start: &mut [u8]) {
        let mut crc = flate2::Crc::new();
        crc.update(&start[1024..1024 + 128 * 128]);
        start[512 + 88..512 + 92].copy_from_slice(&crc.sum().to_le_bytes());
        start[512 + 16..512 + 20].fill(0);
        let mut crc = flate2::Crc::new();
        crc.update(&start[512..512 + 92]);
        start[512 + 16..512 + 20].copy_from_slice(&crc.sum().to_le_bytes());
    }
}
