//! `ironmesh certificate list`.

use domain::time::Timestamp;
use serde_json::{Value, json};
use service_kit::tls::Due;

use super::ledger::{Entry, Ledger};
use crate::store::columns;

/// State of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Valid,
    Due,
    Expired,
    Revoked,
}

impl State {
    /// A certificate in whose place there is another one is not due.
    fn of(entry: &Entry, is_replaced: bool, now: Timestamp) -> Self {
        match (entry.revoked, entry.validity.due(now)) {
            (Some(_), _) => Self::Revoked,
            (None, Due::Expired) => Self::Expired,
            (None, Due::Renewal) if !is_replaced => Self::Due,
            (None, Due::Renewal | Due::No) => Self::Valid,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Due => "due",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Digits of the serial number in the table. They suffice to name a certificate.
const SHOWN_DIGITS: usize = 16;

/// The table for people.
pub(super) fn table(ledger: &Ledger, now: Timestamp) -> String {
    let row = |entry: &Entry| {
        let is_replaced = ledger.is_replaced(entry);
        let state = State::of(entry, is_replaced, now).word();
        let state = if is_replaced { format!("{state}, replaced") } else { state.to_owned() };
        let expires = entry.validity.not_after.to_string();
        vec![
            entry.name.clone(),
            entry.subject.purpose().to_owned(),
            state,
            expires.get(..10).unwrap_or_default().to_owned(),
            entry.serial.to_string().chars().take(SHOWN_DIGITS).collect(),
        ]
    };
    columns(&["NAME", "USE", "STATE", "EXPIRES", "SERIAL"], sorted(ledger).into_iter().map(row).collect())
}

/// The complete list for programs.
pub(super) fn json(ledger: &Ledger, now: Timestamp) -> Value {
    let one = |entry: &Entry| {
        let is_replaced = ledger.is_replaced(entry);
        json!({
            "serial": entry.serial, "name": entry.name, "ca": entry.issuer, "subject": entry.subject.to_string(),
            "use": entry.subject.purpose(), "not_before": entry.validity.not_before,
            "not_after": entry.validity.not_after, "state": State::of(entry, is_replaced, now).word(),
            "replaced": is_replaced, "revoked_at": entry.revoked.map(|revocation| revocation.at),
            "reason": entry.revoked.map(|revocation| revocation.reason),
        })
    };
    sorted(ledger).into_iter().map(one).collect()
}

fn sorted(ledger: &Ledger) -> Vec<&Entry> {
    let mut entries: Vec<_> = ledger.entries.iter().collect();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    entries
}

#[cfg(test)]
mod tests {
    use service_kit::tls::{RevocationReason, Validity};

    use super::*;
    use crate::certificate::ledger::{Issuer, Revocation, Subject};

    #[test]
    fn a_certificate_has_one_state() {
        let day = |day: i64| Timestamp::from_millis(1_800_000_000_000 + day * 86_400_000);
        let revocation = Some(Revocation { at: day(1), reason: RevocationReason::KeyCompromise });
        // Revoked, replaced, the day that it is (it is valid from day 0 to 90), and the state.
        for (revoked, is_replaced, now, state) in [
            (None, false, 1, State::Valid),
            (None, false, 59, State::Valid),
            (None, false, 61, State::Due),
            (None, true, 61, State::Valid),
            (None, false, 91, State::Expired),
            (None, true, 91, State::Expired),
            (revocation, false, 1, State::Revoked),
            (revocation, true, 61, State::Revoked),
            (revocation, false, 91, State::Revoked),
        ] {
            let entry = Entry {
                serial: "01".parse().unwrap(),
                name: "operator".to_owned(),
                issuer: Issuer::Mesh,
                subject: Subject::EtcdUser("root".to_owned()),
                validity: Validity { not_before: day(0), not_after: day(90) },
                revoked,
            };
            assert_eq!(State::of(&entry, is_replaced, day(now)), state, "{revoked:?}, day {now}");
        }
    }
}
