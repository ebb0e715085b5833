//! Wall-clock time. All code that needs it reads it here.

use domain::time::Timestamp;

/// Returns the current time, in milliseconds since the Unix epoch.
#[must_use]
#[expect(clippy::disallowed_types, reason = "the one place that reads the system clock")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
