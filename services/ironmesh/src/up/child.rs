//! One service as a child process: started, watched, started again with back-off, and proven dead when it was reaped.

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

/// The first pause before a child is started again; it doubles up to the longest.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);
/// A child that ran this long has come up: its next pause is the first one again.
const STEADY: Duration = Duration::from_secs(30);
/// How long a child may take to stop.
const GRACE: Duration = Duration::from_secs(13);

/// A child to be.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    /// As in `power-service-1`.
    pub(crate) name: String,
    pub(crate) service: Service,
    /// Its folder.
    pub(crate) data: PathBuf,
    /// Its configuration (TOML).
    pub(crate) config: String,
}

impl Child {
    fn config_file(&self) -> PathBuf {
        self.data.join("config.toml")
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("log")
    }

    /// Writes its configuration, and forgets what an earlier run left, save where that answered: who knows it there goes
    /// on knowing it.
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

    /// Where it answers gRPC, once it does.
    pub(crate) fn endpoint(&self) -> Option<String> {
        fs::read_to_string(self.data.join("grpc.address")).ok().map(|text| text.trim().to_owned())
    }

    /// Whether it has joined the mesh.
    pub(crate) fn is_ready(&self) -> bool {
        self.endpoint().is_some() && self.instance().is_some()
    }

    /// The instance that it was last, as it noted in its folder.
    fn instance(&self) -> Option<InstanceId> {
        let text = fs::read_to_string(self.data.join("lock")).ok()?;
        let note: serde_json::Value = serde_json::from_str(&text).ok()?;
        note.get("instance")?.as_str()?.parse().ok()
    }

    /// Keeps it running until the host stops, then stops it in order.
    pub(crate) async fn keep(self, host: Host, store: Store, rack: RackId) {
        let mut pause = FIRST;
        while !host.is_stopping() {
            let begun = Instant::now();
            match self.once(&host).await {
                Ok(true) => return,
                Ok(false) => self.publish(&store, rack).await,
                Err(error) => tracing::error!(name = self.name, error = format!("{error:#}"), "cannot be started"),
            }
            if begun.elapsed() > STEADY {
                pause = FIRST;
            }
            super::say(&format!("{} ended; starting it again (its log: {})", self.name, self.log().display()));
            tokio::select! {
                () = host.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if let Err(error) = self.write_config() {
                tracing::error!(name = self.name, error = format!("{error:#}"), "cannot be configured anew");
            }
            pause = LONGEST.min(pause * 2);
        }
    }

    /// Runs it once; true: it was stopped because the host stops.
    async fn once(&self, host: &Host) -> Result<bool> {
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
                tracing::warn!(name = self.name, %ended, "a service ended");
                return Ok(false);
            }
            () = host.stopping() => {}
        }
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            kill_process(pid, Signal::TERM)?;
        }
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            child.kill().await?;
        }
        Ok(true)
    }

    /// It was reaped by this process, on this kernel: whoever waits for it to be gone need not wait.
    async fn publish(&self, store: &Store, rack: RackId) {
        let Some(instance) = self.instance() else { return };
        let scope = if self.service == Service::Scheduler { Scope::Datacenter } else { Scope::Rack(rack) };
        let group = mesh::Group { scope, service: self.service };
        if let Err(error) = mesh::publish_death(store, group, instance, "reaped by ironmesh up").await {
            tracing::warn!(error = %service_kit::status::chain(&error), "cannot publish a proof of death");
        }
    }
}

/// A configuration that listens at a port that was chosen before, where that is free still.
fn listening_at(config: &str, endpoint: &str) -> Result<String> {
    let mut table: toml::Table = config.parse()?;
    let is_free = TcpListener::bind(endpoint).is_ok();
    if let Some(service) = table.get_mut("service").and_then(toml::Value::as_table_mut).filter(|_| is_free) {
        service.insert("listen".to_owned(), endpoint.into());
    }
    Ok(toml::to_string(&table)?)
}

/// Stops the host when the process is asked to stop.
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
