//! Renews certificates while a rack runs, and tells its services which ones were revoked.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use authority::revocation::publish_revocation;
use keyspace::{Change, Expect, Store, key, store::Pem};
use service_kit::{Host, clock, status, tls::Serial};
use tokio::time::Instant;

use super::{
    issue::{Attempts, Ensured, Made, Wanted, ensure_all},
    ledger::{Entry, Issuer, Ledger},
};
use crate::{
    console::{Failures, say},
    pem_files,
};

/// Interval of checks. It is also how soon a revocation is told to services if `ironmesh certificate revoke` could not.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long services may take to use the certificate that takes the place of a revoked one, before etcd is restarted.
const REPLACEMENT_TIME: Duration = Duration::from_secs(15);
/// Interval at which revoked certificates that have expired are removed from the store.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Renews the certificates of a rack.
pub(crate) struct Renewal {
    /// Folder of the certificates.
    pub(crate) folder: PathBuf,
    /// The certificates that must exist.
    pub(crate) wanted: Vec<Wanted>,
    /// The files of etcd's administrator, which `store` uses.
    pub(crate) administrator: service_kit::tls::Files,
    pub(crate) members: Vec<String>,
    pub(crate) store: Store,
    /// Restarts etcd; `None` if it is not ours.
    pub(crate) restart_etcd: Option<std::sync::Arc<tokio::sync::Notify>>,
}

/// What was done so far.
struct Progress {
    /// Content of the administrator's files that are in use.
    administrator: [Vec<u8>; 3],
    /// Serial numbers that the services know.
    published: BTreeSet<Serial>,
    /// Revoked users of etcd with which no connection is open.
    closed: BTreeSet<Serial>,
    restart_at: Option<Instant>,
    attempts: Attempts,
    /// Warnings about CAs that were printed.
    warnings: Vec<String>,
    cleaned: Option<Instant>,
}

impl Renewal {
    /// Checks certificates at once and then regularly, until the host stops.
    pub(crate) async fn run(self, host: Host) {
        let administrator = pem_files::read(&self.administrator).unwrap_or_default();
        // etcd has just read the list, if it is ours.
        let closed = revoked(&self.folder).unwrap_or_default();
        let closed =
            closed.into_iter().filter(|entry| entry.issuer == Issuer::Etcd).map(|entry| entry.serial).collect();
        let published = BTreeSet::new();
        let (attempts, warnings) = (Attempts::default(), Vec::new());
        let mut progress =
            Progress { administrator, published, closed, restart_at: None, attempts, warnings, cleaned: None };
        let mut failures = Failures::default();
        while !host.is_stopping() {
            let failed = self.check(&mut progress).await.err().map(|error| format!("{error:#}"));
            let failed = failed.or_else(|| progress.attempts.failure());
            failures.report(failed.map(|why| format!("cannot renew or revoke certificates, will retry: {why}")));
            tokio::select! {
                () = host.stopping() => return,
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
        }
    }

    async fn check(&self, progress: &mut Progress) -> Result<()> {
        let (folder, wanted) = (self.folder.clone(), self.wanted.clone());
        let mut attempts = progress.attempts.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let ensured = ensure_all(&folder, &wanted, &mut attempts)?;
            anyhow::Ok((ensured, attempts, revoked(&folder)?))
        });
        let (ensured, attempts, revoked) = checked.await.context("the check of certificates ended early")??;
        let Ensured { made, warnings, .. } = ensured;
        progress.attempts = attempts;
        for warning in warnings.iter().filter(|warning| !progress.warnings.contains(warning)) {
            say(warning);
        }
        progress.warnings = warnings;
        for Made { entry, why } in &made {
            say(&format!("made certificate {}, valid until {}: {why}", entry.name, entry.validity.not_after));
        }
        // Another process may have renewed it, too.
        let administrator = pem_files::read(&self.administrator)?;
        if administrator != progress.administrator {
            let [ca, certificate, key] = &administrator;
            let reconnected = self.store.reconnect(&self.members, Pem { ca, certificate, key }).await;
            reconnected.context("etcd does not accept the new certificate of its administrator")?;
            progress.administrator = administrator;
        }
        self.close_etcd_connections(progress, &revoked);
        for entry in &revoked {
            if entry.issuer == Issuer::Mesh && !progress.published.contains(&entry.serial) {
                publish_revocation(&self.store, entry).await?;
                progress.published.insert(entry.serial.clone());
            }
        }
        if progress.cleaned.is_none_or(|cleaned| cleaned.elapsed() > CLEANUP_INTERVAL) {
            clean(&self.store).await?;
            // Keys that another process has deleted are written again.
            progress.published.clear();
            progress.cleaned = Some(Instant::now());
        }
        Ok(())
    }

    /// etcd checks certificates in handshakes only: a restart ends the connections of those that were revoked.
    fn close_etcd_connections(&self, progress: &mut Progress, revoked: &[Entry]) {
        let users = revoked.iter().filter(|entry| entry.issuer == Issuer::Etcd);
        let opened: Vec<_> = users.filter(|entry| progress.closed.insert(entry.serial.clone())).collect();
        if !opened.is_empty() && self.restart_etcd.is_some() {
            progress.restart_at = Some(Instant::now() + REPLACEMENT_TIME);
        } else if !opened.is_empty() {
            say(&format!(
                "certificates for etcd were revoked: copy {} to etcd's members (--client-crl-file), and restart them one \
                 after the other to end open connections",
                self.folder.join(Issuer::Etcd.revocation_list()).display()
            ));
        }
        if progress.restart_at.is_some_and(|at| Instant::now() >= at)
            && let Some(restart) = &self.restart_etcd
        {
            progress.restart_at = None;
            say("restarting etcd, to end connections with revoked certificates");
            restart.notify_one();
        }
    }
}

/// The revoked certificates that would be valid otherwise.
fn revoked(folder: &std::path::Path) -> Result<Vec<Entry>> {
    let now = clock::now();
    let entries = Ledger::open(folder)?.entries;
    Ok(entries.into_iter().filter(|entry| entry.revoked.is_some() && !entry.is_expired(now)).collect())
}

/// Removes what needs not be revoked any more.
async fn clean(store: &Store) -> Result<()> {
    let all = store.list(&key::revoked_certificates()).await.context("cannot list the revoked certificates")?;
    for (path, revoked) in all {
        let Some(serial) = key::revoked_serial_of(&path).filter(|_| clock::now() > revoked.value.expires) else {
            continue;
        };
        let change = Change::new().delete(&key::revoked_certificate(&serial), Expect::same(Some(&revoked)));
        if let Err(error) = store.commit(change).await {
            tracing::debug!(error = %status::chain(&error), serial, "cannot remove an expired certificate");
        }
    }
    Ok(())
}
