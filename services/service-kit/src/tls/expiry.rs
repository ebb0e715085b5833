//! What a service says of the end of its own certificate.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use domain::time::Timestamp;
use tokio::time::Instant;

use super::{CertificateFacts, EXPIRY_WARNING, Validity};

/// Interval of log messages about a certificate that expires.
const REMINDER_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How bad it is that a certificate ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It is valid, for less than [`EXPIRY_WARNING`].
    Soon,
    /// It is not valid: every handshake with it fails.
    Now,
}

/// Says that a certificate ends, and what to do. Its text is for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiryReport {
    /// How bad it is.
    pub urgency: Urgency,
    certificate: PathBuf,
    /// Its name for `ironmesh certificate renew`.
    name: String,
    validity: Validity,
    at: Timestamp,
}

impl ExpiryReport {
    /// Returns the report on a certificate; `None` if there is nothing to say.
    #[must_use]
    pub fn of(certificate: &Path, facts: &CertificateFacts, now: Timestamp) -> Option<Self> {
        let validity = facts.validity;
        let urgency = if now > validity.not_after || now < validity.not_before {
            Urgency::Now
        } else if validity.left(now) < EXPIRY_WARNING {
            Urgency::Soon
        } else {
            return None;
        };
        let name = name_of(certificate, facts);
        Some(Self { urgency, certificate: certificate.to_owned(), name, validity, at: now })
    }

    pub(super) fn log(&self) {
        match self.urgency {
            Urgency::Soon => tracing::warn!("{self}"),
            Urgency::Now => tracing::error!("{self}"),
        }
    }
}

/// Returns the name by which the CA knows a certificate: that of its file differs on another host.
fn name_of(certificate: &Path, facts: &CertificateFacts) -> String {
    let identity = facts.identity.as_ref().map(|identity| identity.uri(&facts.realm));
    let file = || certificate.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    identity.or_else(|| facts.common_name.clone()).unwrap_or_else(file)
}

impl fmt::Display for ExpiryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, Validity { not_before, not_after }) = (self.certificate.display(), self.validity);
        if self.at < not_before {
            return write!(f, "certificate {shown} is not valid before {not_before}: check the clock of this host");
        }
        match self.urgency {
            Urgency::Soon => write!(f, "certificate {shown} expires at {not_after}")?,
            Urgency::Now => write!(f, "certificate {shown} has expired at {not_after}")?,
        }
        let name = &self.name;
        write!(
            f,
            ": ironmesh up renews it if it runs with the CA; otherwise run ironmesh certificate renew {name} --data DIR, or \
             replace the file and its key (no restart is needed)"
        )
    }
}

/// Decides when to repeat a log message.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    last: Option<Instant>,
}

impl Reminder {
    /// Returns whether it is time, and notes that.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= REMINDER_INTERVAL);
        if is_due {
            self.last = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Identity;

    fn facts(validity: Validity) -> CertificateFacts {
        let serial = "01".parse().unwrap();
        CertificateFacts {
            serial,
            validity,
            identity: None,
            realm: crate::tls::Realm::default(),
            common_name: None,
            hosts: Vec::new(),
        }
    }

    #[test]
    fn a_certificate_is_named_as_its_ca_knows_it() {
        let validity = Validity { not_before: Timestamp::default(), not_after: Timestamp::default() };
        let identity = Identity::admin("ann");
        for (identity, common_name, name) in [
            (Some(&identity), None, identity.uri(&crate::tls::Realm::default())),
            (None, Some("power-service.r1"), "power-service.r1".to_owned()),
            (None, None, "cert".to_owned()),
        ] {
            let common_name = common_name.map(str::to_owned);
            let facts = CertificateFacts { identity: identity.cloned(), common_name, ..facts(validity) };
            assert_eq!(name_of(Path::new("/etc/ironmesh/cert.pem"), &facts), name);
        }
    }

    #[test]
    fn a_certificate_that_ends_soon_or_is_not_valid_is_reported_with_what_to_do() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let hours = |hours: i64| Timestamp::from_millis(now.millis() + hours * 3_600_000);
        // Hours from now to its begin and its end; how bad that is, and what the text has.
        for (from, until, expected) in [
            (-1, 90 * 24, None),
            (-1, 7 * 24, None),
            (-1, 7 * 24 - 1, Some((Urgency::Soon, "expires at"))),
            (-1, 1, Some((Urgency::Soon, "ironmesh certificate renew power-service.r1 --data"))),
            (-1, 0, Some((Urgency::Soon, "no restart"))),
            (-48, -1, Some((Urgency::Now, "has expired at"))),
            (1, 90 * 24, Some((Urgency::Now, "check the clock"))),
        ] {
            let validity = Validity { not_before: hours(from), not_after: hours(until) };
            let facts = CertificateFacts { common_name: Some("power-service.r1".to_owned()), ..facts(validity) };
            let report = ExpiryReport::of(Path::new("/certs/cert.pem"), &facts, now);
            assert_eq!(report.as_ref().map(|report| report.urgency), expected.map(|(urgency, _)| urgency), "{until}");
            if let (Some(report), Some((_, words))) = (report, expected) {
                assert!(report.to_string().contains(words), "{report}");
            }
        }
    }
}
