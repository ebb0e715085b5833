//! Finds the certificates that an operator names.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use service_kit::tls::{Identity, Serial};

use super::ledger::{Entry, Subject};

/// Minimum number of digits of a serial number that is not given as a whole.
const MIN_DIGITS: usize = 8;

/// Returns whether a certificate has this name: that of its files, its URI, the name of an operator, a service, or a user of
/// etcd.
fn has_name(entry: &Entry, name: &str) -> bool {
    let is_subject = match &entry.subject {
        Subject::Identity(uri) => {
            uri == name
                || match entry.subject.identity() {
                    Some(Identity::Operator { name: operator, .. }) => operator == name,
                    Some(Identity::Service { service, .. }) => service.name() == name,
                    Some(Identity::Host { name: host }) => host == name,
                    Some(Identity::Authority) | None => false,
                }
        }
        Subject::EtcdUser(user) => user == name || user.split('.').next() == Some(name),
        Subject::Hosts(_) | Subject::Unlisted => false,
    };
    entry.name == name || is_subject
}

/// Returns whether `text` has the first digits of the serial number of a certificate.
fn has_digits(entry: &Entry, text: &str) -> bool {
    let digits: String = text.chars().filter(|letter| *letter != ':').collect::<String>().to_ascii_lowercase();
    digits.len() >= MIN_DIGITS && entry.serial.to_string().starts_with(&digits)
}

/// Returns the certificates of this name, or the one with this serial number or these first digits of it.
///
/// # Errors
/// There is none, or the digits are those of several.
pub(super) fn select<'e>(entries: impl Iterator<Item = &'e Entry> + Clone, text: &str) -> Result<Vec<&'e Entry>> {
    let named: Vec<_> = entries.clone().filter(|entry| has_name(entry, text)).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    // A whole number may be the beginning of another one.
    let whole = text.parse::<Serial>();
    let mut numbered: Vec<_> =
        entries.clone().filter(|entry| whole.as_ref().is_ok_and(|serial| *serial == entry.serial)).collect();
    if numbered.is_empty() {
        numbered = entries.filter(|entry| has_digits(entry, text)).collect();
    }
    // One that was not issued here is one of each CA.
    let serials: BTreeSet<_> = numbered.iter().map(|entry| &entry.serial).collect();
    match serials.len() {
        0 => bail!(
            "no such certificate: {text:?}; see: ironmesh certificate list. To revoke one that is not in the list, pass its \
             whole serial number and --unlisted"
        ),
        1 => Ok(numbered),
        several => bail!("{several} certificates have serial numbers that begin with {text:?}; give more digits"),
    }
}

/// Returns whether certificates are those of several operators or services. A service has one of each CA, and several where
/// they were replaced.
pub(super) fn is_ambiguous(chosen: &[Entry]) -> bool {
    let differ = |one: &Entry, other: &Entry| one.issuer == other.issuer && one.subject != other.subject;
    chosen.iter().enumerate().any(|(place, one)| chosen.iter().skip(place).any(|other| differ(one, other)))
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;
    use service_kit::tls::Validity;

    use super::*;
    use crate::certificate::ledger::Issuer;

    fn entry(serial: &str, name: &str, subject: Subject) -> Entry {
        let validity = Validity { not_before: Timestamp::default(), not_after: Timestamp::default() };
        let (serial, name) = (serial.parse().unwrap(), name.to_owned());
        Entry { serial, name, issuer: Issuer::Mesh, subject, validity, revoked: None }
    }

    #[test]
    fn certificates_are_found_by_every_name_that_they_have_and_by_serial_number() {
        let identity = |tail: &str| Subject::Identity(format!("spiffe://ironmesh/dc/default/{tail}"));
        let user = |name: &str| Subject::EtcdUser(name.to_owned());
        let all = [
            entry("aa11bb22cc33", "r1-power-service", identity("rack/r1/service/power-service")),
            entry("aa11bb22dd44", "r1-power-service-etcd", user("power-service.r1")),
            entry("0123456789ab", "operator", identity("operator/admin/admin")),
            entry("deadbeef0001", "operator-ann-reader", identity("operator/ann/reader")),
            entry("deadbeef0002", "operator-ann-admin", identity("operator/ann/admin")),
            entry("feedfeed0001", "etcd-root", user("root")),
            entry("feedfeed0002", "etcd-member", Subject::Hosts(vec!["127.0.0.1".to_owned()])),
            entry("c0ffee00c0ff", "unlisted-c0ffee00c0ff", Subject::Unlisted),
            entry("c0ffee00c0ffee", "unlisted-c0ffee00c0ffee", Subject::Unlisted),
        ];
        // What an operator writes, and the places in the list above; `None` for an error.
        for (text, expected) in [
            ("power-service", Some(&[0, 1][..])),
            ("r1-power-service", Some(&[0])),
            ("r1-power-service-etcd", Some(&[1])),
            ("power-service.r1", Some(&[1])),
            ("spiffe://ironmesh/dc/default/operator/ann/reader", Some(&[3])),
            ("ann", Some(&[3, 4])),
            ("admin", Some(&[2])),
            ("root", Some(&[5])),
            ("etcd-member", Some(&[6])),
            ("deadbeef0002", Some(&[4])),
            ("DE:AD:BE:EF:00:02", Some(&[4])),
            ("01:23:45:67", Some(&[2])),
            ("c0ffee00c0ff", Some(&[7])),
            ("C0:FF:EE:00:C0:FF:EE", Some(&[8])),
            ("c0ffee00", None),
            ("0123456", None),
            ("aa11bb22", None),
            ("bob", None),
            ("", None),
            ("127.0.0.1", None),
        ] {
            let found = select(all.iter(), text).ok();
            let found = found.map(|found| {
                let place = |entry: &&Entry| all.iter().position(|other| other.serial == entry.serial).unwrap();
                found.iter().map(place).collect::<Vec<_>>()
            });
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
