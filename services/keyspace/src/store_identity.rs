//! Tells whether a store is the one that was known, or a restored backup.
//!
//! Within one life of a store revisions only grow, and what was written at a revision never changes. A restored backup
//! breaks that: its revisions continue from the backup's and come to mean something else. Three things reveal it: a
//! revision that is lower than one that was seen; another cluster id, which etcd draws when a backup is restored
//! under another token or other addresses; and the last write that was seen, read again at its own revision, which
//! neither expired leases nor later writes can hide.

use serde::{Deserialize, Serialize};

use crate::value::{Incarnation, RestoredBackup};

/// What is known of a store. Outdated knowledge is harmless, but a restored backup is only noticed if it is older than
/// what is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// etcd's id of the cluster; 0 if it is unknown.
    pub cluster: u64,
    /// The highest revision that was seen.
    pub revision: i64,
}

/// What the store holds at the revision of the last write that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastWrite {
    /// The same write.
    Stands,
    /// Something else.
    Differs,
    /// Unknown: the revision was compacted.
    Unknown,
}

/// Result of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same store at the same or a later revision.
    Same,
    /// A restored backup that was adopted: what was known of the store no longer counts.
    Adopted,
    /// A restored backup that was not adopted.
    RestoredBackup,
}

/// Compares what is found with what was known.
pub(crate) fn judge(known: &Known, found: &Known, last: LastWrite) -> Verdict {
    let (before, now) = (&known.incarnation, &found.incarnation);
    if now.number > before.number {
        return Verdict::Adopted;
    }
    let is_it = now.number == before.number && now.id == before.id;
    let is_cluster = known.cluster == 0 || known.cluster == found.cluster;
    if is_it && is_cluster && found.revision >= known.revision && last != LastWrite::Differs {
        Verdict::Same
    } else {
        Verdict::RestoredBackup
    }
}

/// A problem of a store that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is a restored backup, or another store.
    RestoredBackup(RestoredBackup),
    /// It has no space left (etcd's alarm NOSPACE).
    Full,
}

#[cfg(test)]
mod tests {
    use domain::generation;

    use super::*;

    fn store(number: u64, cluster: u64, revision: i64) -> Known {
        let number = generation::Incarnation::from_number(number);
        let incarnation =
            Incarnation { id: uuid::Uuid::from_u128(number.number().into()), number, restored_backup: None };
        Known { incarnation, cluster, revision }
    }

    #[test]
    fn a_restored_backup_is_told_from_one_that_went_on_and_from_one_that_was_adopted() {
        use LastWrite::{Differs, Stands, Unknown};
        let known = store(1, 7, 100);
        for (found, last, verdict) in [
            (store(1, 7, 100), Stands, Verdict::Same),
            (store(1, 7, 900), Unknown, Verdict::Same),
            (store(1, 7, 99), Unknown, Verdict::RestoredBackup),
            (store(1, 7, 900), Differs, Verdict::RestoredBackup),
            (store(1, 8, 900), Unknown, Verdict::RestoredBackup),
            (store(0, 7, 900), Unknown, Verdict::RestoredBackup),
            (store(2, 8, 3), Differs, Verdict::Adopted),
        ] {
            assert_eq!(judge(&known, &found, last), verdict, "{found:?} {last:?}");
        }
        let other = Known {
            incarnation: Incarnation { id: uuid::Uuid::from_u128(9), ..known.incarnation.clone() },
            ..store(1, 7, 900)
        };
        assert_eq!(
            judge(&known, &other, Unknown),
            Verdict::RestoredBackup,
            "two backups were adopted under one number"
        );
    }
}
