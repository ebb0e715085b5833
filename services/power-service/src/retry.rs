//! Decides whether a failed request to a BMC is repeated. Pure.
//!
//! This is the only such decision for IPMI and Redfish, for reads, commands, logins, verifications and polls. "Later" is
//! not "no": a BMC that is busy, starting or confused is asked again until the deadline of what was asked of us. Only a
//! refusal that repeating cannot change is final. Wrong credentials are not tried again, because BMCs lock accounts: a login
//! sends a wrong password once, or, with `redfish_auth_type: auto`, at most twice, to open a session and by basic
//! authentication. After that polls send it no more until the record changes or a user's request has succeeded.
//!
//! A read may be repeated freely. A command that may have been carried out is repeated only after the power was read
//! again (services/mesh/OWNERSHIP.md); that is up to `work`.

use std::time::Duration;

use wire_ipmi::Meaning;

/// The first delay before a request is repeated. Each further one is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(5);
/// The shortest delay before a new session is opened: a BMC has few sessions, and a login costs it a second.
const MIN_SESSION_DELAY: Duration = Duration::from_secs(1);
/// Number of times in a row that a doubtful refusal is heard until it is believed.
const MAX_DOUBTS: u32 = 3;

/// What a failure says about asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The BMC answered, and may answer differently later.
    Later,
    /// The session or the connection is of no use any more; a new one may be.
    NewSession,
    /// It is final if it is heard again.
    Doubtful,
    /// It is final.
    Final,
    /// The credentials are wrong. They are not tried again before they change, or a user asks for it.
    WrongCredentials,
}

impl Verdict {
    /// Whether a later request may succeed.
    pub(crate) const fn may_pass(self) -> bool {
        match self {
            Self::Later | Self::NewSession | Self::Doubtful => true,
            Self::Final | Self::WrongCredentials => false,
        }
    }

    /// Verdict on an answer by IPMI (IPMI 2.0 Tables 5-2 and 13-15).
    pub(crate) const fn of_ipmi(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Done | Meaning::NotNow | Meaning::Unclear => Self::Later,
            // Seen once right after the login, and as an answer of busy BMCs.
            Meaning::NoPrivilege | Meaning::Undefined => Self::Doubtful,
            Meaning::WrongCredentials => Self::WrongCredentials,
            Meaning::Never => Self::Final,
        }
    }

    /// Verdict on a status of HTTP that is no success (RFC 9110 §15, RFC 6585, RFC 4918; DSP0266 §8.5). An unknown status
    /// is treated as the x00 of its class (RFC 9110 §15).
    pub(crate) const fn of_http(status: u16) -> Self {
        match status {
            401 => Self::WrongCredentials,
            // Request timeout; conflict with the present state; changed since it was read; locked; too early; If-Match
            // required; too many requests.
            408 | 409 | 412 | 423 | 425 | 428 | 429 => Self::Later,
            // Not implemented; version of HTTP; authentication to the network is required.
            501 | 505 | 511 => Self::Final,
            // Services answer 500 while they start.
            500..=599 => Self::Later,
            _ => Self::Final,
        }
    }
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask again in the same session, after the delay.
    Ask(Duration),
    /// Open a new session and ask again, after the delay.
    Login(Duration),
    /// Report the failure as final.
    Fail,
    /// Report the failure: the time is over.
    GiveUp,
}

/// The repeats of one instruction or query.
#[derive(Debug, Clone)]
pub(crate) struct Retries {
    /// How long requests are repeated.
    budget: Duration,
    failures: u32,
    doubts: u32,
}

impl Retries {
    /// Starts without a failure.
    pub(crate) const fn new(budget: Duration) -> Self {
        Self { budget, failures: 0, doubts: 0 }
    }

    /// Records a success: delays start anew.
    pub(crate) const fn succeeded(&mut self) {
        self.failures = 0;
        self.doubts = 0;
    }

    /// Returns what to do after a failure, `elapsed` after the start. The last repeat is made when the time is over.
    pub(crate) fn next(&mut self, elapsed: Duration, verdict: Verdict) -> Next {
        self.failures = self.failures.saturating_add(1);
        self.doubts = if verdict == Verdict::Doubtful { self.doubts.saturating_add(1) } else { 0 };
        let left = self.budget.saturating_sub(elapsed);
        let doubled = FIRST_DELAY.saturating_mul(1 << self.failures.saturating_sub(1).min(8));
        let delay = doubled.min(MAX_DELAY);
        match verdict {
            Verdict::Final | Verdict::WrongCredentials => Next::Fail,
            Verdict::Doubtful if self.doubts >= MAX_DOUBTS => Next::Fail,
            Verdict::Later | Verdict::NewSession | Verdict::Doubtful if left.is_zero() => Next::GiveUp,
            Verdict::Later | Verdict::Doubtful => Next::Ask(delay.min(left)),
            Verdict::NewSession => Next::Login(delay.max(MIN_SESSION_DELAY).min(left)),
        }
    }
}

#[cfg(test)]
mod tests;
