//! How far a node's power is from what was asked for.

use domain::{generation::Generation, plan::Progress, power::PowerTarget};
use keyspace::value::PowerSeen;

use super::Record;

/// Progress of the power instruction of a generation, by what was last seen of the node's power.
pub fn settled(power: Option<&PowerSeen>, generation: Generation) -> Progress {
    let settled = power.and_then(|power| power.settled.as_ref());
    match settled.filter(|settled| settled.generation == generation) {
        None => Progress::Unknown,
        Some(settled) => settled.failure.clone().map_or(Progress::Done(settled.at), Progress::Failed),
    }
}

/// Progress of the power instruction of a generation.
pub fn power_target(record: &Record, generation: Generation) -> Progress {
    settled(record.power.as_ref(), generation)
}

/// The power that a client asked for and that is not reached, of a node without a running operation.
pub fn wants_power(record: &Record) -> Option<PowerTarget> {
    let target = record.intent.value.power?;
    let settled = power_target(record, record.life.value.generation);
    (!record.life.value.state.is_busy() && matches!(settled, Progress::Unknown)).then_some(target)
}
