//! Instruction versions, failures and timelines.

use domain::{
    failure::{Cause, Failure},
    generation::{Generation, Incarnation, InstructionVersion, Token},
    timeline::{Amount, Entry, Mark},
};

use super::{
    Invalid, required,
    time::{time, wire_time},
};
use crate::common::v1 as wire;

impl From<InstructionVersion> for wire::InstructionVersion {
    fn from(version: InstructionVersion) -> Self {
        let incarnation = version.token.incarnation().number();
        Self { token: version.token.revision(), generation: version.generation.number(), incarnation }
    }
}

impl From<wire::InstructionVersion> for InstructionVersion {
    fn from(version: wire::InstructionVersion) -> Self {
        let token = Token::new(Incarnation::from_number(version.incarnation), version.token);
        Self { token, generation: Generation::from_number(version.generation) }
    }
}

impl From<Entry> for wire::TimelineEntry {
    fn from(entry: Entry) -> Self {
        Self {
            observe_time: Some(wire_time(entry.at)),
            by: entry.by,
            mark: entry.mark.word().to_owned(),
            subject: entry.subject,
            amount: entry.amount.map(|amount| wire::Amount { done: amount.done, total: amount.total }),
        }
    }
}

impl TryFrom<wire::TimelineEntry> for Entry {
    type Error = Invalid;
    fn try_from(entry: wire::TimelineEntry) -> Result<Self, Invalid> {
        Ok(Self {
            at: time("observe_time", required("observe_time", entry.observe_time)?)?,
            by: entry.by,
            mark: Mark::ALL
                .iter()
                .copied()
                .find(|mark| mark.word() == entry.mark)
                .ok_or_else(|| unknown("mark", &entry.mark))?,
            subject: entry.subject,
            amount: entry.amount.map(|amount| Amount { done: amount.done, total: amount.total }),
        })
    }
}

impl From<Failure> for wire::Failure {
    fn from(failure: Failure) -> Self {
        Self { cause: failure.cause.word().to_owned(), text: failure.text, occur_time: Some(wire_time(failure.at)) }
    }
}

impl TryFrom<wire::Failure> for Failure {
    type Error = Invalid;
    fn try_from(failure: wire::Failure) -> Result<Self, Invalid> {
        Ok(Self {
            cause: Cause::ALL
                .iter()
                .copied()
                .find(|cause| cause.word() == failure.cause)
                .ok_or_else(|| unknown("cause", &failure.cause))?,
            text: failure.text,
            at: time("occur_time", required("occur_time", failure.occur_time)?)?,
        })
    }
}

fn unknown(field: &'static str, word: &str) -> Invalid {
    Invalid::wrong(field, format!("{word:?} is unknown"))
}
