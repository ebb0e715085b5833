//! Wall time: everybody who needs it comes through here.

use domain::time::Timestamp;

/// The time now.
#[must_use]
#[expect(clippy::disallowed_types, reason = "this is the one door")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
