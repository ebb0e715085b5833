//! Keeps a reserve of the cache's file system free: etcd and others may keep their data on it.

use std::{io, path::Path};

/// Number of bytes that are written between two checks.
const CHECK_INTERVAL: u64 = 64 << 20;

/// Why nothing more may be written to the cache.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpaceError {
    /// The reserve would be used.
    #[error(
        "the file system of the image cache has {} MiB free, which is less than the {} MiB needed and the reserve of {} \
         MiB (storage.reserve_bytes); free some space on it, or extend it",
        .free >> 20, .needed >> 20, .reserve >> 20
    )]
    Low {
        /// Free bytes.
        free: u64,
        /// Bytes to write.
        needed: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// The file system cannot be asked.
    #[error("cannot read the free space of the image cache: {0}")]
    Unknown(#[from] io::Error),
}

/// Decides when the free space is read while a file is written, and whether the next part of the file may be written.
#[derive(Debug)]
pub(super) struct SpaceCheck {
    /// Bytes that must stay free.
    reserve: u64,
    /// Size of the file in bytes, if it is known.
    total: Option<u64>,
    written: u64,
    /// Number of written bytes at which the free space is read again. `None` before the first check.
    checked_to: Option<u64>,
}

impl SpaceCheck {
    pub(super) const fn new(reserve: u64, total: Option<u64>) -> Self {
        Self { reserve, total, written: 0, checked_to: None }
    }

    /// Counts bytes that are about to be written; holes are not counted. Reads the free bytes with `free` at the first
    /// call, which may be about 0 bytes, and every 64 MiB.
    ///
    /// # Errors
    /// [`SpaceError::Low`] if what is left of the file, or the next 64 MiB of one with an unknown size, would use the
    /// reserve.
    pub(super) fn write(&mut self, count: u64, free: impl FnOnce() -> io::Result<u64>) -> Result<(), SpaceError> {
        let written = self.written.saturating_add(count);
        if self.checked_to.is_none_or(|checked_to| written > checked_to) {
            let left = self.total.map_or(CHECK_INTERVAL, |total| total.saturating_sub(self.written));
            check(free()?, left.max(count), self.reserve)?;
            self.checked_to = Some(self.written.saturating_add(CHECK_INTERVAL.max(count)));
        }
        self.written = written;
        Ok(())
    }
}

/// Checks that the reserve stays free if `needed` bytes are written.
const fn check(free: u64, needed: u64, reserve: u64) -> Result<(), SpaceError> {
    if free < needed.saturating_add(reserve) { Err(SpaceError::Low { free, needed, reserve }) } else { Ok(()) }
}

/// Returns the number of bytes that this process can write to the file system of a folder.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn a_file_is_written_only_if_the_reserve_stays_free() {
        for (free, total, reserve, source, works) in [
            (10 * GIB, Some(8 * GIB), 2 * GIB, "exactly fits", true),
            (10 * GIB - 1, Some(8 * GIB), 2 * GIB, "a byte is missing", false),
            (GIB, Some(0), 2 * GIB, "the reserve is used already", false),
            (2 * GIB + 64 * MIB, None, 2 * GIB, "the next 64 MiB of an unknown size", true),
            (2 * GIB + 63 * MIB, None, 2 * GIB, "less than that", false),
            (MIB, Some(MIB), 0, "no reserve", true),
            (MIB - 1, Some(MIB), 0, "no reserve, but no space either", false),
            (u64::MAX, Some(u64::MAX), u64::MAX, "a size that a server made up", true),
            (u64::MAX - 1, Some(u64::MAX), 1, "the same with less space", false),
        ] {
            let checked = SpaceCheck::new(reserve, total).write(0, || Ok(free));
            assert_eq!(checked.is_ok(), works, "{source}: {checked:?}");
        }
    }

    #[test]
    fn the_free_space_is_read_at_first_and_every_64_mib() {
        for (total, piece, pieces, right) in [
            (Some(1000), 10, 100, 1),
            (Some(256 * MIB), MIB, 256, 4),
            (None, MIB, 256, 4),
            (None, MIB, 257, 5),
            // The first piece is larger than what the first check is about.
            (None, 100 * MIB, 3, 4),
            (Some(MIB), MIB, 200, 4),
        ] {
            let (mut space, mut reads) = (SpaceCheck::new(GIB, total), 0);
            space.write(0, || Ok(GIB + 256 * MIB)).unwrap();
            reads += 1;
            for _ in 0..pieces {
                space
                    .write(piece, || {
                        reads += 1;
                        Ok(2 * GIB)
                    })
                    .unwrap();
            }
            assert_eq!(reads, right, "{total:?} {piece} {pieces}");
        }
    }

    #[test]
    fn a_file_system_that_others_fill_meanwhile_ends_the_download() {
        let mut space = SpaceCheck::new(GIB, Some(200 * MIB));
        space.write(0, || Ok(2 * GIB)).unwrap();
        space.write(64 * MIB, || panic!("it was read a moment ago")).unwrap();
        let error = space.write(1, || Ok(GIB)).unwrap_err().to_string();
        assert!(error.contains("1024 MiB free") && error.contains("storage.reserve_bytes"), "{error}");
        assert!(
            space.write(1, || Err(io::ErrorKind::NotFound.into())).unwrap_err().to_string().contains("cannot read")
        );
    }
}
