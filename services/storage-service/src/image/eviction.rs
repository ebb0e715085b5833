//! Which files leave the cache when another one needs their room, pure.

use std::time::Duration;

use domain::time::Timestamp;

/// Limits of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheLimits {
    /// Maximum size of all files, in bytes; 0 if there is none.
    pub(crate) max_bytes: u64,
    /// Bytes of the file system that stay free.
    pub(crate) reserve_bytes: u64,
    /// How long a file stays at least after it was asked for or read: longer than the time between the preparation of a boot
    /// and the first byte that the machine reads.
    pub(crate) keep_used: Duration,
}

/// Space of the cache, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    /// Used by the files of the cache, unfinished ones included.
    pub(super) used: u64,
    /// Free on the file system.
    pub(super) free: u64,
}

/// A file that may leave the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate<K> {
    /// Its name.
    pub(super) key: K,
    /// The space that it uses, in bytes.
    pub(super) bytes: u64,
    /// When it was last asked for or read.
    pub(super) last_used: Timestamp,
    /// Number of transfers that read it now.
    pub(super) readers: usize,
}

/// Returns the number of bytes that must leave the cache before `needed` bytes are written.
pub(super) const fn shortage(limits: &CacheLimits, space: Space, needed: u64) -> u64 {
    let over_maximum = match limits.max_bytes {
        0 => 0,
        max => space.used.saturating_add(needed).saturating_sub(max),
    };
    let in_reserve = limits.reserve_bytes.saturating_add(needed).saturating_sub(space.free);
    if over_maximum > in_reserve { over_maximum } else { in_reserve }
}

/// Returns the files that leave the cache, the one that was not used for the longest time first.
///
/// # Errors
/// The number of bytes of the files that are in use, if the others are not enough. Nothing leaves the cache then.
pub(super) fn victims<K>(
    candidates: Vec<Candidate<K>>,
    shortage: u64,
    now: Timestamp,
    keep_used: Duration,
) -> Result<Vec<K>, u64> {
    let is_kept = |candidate: &Candidate<K>| candidate.readers > 0 || now.since(candidate.last_used) < keep_used;
    let (kept, mut others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_kept);
    // Of two that were used at the same time, the larger one makes more room.
    others.sort_by_key(|candidate| (candidate.last_used, std::cmp::Reverse(candidate.bytes)));
    let (mut freed, mut victims) = (0_u64, Vec::new());
    for candidate in others {
        if freed >= shortage {
            break;
        }
        // An empty file makes no room.
        if candidate.bytes > 0 {
            freed = freed.saturating_add(candidate.bytes);
            victims.push(candidate.key);
        }
    }
    if freed >= shortage {
        Ok(victims)
    } else {
        Err(kept.iter().fold(0, |sum, candidate| sum.saturating_add(candidate.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn room_is_needed_where_the_maximum_or_the_reserve_would_be_exceeded() {
        for (max, reserve, used, free, needed, source, right) in [
            (0, 2 * GIB, 50 * GIB, 10 * GIB, 8 * GIB, "exactly fits", 0),
            (0, 2 * GIB, 50 * GIB, 10 * GIB - 1, 8 * GIB, "a byte is missing", 1),
            (0, 2 * GIB, 0, GIB, 0, "others use the reserve already", GIB),
            (10 * GIB, 0, 4 * GIB, 100 * GIB, 6 * GIB, "exactly the maximum", 0),
            (10 * GIB, 0, 4 * GIB, 100 * GIB, 7 * GIB, "above the maximum", GIB),
            (10 * GIB, 0, 20 * GIB, 100 * GIB, 0, "the maximum was lowered", 10 * GIB),
            (10 * GIB, 2 * GIB, 9 * GIB, 3 * GIB, 4 * GIB, "both: the larger shortage counts", 3 * GIB),
            (10 * GIB, 2 * GIB, 9 * GIB, 0, 4 * GIB, "both: the reserve counts", 6 * GIB),
            (1, u64::MAX, u64::MAX, 0, u64::MAX, "sizes that a server made up", u64::MAX),
        ] {
            let limits = CacheLimits { max_bytes: max, reserve_bytes: reserve, keep_used: HOUR };
            assert_eq!(shortage(&limits, Space { used, free }, needed), right, "{source}");
        }
    }

    #[test]
    fn the_least_recently_used_files_leave_and_none_that_is_in_use() {
        // Name, bytes, hours since its last use, readers.
        type Files = &'static [(&'static str, u64, i64, usize)];
        let three: Files = &[("old", 4, 9, 0), ("older", 4, 10, 0), ("new", 4, 2, 0)];
        for (files, shortage, source, right) in [
            (three, 0, "nothing is needed", Ok(&[][..])),
            (three, 1, "one is enough", Ok(&["older"][..])),
            (three, 4, "exactly one", Ok(&["older"])),
            (three, 5, "two, in their order", Ok(&["older", "old"])),
            (three, 12, "all", Ok(&["older", "old", "new"])),
            (three, 13, "more than there is: nothing leaves", Err(0)),
            (&[("read", 8, 10, 1), ("idle", 4, 2, 0)], 4, "one is being read", Ok(&["idle"])),
            (&[("read", 8, 10, 1), ("idle", 4, 2, 0)], 5, "the other is not enough", Err(8)),
            (&[("just asked for", 8, 0, 0), ("idle", 4, 2, 0)], 4, "a deployment is prepared", Ok(&["idle"])),
            (&[("just asked for", 8, 0, 0)], 1, "a deployment is prepared, and nothing else is there", Err(8)),
            (&[("from the future", 8, -5, 0)], 1, "the clock was set back", Err(8)),
            (&[("small", 1, 5, 0), ("large", 9, 5, 0)], 1, "used at the same time", Ok(&["large"])),
            (&[("empty", 0, 9, 0), ("b", 2, 5, 0)], 1, "an empty file makes no room", Ok(&["b"])),
            (&[], 1, "an empty cache", Err(0)),
        ] as [(Files, u64, &str, Result<&[&str], u64>); 14]
        {
            let now = Timestamp::from_millis(1_000_000_000);
            let candidates = files.iter().map(|&(key, bytes, hours, readers)| {
                let last_used = Timestamp::from_millis(now.millis() - hours * 3_600_000);
                Candidate { key, bytes, last_used, readers }
            });
            let found = victims(candidates.collect(), shortage, now, HOUR);
            assert_eq!(found.as_deref().map_err(|in_use| *in_use), right, "{source}");
        }
    }
}
