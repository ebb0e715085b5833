//! Runs a member of etcd with mutual TLS, and restarts it if it exits.

mod config;

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use keyspace::{Store, cluster::MemberError};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use service_kit::Host;
use tokio::{
    process::{Child, Command},
    sync::{Notify, watch},
    time::Instant,
};

pub(crate) use self::config::{ClusterState, EtcdConfig, EtcdTls};
use crate::{console::say, leftover_etcd};

/// How long etcd may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before etcd is restarted for the first time; it doubles with each further one.
const INITIAL_DELAY: Duration = Duration::from_millis(500);
/// Maximum delay.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// An etcd that ran for this long was started successfully: the delay is reset.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// How much of the end of the log is searched for why etcd exited, in bytes.
const MAX_LOG_BYTES: u64 = 64 << 10;
/// What etcd logs if its cluster has removed it.
const REMOVED: &str = "the member has been permanently removed from the cluster";

/// A running member of etcd.
#[derive(Debug)]
pub(crate) struct Etcd {
    host: Host,
    /// Client endpoint for this host, `https://127.0.0.1:port` if it listens there.
    pub(crate) endpoint: String,
    /// Restarts it when it is notified.
    pub(crate) restart: Arc<Notify>,
    config: Arc<Mutex<EtcdConfig>>,
    removed: watch::Receiver<bool>,
}

/// What keeps it running.
struct Keeper {
    host: Host,
    config: Arc<Mutex<EtcdConfig>>,
    restart: Arc<Notify>,
    removed: watch::Sender<bool>,
}

/// Starts a member of etcd, after the one that an earlier run left in the same data directory has been stopped.
pub(crate) async fn start(config: EtcdConfig) -> Result<Etcd> {
    fs::create_dir_all(config.folder()).with_context(|| format!("cannot create {}", config.folder().display()))?;
    leftover_etcd::stop(&config.data).await?;
    let endpoint = config.local_endpoint().to_owned();
    let log = EtcdLog::of(&config);
    let child = spawn(&config)?;
    let (host, restart, config) = (Host::default(), Arc::new(Notify::new()), Arc::new(Mutex::new(config)));
    let (removed, is_removed) = watch::channel(false);
    let keeper = Keeper { host: host.clone(), config: Arc::clone(&config), restart: Arc::clone(&restart), removed };
    host.spawn(keeper.keep(child, log));
    Ok(Etcd { host, endpoint, restart, config, removed: is_removed })
}

fn spawn(config: &EtcdConfig) -> Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(config.log())?;
    let child = Command::new("etcd")
        .args(config.arguments())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start etcd; install Debian's package etcd-server")?;
    if let Some(pid) = child.id() {
        fs::write(config.data.join("etcd.pid"), pid.to_string())?;
    }
    Ok(child)
}

impl Keeper {
    /// Restarts etcd when it exits or is to be restarted, until the host stops; then stops it.
    async fn keep(self, child: Child, mut log: EtcdLog) {
        let (mut child, mut delay) = (Some(child), INITIAL_DELAY);
        loop {
            let begun = Instant::now();
            let mut is_removed = false;
            if let Some(mut running) = child.take() {
                tokio::select! {
                    ended = running.wait() => {
                        tracing::warn!(?ended, "etcd exited");
                        is_removed = log.says(REMOVED);
                        self.report(is_removed);
                    }
                    () = self.restart.notified() => {
                        end(running).await;
                        delay = INITIAL_DELAY;
                    }
                    () = self.host.stopping() => return end(running).await,
                }
            }
            self.removed.send_if_modified(|before| std::mem::replace(before, is_removed) != is_removed);
            if begun.elapsed() > STABLE_AFTER {
                delay = INITIAL_DELAY;
            }
            let pause = async {
                if is_removed {
                    // It would only exit again, until it is given another configuration.
                    self.restart.notified().await;
                } else {
                    tokio::time::sleep(delay).await;
                }
            };
            tokio::select! {
                () = pause => {}
                () = self.host.stopping() => return,
            }
            delay = MAX_DELAY.min(delay * 2);
            let config = self.config.lock().clone();
            log = EtcdLog::of(&config);
            match spawn(&config) {
                Ok(running) => child = Some(running),
                Err(error) => tracing::error!(error = format!("{error:#}"), "cannot restart etcd"),
            }
        }
    }

