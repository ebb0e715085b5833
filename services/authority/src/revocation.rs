//! Tells the services of a datacenter which certificates were revoked, by keys of the store.

use anyhow::{Context as _, Result};
use keyspace::{Change, Expect, Store, key, value::RevokedCertificate};

use crate::ledger::Entry;

/// Tells all services that a certificate was revoked. It can be repeated.
///
/// # Errors
/// etcd does not take it.
pub async fn publish_revocation(store: &Store, entry: &Entry) -> Result<()> {
    let Some(revocation) = entry.revoked else { return Ok(()) };
    let value = RevokedCertificate {
        subject: entry.subject.to_string(),
        at: revocation.at,
        reason: revocation.reason.word().to_owned(),
        expires: entry.validity.not_after,
    };
    let key = key::revoked_certificate(&entry.serial.to_string());
    match store.commit(Change::new().put(&key, &value, Expect::Absent)?).await {
        Ok(_) | Err(keyspace::Error::Conflict) => Ok(()),
        Err(error) => Err(error).context("cannot tell the services which certificates were revoked"),
    }
}
