//! Checks every answer of the store, for all clones of a [`Store`](super::Store).

use parking_lot::{Mutex, MutexGuard};

use super::Pair;
use crate::{
    Error,
    store_identity::{Known, Trouble, Verdict},
    value::RestoredBackup,
};

/// What is known of the store, and what every answer must agree with.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    trouble: Option<Trouble>,
    /// The last write that was seen: in a restored backup its revision holds something else.
    last: Option<Pair>,
    /// Whether the connection was lost: the next answer may come from another store, which is verified first.
    doubted: bool,
    /// Whether the store was adopted and its follower has not started over yet.
    starts_over: bool,
}

impl Guard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn known(&self) -> Option<Known> {
        self.lock().known.clone()
    }

    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble
    }

    /// Starts with what is known.
    pub(crate) fn begin(&self, known: Known) {
        *self.lock() = State { known: Some(known), ..State::default() };
    }

    /// The last write that was seen.
    pub(crate) fn last(&self) -> Option<Pair> {
        self.lock().last.clone()
    }

    /// Notes a write that was seen, if it is newer than the last one.
    pub(crate) fn saw(&self, write: &Pair) {
        let last = &mut self.lock().last;
        if last.as_ref().is_none_or(|last| last.revision < write.revision) {
            *last = Some(write.clone());
        }
    }

    /// Notes that the connection was lost.
    pub(crate) fn doubt(&self) {
        self.lock().doubted = true;
    }

    /// Whether the follower of the store must start over. Returns `true` once.
    pub(crate) fn starts_over(&self) -> bool {
        std::mem::take(&mut self.lock().starts_over)
    }

    pub(crate) fn is_doubted(&self) -> bool {
        self.lock().doubted
    }

    /// The highest revision seen. The answer to a request that is sent from now on cannot be below it.
    pub(crate) fn highest(&self) -> i64 {
        self.lock().known.as_ref().map_or(0, |known| known.revision)
    }

    /// Fails if the store is a restored backup.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.trouble() {
            Some(Trouble::RestoredBackup(how)) => Err(Error::RestoredBackup(how)),
            Some(Trouble::Full) | None => Ok(()),
        }
    }

    /// Checks the header of a linearizable answer: it must be of the known cluster and at least at revision `least`.
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

    /// Notes a revision that the store has reached.
    pub(crate) fn heard(&self, revision: i64) {
        if let Some(known) = &mut self.lock().known {
            known.revision = known.revision.max(revision);
        }
    }

    /// Applies a verdict.
    pub(crate) fn apply_verdict(&self, found: Known, verdict: Verdict) -> Result<Verdict, Error> {
        let mut state = self.lock();
        let highest = state.known.as_ref().map_or(0, |known| known.revision);
        match verdict {
            Verdict::RestoredBackup => {
                let how = RestoredBackup { known: highest, found: found.revision };
                state.trouble = Some(Trouble::RestoredBackup(how));
                return Err(Error::RestoredBackup(how));
            }
            Verdict::Same => state.known = Some(Known { revision: found.revision.max(highest), ..found }),
            Verdict::Adopted => (state.known, state.last, state.starts_over) = (Some(found), None, true),
        }
        state.doubted = false;
        if matches!(state.trouble, Some(Trouble::RestoredBackup(_))) {
            state.trouble = None;
        }
        Ok(verdict)
    }

    /// Notes that a write was refused for lack of space.
    pub(crate) fn is_full(&self) {
        self.lock().trouble.get_or_insert(Trouble::Full);
    }

    /// Notes that there is space.
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
    use crate::value::Incarnation;

    fn store(number: u64, cluster: u64, revision: i64) -> Known {
        let number = generation::Incarnation::from_number(number);
        let incarnation =
            Incarnation { id: uuid::Uuid::from_u128(number.number().into()), number, restored_backup: None };
        Known { incarnation, cluster, revision }
    }

    #[test]
    fn an_answer_below_what_was_seen_stops_everything_until_the_store_is_verified() {
        let guard = Guard::default();
        guard.begin(store(0, 7, 100));
        assert!(guard.answered(7, 105, guard.highest()).is_ok());
        assert!(guard.answered(7, 104, 100).is_ok(), "asked before the other was answered");
        assert!(matches!(guard.answered(7, 104, guard.highest()), Err(Error::RestoredBackup(how)) if how.found == 104));
        assert!(guard.check().is_err() && guard.answered(7, 200, 0).is_err());
        assert!(guard.apply_verdict(store(1, 8, 50), Verdict::Adopted).is_ok());
        assert!(guard.check().is_ok() && guard.highest() == 50);
        assert!(guard.starts_over() && !guard.starts_over());
        assert!(guard.answered(7, 60, 50).is_err(), "the old cluster");
    }
}
