//! Progress of power instructions.

use domain::{generation::Generation, plan::Progress, power::PowerTarget};
use keyspace::value::PowerSeen;

use super::Record;

/// Returns the progress of a generation's power instruction, from the last observation.
pub fn settled(power: Option<&PowerSeen>, generation: Generation) -> Progress {
    match power.and_then(|power| power.settled_in(generation)) {
        None => Progress::Unknown,
        Some(settled) => settled.failure.clone().map_or(Progress::Done(settled.at), Progress::Failed),
    }
}

/// Returns the progress of a generation's power instruction.
pub fn power_target(record: &Record, generation: Generation) -> Progress {
    settled(record.power.as_ref(), generation)
}

/// Returns the requested power state if it is not reached and no operation runs.
pub fn wants_power(record: &Record) -> Option<PowerTarget> {
    let target = record.intent.value.power?;
    let settled = power_target(record, record.life.value.generation);
    (!record.life.value.state.is_busy() && matches!(settled, Progress::Unknown)).then_some(target)
}
