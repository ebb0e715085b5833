//! Runs a service as a child process: starts it, restarts it with back-off, and publishes its death when it was reaped.

use std::{fs, net::TcpListener, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use domain::{
    id::{InstanceId, RackId},
    service::Service,
};
use keyspace::{Store, key::Scope};
use rustix::process::{Pid, Signal, kill_process};
use service_kit::Host;
use tokio::{process::Command, time::Instant};

use crate::console::say;

/// Delay before the first restart; it doubles with each further one.
const INITIAL_DELAY: Duration = Duration::from_millis(200);
/// Maximum delay.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// A child that ran for this long was started successfully: the delay is reset.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// How long a child may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(13);

/// A child process.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    /// Name, such as `power-service-1`.
    pub(crate) name: String,
    pub(crate) service: Service,
    /// Its data directory.
    pub(crate) data: PathBuf,
    /// Its configuration (TOML).
    pub(crate) config: String,
}

impl Child {
    fn config_file(&self) -> PathBuf {
        self.data.join("config.toml")
    }

    /// Returns the path of its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("log")
    }

    /// Writes its configuration and removes address files of a previous run. The gRPC port stays the same if it is
    /// free, because other processes know it.
    pub(crate) fn write_config(&self) -> Result<()> {
        fs::create_dir_all(&self.data)?;
        let config = self.endpoint().map_or_else(|| Ok(self.config.clone()), |at| listening_at(&self.config, &at))?;
        for stale in ["grpc.address", "monitor.address", "http.address", "agents.address"] {
            let path = self.data.join(stale);
            if path.exists() {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        let file = self.config_file();
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Returns the gRPC address, once the service is listening.
    pub(crate) fn endpoint(&self) -> Option<String> {
        fs::read_to_string(self.data.join("grpc.address")).ok().map(|text| text.trim().to_owned())
    }

    /// Returns whether it has joined the mesh.
    pub(crate) fn is_ready(&self) -> bool {
        self.endpoint().is_some() && self.instance().is_some()
    }

    /// Returns its last instance, as recorded in its data directory.
    fn instance(&self) -> Option<InstanceId> {
        let text = fs::read_to_string(self.data.join("lock")).ok()?;
        let note: serde_json::Value = serde_json::from_str(&text).ok()?;
        note.get("instance")?.as_str()?.parse().ok()
    }

    /// Restarts it when it exits, until the host stops; then stops it.
    pub(crate) async fn keep(self, host: Host, store: Store, rack: RackId) {
        let mut pause = INITIAL_DELAY;
        while !host.is_stopping() {
            let begun = Instant::now();
            match self.run_until_exit(&host).await {
                Ok(true) => return,
                Ok(false) => self.publish(&store, rack).await,
                Err(error) => {
                    tracing::error!(name = self.name, error = format!("{error:#}"), "cannot start the service")
                }
            }
            if begun.elapsed() > STABLE_AFTER {
                pause = INITIAL_DELAY;
            }
            say(&format!("{} exited, restarting it (log: {})", self.name, self.log().display()));
            tokio::select! {
                () = host.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if let Err(error) = self.write_config() {
                tracing::error!(name = self.name, error = format!("{error:#}"), "cannot write the configuration");
            }
            pause = MAX_DELAY.min(pause * 2);
        }
    }

    /// Runs it until it exits. Returns `true` if it was stopped because the host stops.
    async fn run_until_exit(&self, host: &Host) -> Result<bool> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(program)
            .arg(self.service.name())
            .arg("--config")
            .arg(self.config_file())
            .arg("--with-parent")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        tokio::select! {
            ended = child.wait() => {
                let ended = ended?;
                tracing::warn!(name = self.name, %ended, "service exited");
                return Ok(false);
            }
            () = host.stopping() => {}
        }
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            kill_process(pid, Signal::TERM)?;
        }
        if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
            child.kill().await?;
        }
        Ok(true)
    }

    /// Publishes the proof of death: this process reaped the child, so that others need not wait for it.
    async fn publish(&self, store: &Store, rack: RackId) {
        let Some(instance) = self.instance() else { return };
        let scope = Scope::of(self.service, rack);
        let group = mesh::Group { scope, service: self.service };
        if let Err(error) = mesh::publish_death(store, group, instance, "reaped by ironmesh up").await {
            tracing::warn!(error = %service_kit::status::chain(&error), "cannot publish a proof of death");
        }
    }
}

/// Returns the configuration with the previous gRPC address, if that is free.
fn listening_at(config: &str, endpoint: &str) -> Result<String> {
    let mut table: toml::Table = config.parse()?;
    let is_free = TcpListener::bind(endpoint).is_ok();
    if let Some(service) = table.get_mut("service").and_then(toml::Value::as_table_mut).filter(|_| is_free) {
        service.insert("listen".to_owned(), endpoint.into());
    }
    Ok(toml::to_string(&table)?)
}

/// Stops the host on SIGTERM or SIGINT.
pub(crate) async fn stop_on_signal(host: Host) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        () = host.stopping() => {}
        _ = terminate.recv() => host.stop(),
        _ = interrupt.recv() => host.stop(),
    }
}
