//! How long certificates are valid, and when they are renewed.

use std::time::Duration;

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Number of days for which a certificate of a service or an operator is valid, unless less is asked for. It is also the
/// maximum.
pub const LIFETIME_DAYS: u16 = 90;
/// Number of days for which the certificate of a CA is valid: ten years.
pub(super) const CA_LIFETIME_DAYS: u16 = 3650;
/// How much earlier than now a certificate becomes valid: clocks of hosts differ.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// A service reports a certificate that is not valid for longer than this: renewal must have failed for weeks.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// From when until when a certificate is valid, both inclusive (RFC 5280 §4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// The first moment.
    pub not_before: Timestamp,
    /// The last moment.
    pub not_after: Timestamp,
}

/// Whether a certificate has to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Not yet.
    No,
    /// Two thirds of its life are over, it is not valid yet, or it would be valid for longer than allowed.
    Renewal,
    /// It is not valid any more.
    Expired,
}

/// Decides whether a certificate has to be renewed.
#[must_use]
pub fn due(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> Due {
    let (life, over) = (not_after.since(not_before), now.since(not_before));
    if now > not_after {
        Due::Expired
    } else if now < not_before || life > DAY * u32::from(LIFETIME_DAYS) + BACKDATE || over * 3 >= life * 2 {
        Due::Renewal
    } else {
        Due::No
    }
}

impl Validity {
    /// The validity of a certificate that is issued now for a number of days.
    #[must_use]
    pub fn starting(now: Timestamp, days: u16) -> Self {
        let backdate = i64::try_from(BACKDATE.as_millis()).unwrap_or(0);
        let not_before = Timestamp::from_millis(now.millis().saturating_sub(backdate));
        Self { not_before, not_after: now.plus(DAY * u32::from(days)) }
    }

    /// Decides whether the certificate has to be renewed.
    #[must_use]
    pub fn due(self, now: Timestamp) -> Due {
        due(self.not_before, self.not_after, now)
    }

    /// Returns how long the certificate is still valid; zero if it has expired.
    #[must_use]
    pub fn left(self, now: Timestamp) -> Duration {
        self.not_after.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: f64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000).plus(Duration::from_secs_f64(days * 86_400.0))
    }

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
        // First and last day, the day that it is now, and the decision.
        for (from, until, now, decision) in [
            (0.0, 90.0, 0.0, Due::No),
            (0.0, 90.0, 59.99, Due::No),
            (0.0, 90.0, 60.0, Due::Renewal),
            (0.0, 90.0, 89.0, Due::Renewal),
            (0.0, 90.0, 90.0, Due::Renewal),
            (0.0, 90.0, 90.01, Due::Expired),
            (0.0, 90.0, 4000.0, Due::Expired),
            // A short one.
            (0.0, 3.0, 1.9, Due::No),
            (0.0, 3.0, 2.0, Due::Renewal),
            // The clock was set back, or is wrong.
            (10.0, 100.0, 5.0, Due::Renewal),
            // Issued by an earlier release, which used rcgen's default, the year 4096.
            (0.0, 750_000.0, 1.0, Due::Renewal),
            (0.0, 365.0, 1.0, Due::Renewal),
            // Nonsense: it ends before it begins, or has no life.
            (5.0, 4.0, 4.5, Due::Expired),
            (5.0, 5.0, 5.0, Due::Renewal),
        ] {
            assert_eq!(due(at(from), at(until), at(now)), decision, "{from} to {until}, now {now}");
        }
    }

    #[test]
    fn a_new_certificate_is_valid_on_hosts_whose_clocks_are_minutes_late_and_is_not_due() {
        for days in [1, 2, 30, 60, 89, LIFETIME_DAYS] {
            let validity = Validity::starting(at(0.0), days);
            assert_eq!(validity.not_before.plus(BACKDATE), at(0.0), "{days}");
            assert_eq!((validity.not_after, validity.due(at(0.0))), (at(f64::from(days)), Due::No), "{days}");
            assert_eq!(validity.left(at(0.5)), DAY * u32::from(days) - DAY / 2);
            assert_eq!(validity.left(at(500.0)), Duration::ZERO);
        }
    }
}
