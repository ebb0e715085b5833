//! What the agent has been asked, how it went, and what is still to be said: it outlives every connection.

use std::collections::VecDeque;

use domain::{failure::Failure, timeline::Entry};
use proto::agent::v1::{self as wire, work_request::News, work_response::Instruction};

use crate::job::Job;

/// Entries that wait for a connection; then the oldest give way.
const MOST: usize = 64;

/// One boot's work.
#[derive(Debug, Default)]
pub(crate) struct Shift {
    stage: Stage,
    unsaid: VecDeque<Entry>,
}

#[derive(Debug, Default)]
enum Stage {
    /// Nothing was asked yet.
    #[default]
    Idle,
    /// At work.
    Busy,
    /// Done, or given up; not stored by the mesh as far as we know.
    Over {
        outcome: Result<(), Failure>,
        /// On this connection, lately enough.
        said: bool,
    },
    /// The mesh has stored the outcome.
    Resting,
}

impl Shift {
    /// The mesh says something. What is to be begun now, where something is: an instruction that is repeated, on a new
    /// connection, is the one that is being followed.
    pub(crate) fn instruct(&mut self, instruction: Instruction) -> Option<Job> {
        let job = match instruction {
            Instruction::Write(write) => Job::Write(write),
            Instruction::Wipe(wire::Wipe {}) => Job::Wipe,
            Instruction::Inspect(wire::Inspect {}) => Job::Inspect,
            Instruction::Rest(_) => {
                // Said before there was an outcome, it means that nothing is wanted.
                self.stage = Stage::Resting;
                return None;
            }
        };
        if !matches!(self.stage, Stage::Idle) {
            return None;
        }
        self.stage = Stage::Busy;
        Some(job)
    }

    /// Something for the timeline.
    pub(crate) fn note(&mut self, entry: Entry) {
        if self.unsaid.len() >= MOST {
            self.unsaid.pop_front();
        }
        self.unsaid.push_back(entry);
    }

    /// The work ended.
    pub(crate) fn over(&mut self, outcome: Result<(), Failure>) {
        if matches!(self.stage, Stage::Busy) {
            self.stage = Stage::Over { outcome, said: false };
        }
    }

    /// What was said may not have been heard: the outcome is to be said again.
    pub(crate) fn repeat(&mut self) {
        if let Stage::Over { said, .. } = &mut self.stage {
            *said = false;
        }
    }

    /// The next thing to say; `None` where a heartbeat says it all.
    pub(crate) fn poll(&mut self) -> Option<News> {
        if let Some(entry) = self.unsaid.pop_front() {
            return Some(News::Entry(entry.into()));
        }
        match &mut self.stage {
            Stage::Over { outcome, said } if !*said => {
                *said = true;
                Some(match outcome {
                    Ok(()) => News::Finished(wire::work_request::Finished {}),
                    Err(failure) => News::Failed(failure.clone().into()),
                })
            }
            Stage::Idle | Stage::Busy | Stage::Over { .. } | Stage::Resting => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        failure::Cause,
        time::Timestamp,
        timeline::{Amount, Mark},
    };

    use super::*;

    fn entry(done: u64) -> Entry {
        let amount = Some(Amount { done, total: 0 });
        Entry {
            at: Timestamp::from_millis(0),
            by: String::new(),
            mark: Mark::ImageProgress,
            subject: String::new(),
            amount,
        }
    }

    fn rest() -> Instruction {
        Instruction::Rest(wire::work_response::Rest {})
    }

    const WIPE: Instruction = Instruction::Wipe(wire::Wipe {});

    #[test]
    fn an_outcome_is_repeated_until_the_mesh_has_stored_it() {
        let mut shift = Shift::default();
        assert_eq!(shift.poll(), None);
        assert_eq!(shift.instruct(WIPE), Some(Job::Wipe));
        shift.note(entry(1));
        let failure = Failure { cause: Cause::DiskError, text: String::new(), at: Timestamp::from_millis(0) };
        shift.over(Err(failure));
        assert!(matches!(shift.poll(), Some(News::Entry(_))));
        for _ in 0..3 {
            assert!(matches!(shift.poll(), Some(News::Failed(_))));
            assert_eq!(shift.poll(), None);
            shift.repeat();
        }
        assert_eq!(shift.instruct(rest()), None);
        shift.repeat();
        assert_eq!(shift.poll(), None);
    }

    #[test]
    fn an_instruction_that_comes_again_is_not_begun_again() {
        let mut shift = Shift::default();
        assert!(shift.instruct(WIPE).is_some());
        assert!(shift.instruct(WIPE).is_none());
        shift.over(Ok(()));
        assert!(shift.instruct(WIPE).is_none());
        assert!(matches!(shift.poll(), Some(News::Finished(_))));
        shift.instruct(rest());
        assert!(shift.instruct(WIPE).is_none(), "a boot does one thing");
    }

    #[test]
    fn an_agent_that_is_cut_off_keeps_its_latest_news_and_no_more() {
        let mut shift = Shift::default();
        for done in 0..1000 {
            shift.note(entry(done));
        }
        let said: Vec<_> = std::iter::from_fn(|| shift.poll()).collect();
        assert_eq!(said.len(), MOST);
        assert_eq!(said.last(), Some(&News::Entry(entry(999).into())));
    }
}
