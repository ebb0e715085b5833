//! A rack whose store cannot be changed. Everything that only repeats continues; every change is refused with the reason
//! and the time since when.

use std::fmt;

use domain::time::Timestamp;
use keyspace::value::RestoredBackup;

/// Changes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Island {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: IslandReason,
}

/// Reason why changes are refused. Its text says what the operator can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IslandReason {
    /// etcd does not answer.
    Away,
    /// The store is a restored backup that no operator has adopted.
    RestoredBackup(RestoredBackup),
    /// etcd has no space left.
    Full,
}

impl IslandReason {
    /// A stable word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Away => "STORE_AWAY",
            Self::RestoredBackup(_) => "STORE_RESTORED",
            Self::Full => "STORE_FULL",
        }
    }
}

impl fmt::Display for IslandReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => f.write_str("etcd does not answer; changes are refused until it does"),
            Self::RestoredBackup(RestoredBackup { known, found }) => write!(
                f,
                "the store is a restored backup (revision {known} was seen before and is missing; the store is at \
                 {found}); changes are refused until an operator has checked it and runs: ironmesh store adopt"
            ),
            Self::Full => {
                f.write_str("etcd is out of space; changes are refused until space is freed; see: ironmesh store check")
            }
        }
    }
}
