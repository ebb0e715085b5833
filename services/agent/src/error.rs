//! Errors: of the agent itself, which then exits, and of its work, which are reported to the mesh.

use std::{io, path::PathBuf};

use domain::{
    disk_hints::DiskHintsError,
    failure::{Cause, Failure},
    image::{Digest, format::ImageFormatError},
    time::Timestamp,
};
use proto::convert::Invalid;
use service_kit::status;
use wire_config_drive::ConfigDriveError;

/// Why the agent exits.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The boot file cannot be read.
    #[error("cannot read the boot file {path}; it is created when the mesh boots this machine")]
    BootFile {
        /// The path.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The boot file is malformed.
    #[error("the boot file {path} is invalid")]
    InvalidBootFile {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
    /// The boot file lists no inventory-service.
    #[error("the boot file {path} lists no inventory-service")]
    NoInventory {
        /// The path.
        path: PathBuf,
    },
    /// The CA of the boot file or the generated key cannot be used.
    #[error("cannot prepare TLS: {0}")]
    Tls(String),
    /// The async runtime cannot be started.
    #[error("cannot start the async runtime")]
    Runtime {
        /// The I/O error.
        source: io::Error,
    },
    /// The inventory-service permanently refused this agent.
    #[error("refused by the inventory-service ({reason}): {message}")]
    Refused {
        /// Stable identifier.
        reason: String,
        /// The message of the service.
        message: String,
    },
}

/// Why the work failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The instruction is invalid.
    #[error("invalid instruction")]
    Instruction(#[source] Invalid),
    /// The hints for a disk cannot be used.
    #[error("cannot choose a disk by {key}")]
    DiskHints {
        /// The key of the node that has the hints.
        key: &'static str,
        /// The reason.
        source: DiskHintsError,
    },
    /// There is no usable disk, or not the requested one.
    #[error("cannot find {wanted}; found {found}")]
    NoDisk {
        /// The requested disk.
        wanted: String,
        /// The existing disks, and why each is unusable.
        found: String,
    },
    /// It is not known whether a disk is one of those to skip.
    #[error(
        "disk {disk} does not tell what hint {hint} (from 0) of properties/skip_block_devices asks for, so it may be the \
         disk to skip; no disk was changed; use a hint that every disk answers, such as name or size"
    )]
    SkipUnknown {
        /// The disk.
        disk: String,
        /// The position of the hint.
        hint: usize,
    },
    /// The image does not fit on a disk.
    #[error("the image needs at least {needed} bytes, but disk {disk} has {size}")]
    TooLarge {
        /// The largest usable disk.
        disk: String,
        /// Its size in bytes.
        size: u64,
        /// Size of the image in bytes, as far as it is known.
        needed: u64,
    },
    /// A disk returned an error.
    #[error("cannot {doing} disk {disk}")]
    Disk {
        /// Name, model and serial number of the disk.
        disk: String,
        /// The operation.
        doing: &'static str,
        /// The I/O error.
        source: io::Error,
    },
    /// The image does not have the registered digest.
    #[error("the image has digest {found}, but {wanted} is registered")]
    Digest {
        /// The registered digest.
        wanted: Digest,
        /// The actual digest.
        found: String,
    },
    /// The image has the registered digest but cannot be decompressed.
    #[error("the image cannot be decompressed as {encoding}")]
    Corrupt {
        /// The registered encoding.
        encoding: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The image is not what it is registered as, or cannot be written to a disk.
    #[error("disk {disk} is left as it was")]
    Format {
        /// The disk.
        disk: String,
        /// The reason.
        source: ImageFormatError,
    },
    /// The image is partitioned for disks with blocks of another size.
    #[error(
        "the image has a GPT for blocks of {image} bytes, but disk {disk} has blocks of {found} bytes and would not \
         boot it; use an image for {found} bytes, or another disk; the disk is left as it was"
    )]
    BlockSize {
        /// The disk.
        disk: String,
        /// Size of its logical blocks, in bytes.
        found: u64,
        /// The image's size of logical blocks, in bytes.
        image: u64,
    },
    /// The image cannot be downloaded.
    #[error("cannot download the image: no progress after byte {at} in {tries} attempts; the last, {url}: {why}")]
    ServerGone {
        /// Bytes received.
        at: u64,
        /// Attempts since the last progress.
        tries: u32,
        /// URL of the last attempt.
        url: String,
        /// Error of the last attempt.
        why: String,
    },
    /// The config drive cannot be created.
    #[error("cannot create the config drive on disk {disk}")]
    ConfigDrive {
        /// The disk.
        disk: String,
        /// The reason.
        source: PlacementError,
    },
    /// The machine is shutting down, or the work panicked.
    #[error("the work was interrupted")]
    Stopped,
}

impl WorkError {
    /// Returns the stable identifier of the cause.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        match self {
            Self::NoDisk { .. } | Self::DiskHints { .. } | Self::SkipUnknown { .. } => Cause::NoDisk,
            Self::TooLarge { .. } => Cause::ImageTooLarge,
            Self::Disk { .. } => Cause::DiskError,
            Self::Digest { .. } => Cause::ImageDigest,
            Self::Corrupt { .. } => Cause::ImageCorrupt,
            Self::Format { .. } | Self::BlockSize { .. } => Cause::ImageFormat,
            Self::ServerGone { .. } => Cause::ImageServerGone,
            Self::ConfigDrive { source, .. } => source.cause(),
            Self::Instruction(_) | Self::Stopped => Cause::AgentCrashed,
        }
    }

    /// Returns the failure to report to the mesh.
    #[must_use]
    pub fn failure(&self, at: Timestamp) -> Failure {
        Failure { cause: self.cause(), text: status::chain(self), at }
    }
}

/// Why a config drive cannot be created on a disk.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// The image has no known partition table.
    #[error("the image has neither a GPT nor an MBR partition table")]
    NoTable,
    /// The partition table of the image is inconsistent.
    #[error("the partition table of the image is damaged: {0}")]
    Damaged(&'static str),
    /// All entries of the partition table are used.
    #[error("the partition table has no free entry")]
    NoEntry,
    /// There is not enough space at the end of the disk.
    #[error("{wanted} bytes are needed after the last partition")]
    NoRoom {
        /// Size of the config drive, in bytes.
        wanted: u64,
    },
    /// The files cannot be stored in a volume.
    #[error(transparent)]
    Volume(#[from] ConfigDriveError),
}

impl PlacementError {
    /// Returns the stable identifier of the cause.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        match self {
            Self::NoTable | Self::Damaged(_) => Cause::ImageCorrupt,
            Self::NoEntry | Self::NoRoom { .. } | Self::Volume(ConfigDriveError::TooLarge { .. }) => {
                Cause::ImageTooLarge
            }
            Self::Volume(
                ConfigDriveError::Name(_)
                | ConfigDriveError::Volume(_)
                | ConfigDriveError::Zip(_)
                | ConfigDriveError::Strange,
            ) => Cause::AgentCrashed,
        }
    }
}
