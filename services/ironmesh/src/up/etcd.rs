//! An etcd of one's own: the same etcd, never an imitation; TLS both ways, on loopback. Should it end, it is started again.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use service_kit::Host;
use tokio::process::{Child, Command};

use super::certs::Certs;
use crate::store::QUOTA;

/// How long etcd may take to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Before an etcd that ended is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// A running etcd.
#[derive(Debug)]
pub(crate) struct Etcd {
    host: Host,
    /// `https://127.0.0.1:port`.
    pub(crate) endpoint: String,
}

/// How it is started.
#[derive(Debug)]
struct Start {
    data: PathBuf,
    arguments: Vec<String>,
}

/// Starts it, in the data folder.
pub(crate) async fn start(data: &Path, certs: &Certs) -> Result<Etcd> {
    let folder = data.join("etcd");
    fs::create_dir_all(&folder)?;
    end_leftover(data).await?;
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
        ("peer-cert-file", certificate),
        ("peer-key-file", key),
        ("peer-trusted-ca-file", ca),
        ("auto-compaction-mode", "periodic".to_owned()),
        ("auto-compaction-retention", "5m".to_owned()),
        ("quota-backend-bytes", QUOTA.to_string()),
    ];
    let arguments = arguments.map(|(name, value)| format!("--{name}={value}")).into_iter();
    let switches = ["--client-cert-auth", "--peer-client-cert-auth"].map(str::to_owned);
    let start = Start { data: data.to_owned(), arguments: arguments.chain(switches).collect() };
    let child = start.spawn()?;
    let host = Host::default();
    host.spawn(start.keep(child, host.clone()));
    Ok(Etcd { host, endpoint })
}

impl Start {
    fn spawn(&self) -> Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.data.join("etcd.log"))?;
        let child = Command::new("etcd")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start etcd; Debian's package etcd-server has it")?;
        if let Some(pid) = child.id() {
            fs::write(self.data.join("etcd.pid"), pid.to_string())?;
        }
        Ok(child)
    }

    /// Keeps it running until the host stops, then stops it in order.
    async fn keep(self, child: Child, host: Host) {
        let mut child = Some(child);
        loop {
            if let Some(mut running) = child.take() {
                tokio::select! {
                    ended = running.wait() => {
                        tracing::warn!(?ended, "etcd ended");
                        super::say(&format!("etcd ended; starting it again (its log: {})", self.data.join("etcd.log").display()));
                    }
                    () = host.stopping() => return end(running).await,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = host.stopping() => return,
            }
            match self.spawn() {
                Ok(running) => child = Some(running),
                Err(error) => tracing::error!(error = format!("{error:#}"), "etcd can not be started again"),
            }
        }
    }
}

async fn end(mut child: Child) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        let asked = kill_process(pid, Signal::TERM);
        if asked.is_err() || tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            // It did not listen: the lock of its folder must not outlive us.
            let _ = child.kill().await;
        }
    }
}

/// Ends an etcd that an earlier run left behind in this very folder.
pub(super) async fn end_leftover(data: &Path) -> Result<()> {
    let Ok(pid) = fs::read_to_string(data.join("etcd.pid")) else { return Ok(()) };
    let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) else { return Ok(()) };
    let ours = format!("--data-dir={}", data.join("etcd").display());
    let is_ours = || {
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|argument| argument == ours.as_bytes())
    };
    if !is_ours() {
        return Ok(());
    }
    kill_process(pid, Signal::TERM).context("cannot end the etcd that an earlier run left")?;
    let begun = tokio::time::Instant::now();
    while is_ours() {
        if begun.elapsed() > GRACE {
            bail!("the etcd that an earlier run left (pid {}) does not end", pid.as_raw_nonzero());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Reads a member's URL.
pub(crate) fn member(text: &str) -> Result<String> {
    let rest = text.strip_prefix("https://").filter(|rest| !rest.is_empty() && !rest.contains('/'));
    rest.with_context(|| format!("{text:?}: must be https://HOST:PORT; everything between us is encrypted"))?;
    Ok(text.to_owned())
}

impl Etcd {
    /// Stops it.
    pub(crate) async fn stop(&self) {
        // It is killed when it does not listen.
        if let Err(error) = self.host.drain(GRACE * 2).await {
            tracing::warn!(%error, "etcd does not stop");
        }
    }
}
