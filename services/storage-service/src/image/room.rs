//! Makes room in the cache for files that are written.

use std::io;

use domain::{image::Digest, time::Timestamp};
use service_kit::clock;

use super::{
    Cache, Download, DownloadError,
    eviction::{Candidate, Space, shortage, victims},
    free_space::{bytes_of, space_of},
    usage::Usage,
};
use crate::metrics;

/// Number of times that files are evicted for one request: others may write to the file system meanwhile.
const MAX_TRIES: usize = 3;

/// Why nothing more may be written to the cache.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpaceError {
    /// The maximum size of the cache would be exceeded.
    #[error(
        "the image cache uses {} MiB of at most {} MiB (storage.max_cache_bytes) and needs {} MiB more; files of {} MiB are \
         being read or were used within storage.keep_used, so they stay. Repeat the command when other deployments have \
         ended, or raise the maximum",
        .space.used >> 20, .max >> 20, .needed >> 20, .in_use >> 20
    )]
    Quota {
        /// The space of the cache.
        space: Space,
        /// Maximum size of the cache in bytes.
        max: u64,
        /// Bytes to write.
        needed: u64,
        /// Bytes of the files that are in use.
        in_use: u64,
    },
    /// A file alone is larger than the maximum size of the cache.
    #[error(
        "it needs {} MiB, which is more than the maximum size of the image cache, {} MiB (storage.max_cache_bytes): repeating \
         the command does not help; raise the maximum, or use a smaller image",
        .needed >> 20, .max >> 20
    )]
    NeverFits {
        /// Maximum size of the cache in bytes.
        max: u64,
        /// Bytes to write.
        needed: u64,
    },
    /// The reserve would be used.
    #[error(
        "the file system of the image cache has {} MiB free, which is less than the {} MiB needed and the reserve of {} \
         MiB (storage.reserve_bytes); files of {} MiB in the cache are being read or were used within storage.keep_used, so \
         they stay. Free some space on it, or extend it",
        .space.free >> 20, .needed >> 20, .reserve >> 20, .in_use >> 20
    )]
    Low {
        /// The space of the cache.
        space: Space,
        /// Bytes to write.
        needed: u64,
        /// Bytes that must stay free.
        reserve: u64,
        /// Bytes of the files that are in use.
        in_use: u64,
    },
    /// The file system cannot be asked.
    #[error("cannot read the free space of the image cache: {0}")]
    Unknown(#[from] io::Error),
}

impl Cache {
    /// Makes room for bytes that are about to be written, on a thread for blocking work.
    pub(super) async fn make_room_for(&self, needed: u64) -> Result<(), SpaceError> {
        let cache = self.clone();
        let working = tokio::task::spawn_blocking(move || cache.make_room(needed));
        working.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped).into()))
    }

    /// Makes room for bytes that are about to be written. Evicts the files that were not used for the longest time, and none
    /// that is in use.
    pub(super) fn make_room(&self, needed: u64) -> Result<(), SpaceError> {
        let _turn = self.evictions.lock();
        let mut tries = 0;
        loop {
            let space = space_of(&self.folder)?;
            metrics::used(space.used);
            let missing = shortage(&self.limits, space, needed);
            if missing == 0 {
                return Ok(());
            }
            let now = clock::now();
            match victims(self.candidates(), missing, now, self.limits.keep_used) {
                Ok(victims) if tries < MAX_TRIES => victims.iter().for_each(|victim| self.evict(victim, now)),
                Ok(_) => return Err(self.no_room(space, needed, 0)),
                Err(in_use) => return Err(self.no_room(space, needed, in_use)),
            }
            tries += 1;
        }
    }

    fn no_room(&self, space: Space, needed: u64, in_use: u64) -> SpaceError {
        let (max, reserve) = (self.limits.max_bytes, self.limits.reserve_bytes);
        if max > 0 && needed > max {
            SpaceError::NeverFits { max, needed }
        } else if max > 0 && space.used.saturating_add(needed) > max {
            SpaceError::Quota { space, max, needed, in_use }
        } else {
            SpaceError::Low { space, needed, reserve, in_use }
        }
    }

    /// Lists the files that may leave the cache. One that is being converted may not.
    fn candidates(&self) -> Vec<Candidate<Digest>> {
        let mut files = self.usage.present();
        let downloads = self.downloads.lock();
        files.retain(|(digest, usage)| !is_worked_on(downloads.get(digest), usage));
        drop(downloads);
        let candidates = files.into_iter().map(|(key, usage)| {
            let bytes = bytes_of(&self.path(&key));
            Candidate { key, bytes, last_used: usage.last_used, readers: usage.readers }
        });
        candidates.collect()
    }

    /// Removes a file, unless it was asked for, read or worked on since it was chosen.
    pub(super) fn evict(&self, digest: &Digest, now: Timestamp) {
        let is_idle = |download: Option<&Download>, usage: &Usage| {
            let is_used = usage.readers > 0 || now.since(usage.last_used) < self.limits.keep_used;
            usage.is_present && !is_used && !is_worked_on(download, usage)
        };
        if self.forget_if(digest, is_idle).is_some() {
            tracing::info!(%digest, "evicted a file from the image cache");
            metrics::evicted();
        }
    }
}

/// Whether a file is being converted, or verified because it was asked for. One of an earlier run that waits for its
/// verification may leave the cache before.
const fn is_worked_on(download: Option<&Download>, usage: &Usage) -> bool {
    let is_of_earlier_run = usage.is_verifying && usage.verified.is_none();
    match download {
        Some(Download::InProgress { .. }) => true,
        Some(Download::Unverified { .. }) => false,
        Some(Download::Done(_) | Download::Failed { .. }) | None => usage.is_verifying && !is_of_earlier_run,
    }
}

impl DownloadError {
    /// The error for a file that cannot be written to the cache.
    pub(super) fn no_room(name: &str, error: &SpaceError) -> Self {
        Self::cache(format!("cannot write image {name} to the cache: {error}"))
    }
}
