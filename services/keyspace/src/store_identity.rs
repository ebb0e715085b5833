//! Whether a store is the one that was known, or went back: a restored backup.
//!
//! In one life of a store revisions only grow, and what was written at one of them stays what it was. A backup that was
//! restored breaks that: its revisions begin again at the backup's, and come to mean something else. Three things tell
//! it: a revision that is lower than one that was seen; another cluster id, which etcd draws when a backup is restored
//! under another token or other addresses; and the last write that was seen, looked up at its own revision, which no
//! leases that ran out since and no other writes can hide.

use serde::{Deserialize, Serialize};

use crate::value::{Incarnation, RestoredBackup};

/// What is known of a store. Less than the whole truth does no harm: a store that went back is noticed by as much less
/// surely as the revision is lower than what was really seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// etcd's id of the cluster; 0: not known.
    pub cluster: u64,
    /// The highest revision that was seen.
    pub revision: i64,
}

/// What became of the last write that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastWrite {
    /// It stands where it stood.
    Stands,
    /// Its revision holds something else.
    Differs,
    /// That can not be told any more: its revision was compacted.
    Unknown,
}

/// What the comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same store, further on.
    Same,
    /// A backup that was adopted: all that was known of it is to be forgotten.
    Adopted,
    /// It went back, and nobody has adopted that.
    RestoredBackup,
}

/// Compares what is there with what was known.
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

/// What is wrong with a store that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is not what was known of it.
    RestoredBackup(RestoredBackup),
    /// It has no space left: etcd's alarm NOSPACE.
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