    fn report(&self, is_removed: bool) {
        let config = self.config.lock();
        if is_removed {
            say(&format!(
                "etcd was removed from its cluster and is not restarted; its data in {} is of no use any more",
                config.folder().display()
            ));
        } else {
            say(&format!("etcd exited, restarting it (log: {})", config.log().display()));
        }
    }
}

/// The log of one run.
#[derive(Debug)]
struct EtcdLog {
    file: PathBuf,
    /// Where the run began, in bytes.
    start: u64,
}

impl EtcdLog {
    fn of(config: &EtcdConfig) -> Self {
        let file = config.log();
        let start = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        Self { file, start }
    }

    /// Returns whether the end of the run's log has these words.
    fn says(&self, words: &str) -> bool {
        let read = || {
            let mut log = fs::File::open(&self.file)?;
            let end = log.metadata()?.len();
            log.seek(SeekFrom::Start(self.start.max(end.saturating_sub(MAX_LOG_BYTES))))?;
            let mut text = Vec::new();
            log.read_to_end(&mut text)?;
            std::io::Result::Ok(String::from_utf8_lossy(&text).contains(words))
        };
        read().unwrap_or(false)
    }
}

async fn end(mut child: Child) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        let asked = kill_process(pid, Signal::TERM);
        if asked.is_err() || tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
            // etcd does not react: kill it, or it would keep its data directory locked.
            let _ = child.kill().await;
        }
    }
}

impl Etcd {
    /// Restarts it with another configuration, such as other addresses, of the same data directory.
    pub(crate) fn reconfigure(&self, config: EtcdConfig) {
        let mut current = self.config.lock();
        *current = EtcdConfig { data: current.data.clone(), ..config };
        drop(current);
        self.restart.notify_one();
    }

    /// Tells whether its cluster has removed it. It is not restarted then.
    pub(crate) fn removed(&self) -> watch::Receiver<bool> {
        self.removed.clone()
    }

    /// Stops etcd.
    pub(crate) async fn stop(&self) {
        // etcd is killed if it does not react.
        if let Err(error) = self.host.drain(STOP_TIMEOUT * 2).await {
            tracing::warn!(%error, "etcd does not stop");
        }
    }
}

/// Makes the list of the members say at which peer URLs this member is, if it says something else: after a restore, or
/// after the only member has moved. `store` must be connected to this member alone, as etcd's user `root`. The other
/// members of a larger cluster must learn it before this one starts at its new address.
pub(crate) async fn announce(store: &Store, peer_urls: &[String]) -> Result<bool, MemberError> {
    let own = store.member_state().await?.id;
    let members = store.cluster_members().await?;
    let Some(listed) = members.into_iter().find(|member| member.id == own) else { return Ok(false) };
    if listed.peer_urls == peer_urls {
        return Ok(false);
    }
    store.update_member(own, peer_urls).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_was_removed_is_told_by_the_log_of_its_last_run_alone() {
        let long = "x".repeat(100 << 10);
        // The log before the run, what the run logged, and whether the member was removed.
        let table = [
            ("", String::new(), false),
            ("", format!("ready\n{REMOVED}\nstopping\n"), true),
            (REMOVED, "ready\n".to_owned(), false),
            (REMOVED, format!("{REMOVED}\n"), true),
            ("", format!("{long}\n{REMOVED}\n"), true),
            ("", format!("{REMOVED}\n{long}\n"), false),
            (&long, format!("panic\n{REMOVED}"), true),
        ];
        for (number, (before, logged, expected)) in table.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("etcd.log");
            fs::write(&file, format!("{before}{logged}")).unwrap();
            let log = EtcdLog { file, start: u64::try_from(before.len()).unwrap() };
            assert_eq!(log.says(REMOVED), expected, "row {number}");
        }
        let missing = EtcdLog { file: "/nonexistent/etcd.log".into(), start: 0 };
        assert!(!missing.says(REMOVED));
    }
}
