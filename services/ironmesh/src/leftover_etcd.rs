//! Stops an etcd that an earlier `ironmesh up` left running.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long etcd may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is checked whether etcd has stopped.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Stops an etcd that still uses the store in this data directory.
pub(crate) async fn stop(data: &Path) -> Result<()> {
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
    kill_process(pid, Signal::TERM).context("cannot stop the etcd of an earlier run")?;
    let begun = tokio::time::Instant::now();
    while is_ours() {
        if begun.elapsed() > STOP_TIMEOUT {
            bail!("the etcd of an earlier run (pid {}) does not stop", pid.as_raw_nonzero());
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
    Ok(())
}
