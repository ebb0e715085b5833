//! What is known of each file in the cache: its state when it was verified, when it was last used, and who reads it.

use std::{collections::HashMap, fs::Metadata, os::unix::fs::MetadataExt as _, sync::Arc};

use domain::{image::Digest, time::Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Expected, Wanted};

/// What tells two states of a file apart. A write changes the time of the last change of the content, which programs can
/// set, and that of the last change of the inode, which they cannot (inode(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileState {
    /// Size in bytes.
    pub(super) size: u64,
    inode: u64,
    /// Seconds and nanoseconds.
    changed: [i64; 2],
    inode_changed: [i64; 2],
}

impl FileState {
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            size: file.size(),
            inode: file.ino(),
            changed: [file.mtime(), file.mtime_nsec()],
            inode_changed: [file.ctime(), file.ctime_nsec()],
        }
    }

    /// Whether the content is that of an earlier state. The name of the file may have been removed or given to another one
    /// since, which changes the time of the inode.
    pub(super) fn has_content_of(&self, earlier: &Self) -> bool {
        (self.inode, self.size, self.changed) == (earlier.inode, earlier.size, earlier.changed)
    }

    /// Whether both are states of one file, whose content may differ.
    pub(super) const fn is_same_file(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

/// Where a file was downloaded from. The URL may hold secrets, so it is kept in memory only.
#[derive(Clone)]
pub(super) struct KnownSource {
    url: String,
    name: String,
    expected: Expected,
}

impl KnownSource {
    pub(super) fn of(wanted: &Wanted<'_>) -> Self {
        Self { url: wanted.url.to_owned(), name: wanted.name.to_owned(), expected: wanted.expected }
    }

    pub(super) fn wanted<'w>(&'w self, digest: &'w Digest) -> Wanted<'w> {
        Wanted { digest, url: &self.url, name: &self.name, expected: self.expected }
    }
}

impl std::fmt::Debug for KnownSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownSource").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is known of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    /// Its state when it had its digest. `None` if it must be verified.
    pub(super) verified: Option<FileState>,
    /// Whether it is in the cache, verified or not.
    pub(super) is_present: bool,
    /// Whether it is being verified.
    pub(super) is_verifying: bool,
    /// When it was last asked for or read.
    pub(super) last_used: Timestamp,
    /// The last use that is noted on disk.
    pub(super) noted_use: Timestamp,
    /// Number of transfers that read it.
    pub(super) readers: usize,
    /// Where it came from, if this run was told.
    pub(super) source: Option<KnownSource>,
}

/// The files of the cache. Clones share the same table.
#[derive(Debug, Clone, Default)]
pub(super) struct UsageTable(Arc<Mutex<HashMap<Digest, Usage>>>);

impl UsageTable {
    /// Reads or changes what is known of a file.
    pub(super) fn with<R>(&self, digest: &Digest, act: impl FnOnce(&mut Usage) -> R) -> R {
        act(self.0.lock().entry(digest.clone()).or_default())
    }

    /// Forgets a file, but not where it came from. Its readers keep it open.
    pub(super) fn forget(&self, digest: &Digest) {
        if let Some(usage) = self.0.lock().get_mut(digest) {
            (usage.verified, usage.is_present) = (None, false);
        }
    }

    /// Forgets files that are neither in the cache nor in use, those that were not used for the longest time first, until at
    /// most `max` of them are left.
    pub(super) fn forget_absent(&self, max: usize) {
        let mut all = self.0.lock();
        if all.len() <= max {
            return;
        }
        let is_absent = |usage: &Usage| !usage.is_present && !usage.is_verifying && usage.readers == 0;
        let absent = all.iter().filter(|(_, usage)| is_absent(usage));
        let mut absent: Vec<_> = absent.map(|(digest, usage)| (usage.last_used, digest.clone())).collect();
        absent.sort_unstable_by_key(|(last_used, _)| *last_used);
        let surplus = absent.len().saturating_sub(max);
        absent.into_iter().take(surplus).for_each(|(_, digest)| drop(all.remove(&digest)));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Lists the files that are in the cache.
    pub(super) fn present(&self) -> Vec<(Digest, Usage)> {
        let all = self.0.lock();
        let present = all.iter().filter(|(_, usage)| usage.is_present);
        present.map(|(digest, usage)| (digest.clone(), usage.clone())).collect()
    }

    /// Counts a transfer until the result is dropped.
    pub(super) fn read(&self, digest: &Digest) -> ReadGuard {
        self.with(digest, |usage| usage.readers += 1);
        ReadGuard { table: self.clone(), digest: digest.clone() }
    }
}

/// A transfer that reads a file.
#[derive(Debug)]
pub(crate) struct ReadGuard {
    table: UsageTable,
    digest: Digest,
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        self.table.with(&self.digest, |usage| usage.readers = usage.readers.saturating_sub(1));
    }
}
