//! The thread that keeps the membership. It has a runtime and connections of its own, so that nothing that the rest of the
//! process does delays keep-alives, rings and the view: a request that is parsed for seconds fences no service.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyspace::{Store, store::Pem};
use service_kit::{Host, Kit, status, tls::Tls};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{death_proof::DataDirLock, mesh::Mesh, revocations};

/// Pause between two attempts to use certificates that changed.
const RENEWAL_RETRY_DELAY: Duration = Duration::from_secs(2);
/// Interval at which the runtime of the rest of the process shows that it runs.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Number of intervals without a beat after which that runtime counts as hung. Load delays it for seconds; a process that
/// does nothing any more must not keep its nodes.
const MAX_MISSED_BEATS: u32 = 60;

/// What runs on the thread: the watch that feeds the view, the revocations that it tells, [`Mesh::live`], and the renewal of
/// their certificates. Each is an ordinary async function.
pub(crate) struct MembershipThread {
    pub(crate) kit: Kit,
    /// The certificates for etcd.
    pub(crate) etcd: Tls,
    pub(crate) mesh: Mesh,
    pub(crate) lock: DataDirLock,
    /// The prefixes that the view follows.
    pub(crate) prefixes: Vec<String>,
    /// Where the view is saved.
    pub(crate) file: PathBuf,
    /// Whether the rest of the process runs.
    pub(crate) beats: Beats,
    /// The members of etcd.
    pub(crate) members: watch::Receiver<Vec<String>>,
}

/// Counts the beats of the runtime that serves the rest of the process. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beats(Arc<AtomicU64>);

impl Beats {
    /// Beats as long as the runtime that it is spawned on runs, until the host stops.
    pub(crate) async fn beat(self, host: Host) {
        loop {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                biased;
                () = host.stopping() => return,
                () = tokio::time::sleep(BEAT_INTERVAL) => {}
            }
        }
    }

    /// Waits until there was no beat for [`MAX_MISSED_BEATS`] intervals. Intervals are counted rather than read from a clock,
    /// because the whole process may have been stopped.
    async fn hung(&self) {
        let (mut seen, mut missed) = (0, 0);
        while missed < MAX_MISSED_BEATS {
            tokio::time::sleep(BEAT_INTERVAL).await;
            let now = self.0.load(Ordering::Relaxed);
            missed = if now == seen { missed + 1 } else { 0 };
            seen = now;
        }
    }
}

/// Ends the membership when the thread ends, by a panic too: the rest of the process must not work without it until it has
/// stopped.
struct EndOnDrop(Mesh);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end_membership();
    }
}

impl MembershipThread {
    /// Runs until this instance has handed over and the view is saved.
    pub(crate) async fn run(self) {
        let Self { kit, etcd, mesh, lock, prefixes, file, beats, mut members } = self;
        let _end = EndOnDrop(mesh.clone());
        let changes = etcd.changes();
        let [ca, certificate, key] = etcd.pem();
        let pem = Pem { ca: &ca, certificate: &certificate, key: &key };
        // Made here: a connection is driven by the runtime that made it.
        let known = members.borrow_and_update().clone();
        let store = match mesh.store().with_own_connections(&known, pem).await {
            Ok(store) => store,
            Err(error) => {
                tracing::error!(error = %status::chain(&error), "cannot connect to etcd for the membership");
                return;
            }
        };
        kit.host.spawn(renew(kit.host.clone(), etcd, store.clone(), changes, members));
        // Beside the view, so that a change of the view wakes no other thread where nothing else waits for it.
        kit.host.spawn(revocations::follow(mesh.view().clone(), kit.tls.revocations().clone(), kit.host.clone()));
        let (left, followed) = (CancellationToken::new(), CancellationToken::new());
        let (view, watched, end) = (mesh.view().clone(), store.clone(), left.clone().cancelled_owned());
        let saved = followed.clone().drop_guard();
        // The view is followed until this instance has handed over.
        kit.host.spawn_essential("view", async move {
            view.follow(watched, prefixes, Some(file), end).await;
            drop(saved);
        });
        let hung = async {
            tokio::select! {
                // Before the lock of the data directory is released, which proves this instance dead.
                () = beats.hung() => mesh.end_membership(),
                // From now on the process has a limited time to end.
                () = kit.host.stopping() => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = mesh.with_connections(store).live(kit.host.clone(), lock) => {}
            () = hung => tracing::error!(
                "the rest of the process has done nothing for {} s, ending the membership so that its nodes pass on",
                (BEAT_INTERVAL * MAX_MISSED_BEATS).as_secs()
            ),
        }
        left.cancel();
        followed.cancelled().await;
    }
}

/// Makes the store use certificates and members of etcd that change. While etcd does not accept the new ones, the old ones
/// stay in use.
pub(crate) async fn renew(
    host: Host,
    etcd: Tls,
    store: Store,
    mut changes: watch::Receiver<u64>,
    mut members: watch::Receiver<Vec<String>>,
) {
    let renewing = async {
        loop {
            let what = tokio::select! {
                () = change(&mut changes) => "certificates",
                () = change(&mut members) => "members",
            };
            loop {
                let [ca, certificate, key] = etcd.pem();
                let pem = Pem { ca: &ca, certificate: &certificate, key: &key };
                let known = members.borrow_and_update().clone();
                let Err(error) = store.reconnect(&known, pem).await else { break };
                let error = status::chain(&error);
                if what == "certificates" {
                    tracing::warn!(error, "etcd does not accept the new certificates, keeping the old ones");
                } else {
                    tracing::warn!(error, members = ?known, "cannot use the new members of etcd, keeping the old ones");
                }
                tokio::time::sleep(RENEWAL_RETRY_DELAY).await;
            }
            if what == "certificates" {
                tracing::info!("etcd accepts the new certificates");
            }
        }
    };
    tokio::select! {
        biased;
        () = host.stopping() => {}
        () = renewing => {}
    }
}

/// Waits for a change, for ever if there will be none.
async fn change<T>(changes: &mut watch::Receiver<T>) {
    if changes.changed().await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_runtime_counts_as_hung_only_after_it_has_not_beaten_for_long() {
        let limit = BEAT_INTERVAL * MAX_MISSED_BEATS;
        // How long after each beat the next one comes, in seconds, and whether it counts as hung then.
        let table = [(1, false), (2, false), (10, false), (30, false), (59, false), (62, true), (600, true)];
        for (pause, is_hung) in table {
            let beats = Beats::default();
            let beating = async {
                for _ in 0..3 {
                    beats.0.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
            };
            tokio::select! {
                biased;
                () = beats.hung() => assert!(is_hung, "{pause} s"),
                () = beating => assert!(!is_hung, "{pause} s"),
            }
        }
        let beats = Beats::default();
        assert!(
            timeout(limit * 3, async { tokio::join!(beats.clone().beat(Host::default()), beats.hung()) })
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_stopped_as_a_whole_does_not_count_as_hung() {
        let beats = Beats::default();
        let (began, limit) = (Instant::now(), BEAT_INTERVAL * MAX_MISSED_BEATS);
        let mut hung = std::pin::pin!(beats.hung());
        assert!(timeout(BEAT_INTERVAL, &mut hung).await.is_err());
        advance(limit * 2).await;
        assert!(timeout(limit / 2, &mut hung).await.is_err(), "one interval of {:?}", began.elapsed());
    }
}
