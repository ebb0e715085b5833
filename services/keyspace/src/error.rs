//! What can go wrong with the store.

use crate::value::RestoredBackup;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No member of etcd answered in time; whether a write was done is not known.
    #[error("etcd does not answer ({doing}); check that its members run and that service.etcd names them")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// Why, where the client says so.
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
    /// etcd answered that it will not.
    #[error("etcd refused ({doing})")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Its words.
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
    /// Something that the write expected is not so: somebody else wrote first. Read again.
    #[error("somebody else wrote first")]
    Conflict,
    /// A value can not be read as what its key says.
    #[error("the value of {key} can not be read; another release wrote it, or it is damaged")]
    Value {
        /// The key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A change is larger than etcd takes.
    #[error("a change of {operations} operations and {bytes} bytes is larger than the store takes")]
    TooLarge {
        /// Its operations.
        operations: usize,
        /// Bytes of its values.
        bytes: usize,
    },
    /// The sealing key or something sealed with it can not be used.
    #[error("{0}")]
    Seal(String),
    /// A file of ours can not be used.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the store as a whole is away, or can not be changed, so that it is an island's error rather than this
    /// write's.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::RestoredBackup(_) | Self::Full { .. })
    }

    /// A stable word for programs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "STORE_AWAY",
            Self::RestoredBackup(_) => "STORE_RESTORED",
            Self::Full { .. } => "STORE_FULL",
            Self::Conflict => "CONFLICT",
            Self::Refused { .. }
            | Self::OutOfRange { .. }
            | Self::Value { .. }
            | Self::TooLarge { .. }
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
