//! Logs why a DHCP message is not answered.

use std::{collections::HashMap, fmt::Display, time::Duration};

use tokio::time::Instant;

/// How often the same reason is logged; machines repeat their requests every few seconds.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of reasons that are logged in an interval. A flood of forged messages only increments the metric.
const MAX_REASONS: usize = 64;

/// The reasons that were logged recently.
#[derive(Debug, Default)]
pub(crate) struct UnansweredLog {
    recent: HashMap<String, Instant>,
}

impl UnansweredLog {
    /// Logs why the message of this client is not answered, unless the same was logged recently.
    pub(crate) fn log(&mut self, client: &dyn Display, reason: &dyn Display) {
        if self.is_new(format!("{client}: {reason}"), Instant::now()) {
            tracing::info!(%client, %reason, "DHCP message not answered");
        }
    }

    fn is_new(&mut self, text: String, now: Instant) -> bool {
        self.recent.retain(|_, at| now.duration_since(*at) < LOG_INTERVAL);
        if self.recent.contains_key(&text) || self.recent.len() >= MAX_REASONS {
            return false;
        }
        self.recent.insert(text, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_once_in_an_interval_and_a_flood_is_not_logged() {
        let (mut log, now) = (UnansweredLog::default(), Instant::now());
        assert!(log.is_new("a".to_owned(), now));
        assert!(!log.is_new("a".to_owned(), now + LOG_INTERVAL / 2));
        assert!(log.is_new("a".to_owned(), now + LOG_INTERVAL));
        let logged = (0..1000).filter(|number| log.is_new(number.to_string(), now + LOG_INTERVAL)).count();
        assert_eq!(logged, MAX_REASONS - 1);
        assert!(log.is_new("a".to_owned(), now + LOG_INTERVAL * 2));
    }
}
