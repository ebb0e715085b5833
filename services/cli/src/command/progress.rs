//! Progress bars, and the words that say how far a node has come.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use proto::api::v1::NodeObserved;

use crate::{human::clean, timeline_chart};

/// Interval at which a spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// Styles a bar and starts its spinner.
pub(super) fn turning(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TURN);
    bar
}

/// Progress of the image in percent; `None` if it is not being transferred.
pub(super) fn per_cent(observed: &NodeObserved) -> Option<u64> {
    let amount = observed.last_entry.as_ref()?.amount?;
    (amount.total > 0).then(|| amount.done.saturating_mul(100) / amount.total)
}

/// Describes a node's state, its last timeline entry with progress, and what it waits for.
pub(super) fn standing(observed: &NodeObserved, how_far: &str) -> String {
    let mut words = observed.state.clone();
    if let Some(entry) = &observed.last_entry {
        words.push_str(&format!("; {}{how_far}", timeline_chart::what(entry)));
    }
    if let Some(waiting) = &observed.waiting {
        words.push_str(&format!("; waits for {}", waiting.thing));
    }
    if !observed.diagnosis.is_empty() {
        words.push_str(&format!("; {}", observed.diagnosis));
    }
    clean(&words)
}
