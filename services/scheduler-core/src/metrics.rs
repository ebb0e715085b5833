//! Every metric of the scheduler-service.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;

const PASSES: &str = "scheduler_passes_total";
const FOUND_LATE: &str = "scheduler_found_late_total";
const STEPS: &str = "scheduler_steps_total";
const EVERYWHERE: &str = "scheduler_everywhere_seconds";
const RECEIVERS: &str = "scheduler_webhook_events_total";
const EFFECT: &str = "scheduler_effect_seconds";

/// Registers the descriptions of all metrics.
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

/// Counts a reconcile pass.
pub fn pass() {
    counter!(PASSES).increment(1);
}

/// Counts work that the timer found and the watch had missed.
pub fn found_late() {
    counter!(FOUND_LATE).increment(1);
}

/// Counts a state transition, by its event.
pub fn step(event: &'static str) {
    counter!(STEPS, "event" => event).increment(1);
}

/// Counts a delivered webhook event.
pub fn webhook_event_delivered() {
    counter!(RECEIVERS, "outcome" => "taken").increment(1);
}

/// Counts a failed delivery of a webhook event.
pub fn webhook_event_failed() {
    counter!(RECEIVERS, "outcome" => "not taken").increment(1);
}

/// Records the time from a stored change until every replica has applied it.
pub fn everywhere(since: Instant) {
    histogram!(EVERYWHERE).record(since.elapsed().as_secs_f64());
}

/// Records the duration of an external act.
pub fn effect(since: Instant) {
    histogram!(EFFECT).record(since.elapsed().as_secs_f64());
}
