//! Errors of the store.

mod seal;

pub use self::seal::SealError;
use crate::value::RestoredBackup;

/// Maximum number of operations of a change; etcd's own limit is 128.
pub(crate) const MAX_CHANGE_OPERATIONS: usize = 120;
/// Maximum size of all values of a change, in bytes. etcd's own limit of a request is 1.5 MiB, with keys and expectations.
pub(crate) const MAX_CHANGE_BYTES: usize = 1400 << 10;

/// Reason a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No member of etcd answered in time. Whether a write was carried out is unknown.
    #[error("etcd does not answer ({doing}); check that its members run and that service.etcd names them")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// The cause, if the client reports one.
        source: Option<Box<etcd_client::Error>>,
    },
    /// The store is not the one that was known: a backup was restored.
    #[error(
        "the store is a restored backup: revision {} was seen and is not in it, it is at {}; look at it, then bring \
         changes back with: ironmesh store adopt", .0.known, .0.found
    )]
    RestoredBackup(RestoredBackup),
    /// etcd has no space left.
    #[error("etcd is out of space ({doing}); how to free some says: ironmesh store check")]
    Full {
        /// What was being done.
        doing: &'static str,
    },
    /// etcd refused the request.
    #[error("etcd refused ({doing})")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// etcd's answer.
        source: Box<etcd_client::Error>,
    },
    /// etcd does not permit that to the user of the certificate.
    #[error(
        "etcd does not permit it to the user of this certificate ({doing}); check service.etcd_certificate, and create \
         missing roles on the host of etcd's administrator with: ironmesh store init --data DIR --apply"
    )]
    Forbidden {
        /// What was being done.
        doing: &'static str,
        /// etcd's answer.
        source: Box<etcd_client::Error>,
    },
    /// The revision is compacted, or the store has not reached it.
    #[error("etcd does not have that revision ({doing})")]
    OutOfRange {
        /// What was being done.
        doing: &'static str,
        /// etcd's answer.
        source: Box<etcd_client::Error>,
    },
    /// An expectation of the write did not hold: another process wrote first. Read again.
    #[error("another process wrote first")]
    Conflict,
    /// A value is not what its key says.
    #[error("cannot read the value of {key}; another release wrote it, or it is damaged")]
    Value {
        /// The key.
        key: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// A change exceeds etcd's limits. It was not sent.
    #[error(
        "too large for the store: {} KiB in {operations} records, and one change has at most {} KiB in {} records; send \
         less at once, or give large data by its URL",
        bytes.div_ceil(1024), MAX_CHANGE_BYTES / 1024, MAX_CHANGE_OPERATIONS
    )]
    TooLarge {
        /// Number of its operations.
        operations: usize,
        /// Bytes of its values.
        bytes: usize,
    },
    /// etcd refused a change as too large, because it is configured with other limits.
    #[error(
        "too large for the store ({doing}); send less at once, or raise etcd's --max-request-bytes and --max-txn-ops"
    )]
    RefusedSize {
        /// What was being done.
        doing: &'static str,
        /// etcd's answer.
        source: Box<etcd_client::Error>,
    },
    /// A sealing key, or something sealed with it, is unusable.
    #[error(transparent)]
    Seal(Box<SealError>),
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl From<SealError> for Error {
    fn from(error: SealError) -> Self {
        Self::Seal(Box::new(error))
    }
}

impl Error {
    /// Whether the store as a whole is unavailable or read-only, which makes the rack an island, rather than this write
    /// at fault.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::RestoredBackup(_) | Self::Full { .. })
    }

    /// Whether the change is larger than the store's limits. Nothing was written, and a repetition does not help.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::RefusedSize { .. })
    }

    /// A stable identifier for programs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "STORE_AWAY",
            Self::RestoredBackup(_) => "STORE_RESTORED",
            Self::Full { .. } => "STORE_FULL",
            Self::Conflict => "CONFLICT",
            Self::TooLarge { .. } | Self::RefusedSize { .. } => "TOO_LARGE",
            Self::Refused { .. }
            | Self::Forbidden { .. }
            | Self::OutOfRange { .. }
            | Self::Value { .. }
            | Self::Seal(_)
            | Self::File { .. } => "STORE",
        }
    }
}

/// An error with all its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
