//! What can go wrong: for the agent itself, which then ends; and with the work, which the mesh is told.

use std::{io, path::PathBuf};

use domain::{
    failure::{Cause, Failure},
    image::Digest,
    time::Timestamp,
};
use proto::convert::Invalid;
use service_kit::status;

use crate::config_drive::Unplaceable;

/// Why the agent ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The boot file can not be read.
    #[error("cannot read the boot file {path}; the mesh adds it to the ramdisk when it boots this machine")]
    BootFile {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The boot file is not what it should be.
    #[error("the boot file {path} is not what it should be")]
    BootFileForm {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The boot file lists no inventory-service.
    #[error("the boot file {path} names no inventory-service to call")]
    NobodyToCall {
        /// The file.
        path: PathBuf,
    },
    /// The boot file's CA, or the key made here, can not be used.
    #[error("cannot prepare TLS: {0}")]
    Tls(String),
    /// The operating system gives us no threads.
    #[error("cannot begin")]
    Runtime {
        /// Why.
        source: io::Error,
    },
    /// The inventory-service will not have us; asking again would not help.
    #[error("refused by the inventory-service ({reason}): {message}")]
    Refused {
        /// The word for programs.
        reason: String,
        /// In words.
        message: String,
    },
}

/// Why the work can not be done.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The instruction can not be read.
    #[error("the instruction can not be followed")]
    Instruction(#[source] Invalid),
    /// There is no disk to write to, or not the one that was asked for.
    #[error("{wanted} is not there; found {found}")]
    NoDisk {
        /// What was looked for.
        wanted: String,
        /// What there is, and why it does not count.
        found: String,
    },
    /// The image does not fit.
    #[error("the image needs {needed} octets or more, and disk {disk} has {size}")]
    TooLarge {
        /// The largest disk that may be used.
        disk: String,
        /// Its octets.
        size: u64,
        /// The image's octets, as far as they are known.
        needed: u64,
    },
    /// A disk answered with an error.
    #[error("cannot {doing} disk {disk}")]
    Disk {
        /// Its name, with model and serial number where it has them.
        disk: String,
        /// What was tried.
        doing: &'static str,
        /// What it answered.
        source: io::Error,
    },
    /// The image is not the one that was registered.
    #[error("the image hashes to {found}, and should hash to {wanted}")]
    Digest {
        /// What was registered.
        wanted: Digest,
        /// What came.
        found: String,
    },
    /// The image is the one that was registered, and can not be unpacked.
    #[error("the image can not be unpacked as {encoding}")]
    Corrupt {
        /// How it should be packed.
        encoding: &'static str,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The image can not be had.
    #[error("gave up the image at octet {at} after {tries} tries without progress; the last, {url}: {why}")]
    ServerGone {
        /// Octets that had come.
        at: u64,
        /// Tries since the last progress.
        tries: u32,
        /// The URL that was tried last.
        url: String,
        /// What was wrong.
        why: String,
    },
    /// The config drive can not be made.
    #[error("cannot put the config drive on disk {disk}")]
    ConfigDrive {
        /// The disk.
        disk: String,
        /// Why.
        source: Unplaceable,
    },
    /// The machine is going down, or the work died.
    #[error("the work ended before it was done")]
    Stopped,
}

impl Trouble {
    /// The word for programs.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        match self {
            Self::NoDisk { .. } => Cause::NoDisk,
            Self::TooLarge { .. } => Cause::ImageTooLarge,
            Self::Disk { .. } => Cause::DiskError,
            Self::Digest { .. } => Cause::ImageDigest,
            Self::Corrupt { .. } => Cause::ImageCorrupt,
            Self::ServerGone { .. } => Cause::ImageServerGone,
            Self::ConfigDrive { source, .. } => source.cause(),
            Self::Instruction(_) | Self::Stopped => Cause::AgentCrashed,
        }
    }

    /// As the mesh is told.
    #[must_use]
    pub fn failure(&self, at: Timestamp) -> Failure {
        Failure { cause: self.cause(), text: status::chain(self), at }
    }
}
