//! Every metric of the power-service.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;

use crate::poll::Look;

/// How an instruction ended.
const INSTRUCTIONS: &str = "power_instructions_total";
/// How long a BMC took for one command.
const COMMAND: &str = "power_command_seconds";

/// Looks at power that nobody asked for, by what came of them.
const LOOKS: &str = "power_looks_total";

pub(crate) fn describe() {
    describe_counter!(LOOKS, "Regular looks at a node's power, by what came of them");
    describe_counter!(INSTRUCTIONS, "Instructions, by how they ended");
    describe_histogram!(COMMAND, Unit::Seconds, "A BMC's answer to one command");
}

pub(crate) fn instruction(ended: &'static str) {
    counter!(INSTRUCTIONS, "ended" => ended).increment(1);
}

pub(crate) fn command(since: Instant) {
    histogram!(COMMAND).record(since.elapsed().as_secs_f64());
}

pub(crate) fn look(look: Look) {
    let ended = match look {
        Look::Answered => "answered",
        Look::Silent => "silent",
        Look::Refused => "refused",
    };
    counter!(LOOKS, "ended" => ended).increment(1);
}
