//! Every metric of the scheduler-service.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;

const PASSES: &str = "scheduler_passes_total";
const FOUND_LATE: &str = "scheduler_found_late_total";
const STEPS: &str = "scheduler_steps_total";
const EVERYWHERE: &str = "scheduler_everywhere_seconds";
const RECEIVERS: &str = "scheduler_webhook_events_total";
const EFFECT: &str = "scheduler_effect_seconds";

pub fn describe() {
    describe_counter!(PASSES, "Passes over nodes");
    describe_counter!(FOUND_LATE, "Work that the slow timer found and the watch had missed: a bug of ours");
    describe_counter!(STEPS, "Moves of nodes' lives, by what moved them");
    describe_counter!(RECEIVERS, "Events of webhooks, by whether their receiver took them");
    describe_histogram!(
        EVERYWHERE,
        Unit::Seconds,
        "From a change in the store to its being readable through every replica"
    );
    describe_histogram!(EFFECT, Unit::Seconds, "One act on the outside");
}

pub fn pass() {
    counter!(PASSES).increment(1);
}

pub fn found_late() {
    counter!(FOUND_LATE).increment(1);
}

pub fn step(event: &'static str) {
    counter!(STEPS, "event" => event).increment(1);
}

pub fn told_receiver() {
    counter!(RECEIVERS, "outcome" => "taken").increment(1);
}

pub fn not_told_receiver() {
    counter!(RECEIVERS, "outcome" => "not taken").increment(1);
}

pub fn everywhere(since: Instant) {
    histogram!(EVERYWHERE).record(since.elapsed().as_secs_f64());
}

pub fn effect(since: Instant) {
    histogram!(EFFECT).record(since.elapsed().as_secs_f64());
}
