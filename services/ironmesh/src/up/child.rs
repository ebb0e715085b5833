//! Runs a service as a child process: starts it, restarts it with back-off, and publishes its death when it was reaped.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use domain::{id::InstanceId, service::Service};
use durable_file::Access;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use service_kit::Host;
use tokio::{process::Command, time::Instant};

use super::deaths::Deaths;
use crate::console::say;

/// Delay before the first restart; it doubles with each further one.
const INITIAL_DELAY: Duration = Duration::from_millis(200);
/// Maximum delay.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// A child that ran for this long was started successfully: the delay is reset.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// How much of the end of a log is searched for an error, in bytes.
const MAX_ERROR_LOG_BYTES: u64 = 16 << 10;
/// Maximum length of an error of a child that is repeated on the terminal, in characters.
const MAX_ERROR_LETTERS: usize = 500;
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
    /// What is known of its runs. Clones share it.
    pub(crate) runs: Arc<Mutex<Runs>>,
}

/// What is known of the runs of a child process.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Instance that its data directory named before the present run.
    instance_before: Option<InstanceId>,
    /// Reason why the last run ended, in the service's words.
    last_error: Option<String>,
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
        self.runs.lock().instance_before = self.instance();
        let config = self.endpoint().map_or_else(|| Ok(self.config.clone()), |at| listening_at(&self.config, &at))?;
        for stale in ["grpc.address", "monitor.address", "http.address", "agents.address"] {
            let path = self.data.join(stale);
            if path.exists() {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        let file = self.config_file();
        Ok(durable_file::write(&file, config.as_bytes(), Access::Everyone)?)
    }

    /// Returns the gRPC address, once the service is listening.
    pub(crate) fn endpoint(&self) -> Option<String> {
        fs::read_to_string(self.data.join("grpc.address")).ok().map(|text| text.trim().to_owned())
    }

    /// Returns whether its present run has joined the mesh.
    pub(crate) fn is_ready(&self) -> bool {
        has_joined(self.endpoint().as_deref(), self.instance(), self.runs.lock().instance_before)
    }

    /// Returns why its last run ended, if it ended by itself.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.runs.lock().last_error.clone()
    }

    /// Returns its last instance, as recorded in its data directory.
    fn instance(&self) -> Option<InstanceId> {
        let text = fs::read_to_string(self.data.join("instance.json")).ok()?;
        let note: serde_json::Value = serde_json::from_str(&text).ok()?;
        note.get("instance")?.as_str()?.parse().ok()
    }

    /// Restarts it when it exits, until `host` stops; then stops it.
    pub(crate) async fn keep(self, host: Host, deaths: Deaths) {
        let mut pause = INITIAL_DELAY;
        while !host.is_stopping() {
            let begun = Instant::now();
            match self.run_until_exit(&host).await {
                Ok(true) => return,
                Ok(false) => self.publish(&deaths).await,
                Err(error) => {
                    tracing::error!(name = self.name, error = format!("{error:#}"), "cannot start the service")
                }
            }
            if begun.elapsed() > STABLE_AFTER {
                pause = INITIAL_DELAY;
            }
            let error = self.last_error().map(|error| format!(": {error}")).unwrap_or_default();
            say(&format!("{} exited, restarting it (log: {}){error}", self.name, self.log().display()));
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
        let start_of_log = log.metadata()?.len();
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
                // `keep` tells the operator.
                tracing::debug!(name = self.name, %ended, "service exited");
                self.runs.lock().last_error = self.logged_since(start_of_log).as_deref().and_then(error_line);
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

    /// Returns what it has logged since then.
    fn logged_since(&self, start: u64) -> Option<String> {
        let mut log = fs::File::open(self.log()).ok()?;
        let end = log.metadata().ok()?.len();
        log.seek(SeekFrom::Start(start.max(end.saturating_sub(MAX_ERROR_LOG_BYTES)))).ok()?;
        let mut text = Vec::new();
        log.read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Publishes the proof of death: this process reaped the child, so that others need not wait for it.
    async fn publish(&self, deaths: &Deaths) {
        let Some(instance) = self.instance() else { return };
        if let Err(error) = deaths.publish(self.service, instance).await {
            tracing::warn!(name = self.name, error = format!("{error:#}"), "cannot publish a proof of death");
        }
    }
}

/// Returns whether a service has joined: it listens, and its data directory names another instance than before this run.
fn has_joined(endpoint: Option<&str>, instance: Option<InstanceId>, before: Option<InstanceId>) -> bool {
    endpoint.is_some() && instance.is_some() && instance != before
}

/// Returns the error with which a run ended: the last line of its log that is not a log message. Log messages start with
/// their time. Returns `None` if there is none, as for a process that was killed.
fn error_line(log: &str) -> Option<String> {
    let is_message = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
    let is_hint = |line: &&str| line.starts_with("note: ");
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.rfind(|line| !is_message(line) && !is_hint(line))?;
    Some(line.chars().take(MAX_ERROR_LETTERS).collect())
}

/// Returns the configuration with the previous gRPC address, if that is free and the configuration leaves the port open.
fn listening_at(config: &str, endpoint: &str) -> Result<String> {
    let mut table: toml::Table = config.parse()?;
    let Some(service) = table.get_mut("service").and_then(toml::Value::as_table_mut) else {
        return Ok(config.to_owned());
    };
    let listen = service.get("listen").and_then(toml::Value::as_str).and_then(|text| text.parse::<SocketAddr>().ok());
    let is_fixed = listen.is_some_and(|listen| listen.port() != 0);
    if is_fixed || TcpListener::bind(endpoint).is_err() {
        return Ok(config.to_owned());
    }
    service.insert("listen".to_owned(), endpoint.into());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_ready_only_when_its_present_run_has_joined() {
        let [one, two] = [1, 2].map(|number| InstanceId::new(uuid::Uuid::from_u128(number)));
        for (case, endpoint, instance, before, expected) in [
            ("first start, joined", Some("127.0.0.1:1"), Some(one), None, true),
            ("first start, listening only", Some("127.0.0.1:1"), None, None, false),
            ("not even listening", None, None, None, false),
            ("restarted, joined again", Some("127.0.0.1:1"), Some(two), Some(one), true),
            (
                "restarted, listening: the instance is the previous run's",
                Some("127.0.0.1:1"),
                Some(one),
                Some(one),
                false,
            ),
            ("joined and then exited: the address is gone", None, Some(two), Some(one), false),
        ] {
            assert_eq!(has_joined(endpoint, instance, before), expected, "{case}");
        }
    }

    #[test]
    fn the_port_of_the_run_before_is_used_again_only_where_none_is_configured() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let busy = TcpListener::bind("127.0.0.1:0").unwrap();
        let busy_address = busy.local_addr().unwrap().to_string();
        for (case, listen, before, expected) in [
            ("any port", "127.0.0.1:0", &free, free.as_str()),
            ("any port of IPv6", "[::1]:0", &free, &free),
            ("a fixed port", "10.0.0.12:7400", &free, "10.0.0.12:7400"),
            ("a fixed port of IPv6", "[fd00::12]:7400", &free, "[fd00::12]:7400"),
            ("the port before is taken", "127.0.0.1:0", &busy_address, "127.0.0.1:0"),
            ("the address before is unreadable", "127.0.0.1:0", &"nothing".to_owned(), "127.0.0.1:0"),
        ] {
            let config = listening_at(&format!("[service]\nlisten = \"{listen}\"\n"), before).unwrap();
            assert!(config.contains(&format!("listen = \"{expected}\"")), "{case}: {config}");
        }
        assert_eq!(listening_at("[power]\n", &free).unwrap(), "[power]\n");
    }

    #[test]
    fn the_error_of_a_run_is_its_last_line_that_is_no_log_message() {
        let message = "2026-11-30T12:00:00.000000Z  INFO pxe_service: starting";
        let error =
            "interface \"prov\" does not exist in the network namespace of the service; check pxe.device: ENODEV";
        for (case, log, expected) in [
            ("an error alone", format!("{error}\n"), Some(error)),
            ("after messages", format!("{message}\n{message}\n{error}\n"), Some(error)),
            ("before a last message of the shutdown", format!("{error}\n{message}\n"), Some(error)),
            ("without a line end", format!("{message}\n{error}"), Some(error)),
            ("the last of two", format!("other\n{error}\n\n"), Some(error)),
            (
                "a panic",
                "\nthread 'main' panicked at src/a.rs:1:2:\nno room\nnote: run with `RUST_BACKTRACE=1`\n".to_owned(),
                Some("no room"),
            ),
            ("killed: messages alone", format!("{message}\n"), None),
            ("nothing", String::new(), None),
        ] {
            assert_eq!(error_line(&log).as_deref(), expected, "{case}");
        }
        assert_eq!(error_line(&"x".repeat(9000)).map(|line| line.len()), Some(MAX_ERROR_LETTERS));
    }
}
