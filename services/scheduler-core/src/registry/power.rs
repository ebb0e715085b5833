//! Progress of power instructions.

use domain::{failure::Failure, generation::Generation, plan::Progress, power::PowerTarget};
use keyspace::value::{Life, PowerSeen};

use super::Record;

/// Returns the progress of a generation's power instruction, from the last observation.
pub fn settled(power: Option<&PowerSeen>, generation: Generation) -> Progress {
    match power.and_then(|power| power.settled_in(generation)) {
        None => Progress::Unknown,
        Some(settled) => settled.failure.clone().map_or(Progress::Done(settled.at), Progress::Failed),
    }
}

/// Returns the last failure of a node that was not corrected since. While an operation runs, its own outcome counts and not
/// the regular polls of the BMC. Ironic's `last_error`, which the REST API renders, leaves the polls out altogether.
pub(crate) fn last_failure<'a>(life: &'a Life, power: Option<&'a PowerSeen>) -> Option<&'a Failure> {
    let trouble = || power?.trouble.as_ref().filter(|_| !life.state.is_busy());
    life.failure.as_ref().or_else(|| power_failure(life, power)).or_else(trouble)
}

/// Returns the failure of the last requested power state, if it was not corrected since.
pub(crate) fn power_failure<'a>(life: &Life, power: Option<&'a PowerSeen>) -> Option<&'a Failure> {
    power?.settled_in(life.generation)?.failure.as_ref()
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
