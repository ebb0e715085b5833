//! An etcd of one's own: the same etcd, never an imitation; TLS both ways, on loopback.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::certs::Certs;

/// How long etcd may take to stop.
const GRACE: Duration = Duration::from_secs(10);
/// What a store may grow to (DESIGN §4).
const QUOTA: u64 = 8 << 30;

/// A running etcd.
#[derive(Debug)]
pub(crate) struct Etcd {
    child: tokio::sync::Mutex<Child>,
    /// `https://127.0.0.1:port`.
    pub(crate) endpoint: String,
}

/// Starts it, in the data folder.
pub(crate) async fn start(data: &Path, certs: &Certs) -> Result<Etcd> {
    let folder = data.join("etcd");
    fs::create_dir_all(&folder)?;
    end_leftover(data).await?;
    let (client, peer) = (free_port()?, free_port()?);
    let endpoint = format!("https://127.0.0.1:{client}");
    let peers = format!("https://127.0.0.1:{peer}");
    let log = fs::OpenOptions::new().create(true).append(true).open(data.join("etcd.log"))?;
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
    let mut command = Command::new("etcd");
    for (name, value) in arguments {
        command.arg(format!("--{name}={value}"));
    }
    command.args(["--client-cert-auth", "--peer-client-cert-auth"]);
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start etcd; Debian's package etcd-server has it")?;
    if let Some(pid) = child.id() {
        fs::write(data.join("etcd.pid"), pid.to_string())?;
    }
    Ok(Etcd { child: tokio::sync::Mutex::new(child), endpoint })
}

/// Ends an etcd that an earlier run left behind in this very folder.
async fn end_leftover(data: &Path) -> Result<()> {
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

impl Etcd {
    /// Stops it.
    pub(crate) async fn stop(&self) {
        let mut child = self.child.lock().await;
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            let asked = kill_process(pid, Signal::TERM);
            if asked.is_err() || tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                // It did not listen: the lock of its folder must not outlive us.
                let _ = child.kill().await;
            }
        }
    }
}
