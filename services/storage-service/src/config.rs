//! Configuration of the storage-service.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use service_kit::{
    config::{Common, Config as Configured},
    outbound_http::OutboundConfig,
};

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Settings common to all services.
    pub service: Common,
    /// Settings of the storage-service.
    pub storage: Storage,
    /// Rules for requests to servers that users name.
    pub outbound: OutboundConfig,
}

/// The `[storage]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Address of the HTTP listener for images and boot files, on the provisioning network.
    pub http: SocketAddr,
    /// Directories that `file:` URLs may refer to, without links below them; if empty, `file:` URLs are refused.
    pub files_from: Vec<PathBuf>,
    /// Bytes of the file system of the data directory that downloads and conversions of images leave free.
    pub reserve_bytes: u64,
    /// Maximum size of the image cache, in bytes; 0 if the reserve alone bounds it. Files that were not used for the longest
    /// time leave it when another one needs their room.
    pub max_cache_bytes: u64,
    /// Maximum size of an image as it is downloaded, in bytes.
    pub max_image_bytes: u64,
    /// How long a file stays in the cache at least after it was asked for or read. Longer than `scheduler.boot` times
    /// `scheduler.boots`, so that it is there when a machine that was booted for it reads it.
    #[serde(with = "humantime_serde")]
    pub keep_used: Duration,
}

impl Default for Storage {
    fn default() -> Self {
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            http,
            files_from: Vec::new(),
            reserve_bytes: 2 << 30,
            max_cache_bytes: 0,
            max_image_bytes: 256 << 30,
            keep_used: Duration::from_secs(3600),
        }
    }
}

impl Configured for Config {
    fn common(&self) -> &Common {
        &self.service
    }

    fn problems(&self) -> Vec<String> {
        let relative = self.storage.files_from.iter().filter(|folder| !folder.is_absolute());
        let relative =
            relative.map(|folder| format!("storage.files_from: {} must be an absolute path", folder.display()));
        let no_image =
            (self.storage.max_image_bytes == 0).then(|| "storage.max_image_bytes: must be greater than 0".to_owned());
        let not_kept = self.storage.keep_used.is_zero().then(|| {
            "storage.keep_used: must be greater than 0: a file could leave the cache before the machine that was booted for it \
             reads it"
                .to_owned()
        });
        relative.chain(no_image).chain(not_kept).chain(self.outbound.problems()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_for_some_time_after_its_last_use() {
        let problems = |keep_used| {
            let storage = Storage { keep_used, ..Storage::default() };
            Config { storage, ..Config::default() }.problems()
        };
        assert!(problems(Duration::from_secs(1)).is_empty());
        assert!(problems(Duration::ZERO).concat().starts_with("storage.keep_used: "));
    }
}
