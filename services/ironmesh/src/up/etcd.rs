//! Runs an etcd on loopback with mutual TLS, and restarts it if it exits.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use service_kit::Host;
use tokio::{
    process::{Child, Command},
    sync::Notify,
};

use crate::{
    certs::{Certs, ETCD_PEER},
    console::say,
    leftover_etcd,
    store::QUOTA,
};

/// How long etcd may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before etcd is restarted.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// A running etcd.
#[derive(Debug)]
pub(crate) struct Etcd {
    host: Host,
    /// Client endpoint, `https://127.0.0.1:port`.
    pub(crate) endpoint: String,
    /// Restarts it when it is notified.
    pub(crate) restart: Arc<Notify>,
}

/// Command line of etcd.
#[derive(Debug)]
struct EtcdCommand {
    data: PathBuf,
    arguments: Vec<String>,
}

/// Starts etcd with its data in the data directory.
pub(crate) async fn start(data: &Path, certs: &Certs) -> Result<Etcd> {
    let folder = data.join("etcd");
    fs::create_dir_all(&folder)?;
    leftover_etcd::stop(data).await?;
    let (client, peer) = (free_port()?, free_port()?);
    let endpoint = format!("https://127.0.0.1:{client}");
    let peers = format!("https://127.0.0.1:{peer}");
    let path = |path: &Path| path.display().to_string();
    let (ca, certificate, key) = (path(&certs.etcd.ca), path(&certs.etcd.certificate), path(&certs.etcd.key));
    let arguments = [
        ("name", "ironmesh".to_owned()),
        ("data-dir", path(&folder)),
        ("listen-client-urls", endpoint.clone()),
        ("advertise-client-urls", endpoint.clone()),
        ("listen-peer-urls", peers.clone()),
        ("initial-advertise-peer-urls", peers.clone()),
        ("initial-cluster", format!("ironmesh={peers}")),
        ("cert-file", certificate.clone()),
        ("key-file", key.clone()),
        ("trusted-ca-file", ca.clone()),
        ("client-crl-file", path(&certs.revoked_for_etcd)),
        ("peer-crl-file", path(&certs.revoked_for_etcd)),
        ("peer-cert-file", certificate),
        ("peer-key-file", key),
        ("peer-trusted-ca-file", ca),
        ("peer-cert-allowed-hostname", ETCD_PEER.to_owned()),
        ("auto-compaction-mode", "periodic".to_owned()),
        ("auto-compaction-retention", "5m".to_owned()),
        ("quota-backend-bytes", QUOTA.to_string()),
    ];
    let arguments = arguments.map(|(name, value)| format!("--{name}={value}")).into_iter();
    let switches = ["--client-cert-auth", "--peer-client-cert-auth"].map(str::to_owned);
    let start = EtcdCommand { data: data.to_owned(), arguments: arguments.chain(switches).collect() };
    let child = start.spawn()?;
    let host = Host::default();
    let restart = Arc::new(Notify::new());
    host.spawn(start.keep(child, host.clone(), Arc::clone(&restart)));
    Ok(Etcd { host, endpoint, restart })
}

impl EtcdCommand {
    fn spawn(&self) -> Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.data.join("etcd.log"))?;
        let child = Command::new("etcd")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start etcd; install Debian's package etcd-server")?;
        if let Some(pid) = child.id() {
            fs::write(self.data.join("etcd.pid"), pid.to_string())?;
        }
        Ok(child)
    }

    /// Restarts etcd when it exits or is to be restarted, until the host stops; then stops it.
    async fn keep(self, child: Child, host: Host, restart: Arc<Notify>) {
        let mut child = Some(child);
        loop {
            if let Some(mut running) = child.take() {
                tokio::select! {
                    ended = running.wait() => {
                        tracing::warn!(?ended, "etcd exited");
                        say(&format!("etcd exited, restarting it (log: {})", self.data.join("etcd.log").display()));
                    }
                    () = restart.notified() => end(running).await,
                    () = host.stopping() => return end(running).await,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RESTART_DELAY) => {}
                () = host.stopping() => return,
            }
            match self.spawn() {
                Ok(running) => child = Some(running),
                Err(error) => tracing::error!(error = format!("{error:#}"), "cannot restart etcd"),
            }
        }
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

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Etcd {
    /// Stops etcd.
    pub(crate) async fn stop(&self) {
        // etcd is killed if it does not react.
        if let Err(error) = self.host.drain(STOP_TIMEOUT * 2).await {
            tracing::warn!(%error, "etcd does not stop");
        }
    }
}
