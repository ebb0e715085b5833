//! The instruction of this boot, its result, and the events to send. It outlives connections.

use std::collections::VecDeque;

use domain::{failure::Failure, timeline::Entry};
use proto::agent::v1::{self as wire, work_request::News, work_response::Instruction};

use crate::job::Job;

/// Maximum number of queued timeline entries; the oldest are dropped.
const MAX_ENTRIES: usize = 64;

/// The work of one boot.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    stage: Stage,
    entries: VecDeque<Entry>,
}

#[derive(Debug, Default)]
enum Stage {
    /// No instruction was received.
    #[default]
    Idle,
    /// The work is running.
    Busy,
    /// The work ended, and the mesh has not confirmed that it stored the result.
    Ended {
        outcome: Result<(), Failure>,
        /// Whether the result was sent recently on this connection.
        sent: bool,
    },
    /// The mesh has stored the result.
    Resting,
}

impl Outbox {
    /// Handles an instruction of the mesh. Returns the job to start, or `None` if the instruction is a repetition.
    pub(crate) fn instruct(&mut self, instruction: Instruction) -> Option<Job> {
        let job = match instruction {
            Instruction::Write(write) => Job::Write(Box::new(write)),
            Instruction::Wipe(wipe) => Job::Wipe(wipe),
            Instruction::Inspect(wire::Inspect {}) => Job::Inspect,
            Instruction::Rest(_) => {
                // Without a result it means that there is no work.
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

    /// Queues an entry for the timeline.
    pub(crate) fn note(&mut self, entry: Entry) {
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Records the result of the work.
    pub(crate) fn finish(&mut self, outcome: Result<(), Failure>) {
        if matches!(self.stage, Stage::Busy) {
            self.stage = Stage::Ended { outcome, sent: false };
        }
    }

    /// Marks the result as not sent, since it may have been lost.
    pub(crate) fn repeat(&mut self) {
        if let Stage::Ended { sent, .. } = &mut self.stage {
            *sent = false;
        }
    }

    /// Returns the next event to send. `None` if there is none but a heartbeat.
    pub(crate) fn poll(&mut self) -> Option<News> {
        if let Some(entry) = self.entries.pop_front() {
            return Some(News::Entry(entry.into()));
        }
        match &mut self.stage {
            Stage::Ended { outcome, sent } if !*sent => {
                *sent = true;
                Some(match outcome {
                    Ok(()) => News::Finished(wire::work_request::Finished {}),
                    Err(failure) => News::Failed(failure.clone().into()),
                })
            }
            Stage::Idle | Stage::Busy | Stage::Ended { .. } | Stage::Resting => None,
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

    const WIPE: Instruction = Instruction::Wipe(wire::Wipe { skipped_disks: Vec::new() });

    #[test]
    fn an_outcome_is_repeated_until_the_mesh_has_stored_it() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.poll(), None);
        assert_eq!(outbox.instruct(WIPE), Some(Job::Wipe(wire::Wipe::default())));
        outbox.note(entry(1));
        let failure = Failure { cause: Cause::DiskError, text: String::new(), at: Timestamp::from_millis(0) };
        outbox.finish(Err(failure));
        assert!(matches!(outbox.poll(), Some(News::Entry(_))));
        for _ in 0..3 {
            assert!(matches!(outbox.poll(), Some(News::Failed(_))));
            assert_eq!(outbox.poll(), None);
            outbox.repeat();
        }
        assert_eq!(outbox.instruct(rest()), None);
        outbox.repeat();
        assert_eq!(outbox.poll(), None);
    }

    #[test]
    fn an_instruction_that_comes_again_is_not_begun_again() {
        let mut outbox = Outbox::default();
        assert!(outbox.instruct(WIPE).is_some());
        assert!(outbox.instruct(WIPE).is_none());
        outbox.finish(Ok(()));
        assert!(outbox.instruct(WIPE).is_none());
        assert!(matches!(outbox.poll(), Some(News::Finished(_))));
        outbox.instruct(rest());
        assert!(outbox.instruct(WIPE).is_none(), "a boot has one job");
    }

    #[test]
    fn an_agent_that_is_cut_off_keeps_its_latest_news_and_no_more() {
        let mut outbox = Outbox::default();
        for done in 0..1000 {
            outbox.note(entry(done));
        }
        let sent: Vec<_> = std::iter::from_fn(|| outbox.poll()).collect();
        assert_eq!(sent.len(), MAX_ENTRIES);
        assert_eq!(sent.last(), Some(&News::Entry(entry(999).into())));
    }
}
