//! Metrics of the power-service.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;

/// Completed instructions, by result.
const INSTRUCTIONS: &str = "power_instructions_total";
/// Duration of a BMC command, in seconds.
const COMMAND: &str = "power_command_seconds";

/// Polls of idle nodes, by result.
const POLLS: &str = "power_looks_total";

pub(crate) fn describe() {
    describe_counter!(POLLS, "Power polls of idle nodes, by result");
    describe_counter!(INSTRUCTIONS, "Completed instructions, by result");
    describe_histogram!(COMMAND, Unit::Seconds, "Duration of a BMC command");
}

pub(crate) fn instruction(ended: &'static str) {
    counter!(INSTRUCTIONS, "ended" => ended).increment(1);
}

pub(crate) fn command(since: Instant) {
    histogram!(COMMAND).record(since.elapsed().as_secs_f64());
}

pub(crate) fn power_poll(ended: &'static str) {
    counter!(POLLS, "ended" => ended).increment(1);
}
