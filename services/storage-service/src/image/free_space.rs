//! Decides when a file that is written needs room in the cache, and reads how much there is.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use super::eviction::Space;

/// Number of bytes that are written between two checks.
const CHECK_INTERVAL: u64 = 64 << 20;
/// Size of the unit in which the kernel counts the space of a file, in bytes (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// Decides when room is made while a file is written.
#[derive(Debug)]
pub(super) struct SpaceCheck {
    /// Size of the file in bytes, if it is known.
    total: Option<u64>,
    written: u64,
    /// Number of written bytes at which room is made again. `None` before the first check.
    checked_to: Option<u64>,
}

impl SpaceCheck {
    pub(super) const fn new(total: Option<u64>) -> Self {
        Self { total, written: 0, checked_to: None }
    }

    /// Counts bytes that are about to be written; holes are not counted. Returns the number of bytes for which there must be
    /// room, at the first call, which may be about 0 bytes, and every 64 MiB: what is left of the file, or the next 64 MiB of
    /// one with an unknown size.
    pub(super) fn write(&mut self, count: u64) -> Option<u64> {
        let written = self.written.saturating_add(count);
        let is_due = self.checked_to.is_none_or(|checked_to| written > checked_to);
        let needed = is_due.then(|| {
            let left = self.total.map_or(CHECK_INTERVAL, |total| total.saturating_sub(self.written));
            self.checked_to = Some(self.written.saturating_add(CHECK_INTERVAL.max(count)));
            left.max(count)
        });
        self.written = written;
        needed
    }
}

/// Reads the space that the files of a folder use, and the space that this process can use in addition.
pub(super) fn space_of(folder: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(folder)?;
    let mut used = 0_u64;
    for entry in fs::read_dir(folder)? {
        match entry?.metadata() {
            // Holes are not counted.
            Ok(file) => used = used.saturating_add(file.blocks().saturating_mul(BLOCK_BYTES)),
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Space { used, free: found.f_bavail.saturating_mul(found.f_frsize) })
}

/// Returns the space that a file uses, in bytes.
pub(super) fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.blocks().saturating_mul(BLOCK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn room_is_made_at_first_and_every_64_mib() {
        for (total, piece, pieces, right) in [
            (Some(1000), 10, 100, 1),
            (Some(256 * MIB), MIB, 256, 4),
            (None, MIB, 256, 4),
            (None, MIB, 257, 5),
            // The first piece is larger than what the first check is about.
            (None, 100 * MIB, 3, 4),
            (Some(MIB), MIB, 200, 4),
        ] {
            let mut space = SpaceCheck::new(total);
            let mut checks = usize::from(space.write(0).is_some());
            checks += (0..pieces).filter(|_| space.write(piece).is_some()).count();
            assert_eq!(checks, right, "{total:?} {piece} {pieces}");
        }
    }

    #[test]
    fn room_is_made_for_what_is_left() {
        for (total, before, piece, right) in [
            (Some(200 * MIB), 0, 0, Some(200 * MIB)),
            (Some(200 * MIB), 64 * MIB, 1, Some(136 * MIB)),
            (Some(200 * MIB), 63 * MIB, MIB, None),
            (None, 0, 0, Some(64 * MIB)),
            (None, 64 * MIB, 100 * MIB, Some(100 * MIB)),
            // A size that a server made up.
            (Some(u64::MAX), 0, 0, Some(u64::MAX)),
            // A server that sends more than it announced.
            (Some(MIB), 64 * MIB, 1, Some(1)),
        ] {
            let mut space = SpaceCheck::new(total);
            if before > 0 {
                space.write(0);
                space.write(before);
            }
            assert_eq!(space.write(piece), right, "{total:?} {before} {piece}");
        }
    }

    #[test]
    fn the_space_of_a_folder_counts_what_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let before = space_of(folder.path()).unwrap();
        assert!(before.used == 0 && before.free > 0);
        // A file system may compress what repeats.
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let content: Vec<u8> = (0..1 << 20).map(|_| next()).collect();
        fs::write(folder.path().join("a"), content).unwrap();
        fs::File::create(folder.path().join("hole")).unwrap().set_len(1 << 40).unwrap();
        let used = space_of(folder.path()).unwrap().used;
        assert!((1 << 20..1 << 24).contains(&used), "{used}");
        assert_eq!(bytes_of(&folder.path().join("missing")), 0);
        assert!(space_of(&folder.path().join("missing")).is_err());
    }
}
