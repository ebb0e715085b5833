//! Whether a store is the one that was known, or went back: a restored backup.
//!
//! In one life of a store revisions only grow, and what was written at one of them stays what it was. A backup that was
//! restored breaks that: its revisions begin again at the backup's, and come to mean something else. Three things tell
//! it: a revision that is lower than one that was seen; another cluster id, which etcd draws when a backup is restored
//! under another token or other addresses; and the last write that was seen, looked up at its own revision, which no
//! leases that ran out since and no other writes can hide.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    store::Pair,
    value::{Incarnation, RestoredBackup},
};

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

/// Looks at every answer of a store, for all clones of a connection.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    trouble: Option<Trouble>,
    /// The last write that was seen: in a store that went back, its revision holds something else.
    last: Option<Pair>,
    /// The connection was lost: who answers next may be another store, and is looked at first.
    doubted: bool,
    /// It was adopted, and who follows it has not begun anew.
    anew: bool,
}

impl Guard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known(&self) -> Option<Known> {
        self.lock().known.clone()
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble
    }

    /// Begins with what is known.
    pub(crate) fn begin(&self, known: Known) {
        *self.lock() = State { known: Some(known), ..State::default() };
    }

    /// The last write that was seen.
    pub(crate) fn last(&self) -> Option<Pair> {
        self.lock().last.clone()
    }

    /// A write was seen; one that is older than the last one is none.
    pub(crate) fn saw(&self, write: &Pair) {
        let last = &mut self.lock().last;
        if last.as_ref().is_none_or(|last| last.revision < write.revision) {
            *last = Some(write.clone());
        }
    }

    /// The connection was lost.
    pub(crate) fn doubt(&self) {
        self.lock().doubted = true;
    }

    /// Whether what was seen is to be forgotten, for the one who follows the store: it is said once.
    pub(crate) fn begins_anew(&self) -> bool {
        std::mem::take(&mut self.lock().anew)
    }

    pub(crate) fn is_doubted(&self) -> bool {
        self.lock().doubted
    }

    /// The highest revision seen; an answer to what is asked from here on can not be below it.
    pub(crate) fn highest(&self) -> i64 {
        self.lock().known.as_ref().map_or(0, |known| known.revision)
    }

    /// Refuses to go on with a store that went back.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.trouble() {
            Some(Trouble::RestoredBackup(how)) => Err(Error::RestoredBackup(how)),
            Some(Trouble::Full) | None => Ok(()),
        }
    }

    /// Judges a linearizable answer by its header: it is of this cluster, and at `least` this revision.
    pub(crate) fn answered(&self, cluster: u64, revision: i64, least: i64) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(Trouble::RestoredBackup(how)) = state.trouble {
            return Err(Error::RestoredBackup(how));
        }
        let Some(known) = &mut state.known else { return Ok(()) };
        let is_cluster = known.cluster == 0 || cluster == 0 || known.cluster == cluster;
        if !is_cluster || revision < least {
            let how = RestoredBackup { known: known.revision, found: revision };
            state.trouble = Some(Trouble::RestoredBackup(how));
            return Err(Error::RestoredBackup(how));
        }
        known.revision = known.revision.max(revision);
        if known.cluster == 0 {
            known.cluster = cluster;
        }
        Ok(())
    }

    /// A revision that the store has certainly reached.
    pub(crate) fn heard(&self, revision: i64) {
        if let Some(known) = &mut self.lock().known {
            known.revision = known.revision.max(revision);
        }
    }

    /// Takes a verdict.
    pub(crate) fn judged(&self, found: Known, verdict: Verdict) -> Result<Verdict, Error> {
        let mut state = self.lock();
        let highest = state.known.as_ref().map_or(0, |known| known.revision);
        match verdict {
            Verdict::RestoredBackup => {
                let how = RestoredBackup { known: highest, found: found.revision };
                state.trouble = Some(Trouble::RestoredBackup(how));
                return Err(Error::RestoredBackup(how));
            }
            Verdict::Same => state.known = Some(Known { revision: found.revision.max(highest), ..found }),
            Verdict::Adopted => (state.known, state.last, state.anew) = (Some(found), None, true),
        }
        state.doubted = false;
        if matches!(state.trouble, Some(Trouble::RestoredBackup(_))) {
            state.trouble = None;
        }
        Ok(verdict)
    }

    /// A write was refused because there is no space.
    pub(crate) fn is_full(&self) {
        self.lock().trouble.get_or_insert(Trouble::Full);
    }

    /// There is space.
    pub(crate) fn has_space(&self) {
        let mut state = self.lock();
        if state.trouble == Some(Trouble::Full) {
            state.trouble = None;
        }
    }
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

    #[test]
    fn an_answer_below_what_was_seen_stops_everything_until_the_store_is_judged_anew() {
        let guard = Guard::default();
        guard.begin(store(0, 7, 100));
        assert!(guard.answered(7, 105, guard.highest()).is_ok());
        assert!(guard.answered(7, 104, 100).is_ok(), "asked before the other was answered");
        assert!(matches!(guard.answered(7, 104, guard.highest()), Err(Error::RestoredBackup(how)) if how.found == 104));
        assert!(guard.check().is_err() && guard.answered(7, 200, 0).is_err());
        assert!(guard.judged(store(1, 8, 50), Verdict::Adopted).is_ok());
        assert!(guard.check().is_ok() && guard.highest() == 50);
        assert!(guard.begins_anew() && !guard.begins_anew());
        assert!(guard.answered(7, 60, 50).is_err(), "the cluster of before");
    }
}
