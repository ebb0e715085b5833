//! A stand-in for `ironic-python-agent`, as developers of Ironic and of its clients use for nodes of `fake-hardware`: it
//! speaks the agent's protocol over loopback, executes nothing, and downloads the image that it is to write.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use service_kit::Host;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use wire_ironic::agent::{Command, Commands, ImageInfo, Outcome, Status, WRITE_IMAGE};

use crate::ironic::Rest;

/// Maximum time to be found, on a loaded machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// The MAC of the only NIC that it reports.
pub const MAC: &str = "52:54:00:fa:ce:01";

/// The stand-in. Clones are the same.
#[derive(Debug, Clone)]
pub struct StandIn {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    host: Host,
}

#[derive(Debug, Default)]
struct State {
    token: String,
    earlier_tokens: Vec<String>,
    node: String,
    runs_on: bool,
    commands: Vec<Outcome>,
    executed: Vec<String>,
    image: String,
}

impl StandIn {
    /// Listens on loopback.
    ///
    /// # Errors
    /// The port cannot be opened.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let stand_in = Self { address: listener.local_addr()?, state: Arc::default(), host: Host::default() };
        let (server, stop) = (stand_in.clone(), stand_in.host.clone());
        stand_in.host.spawn(async move {
            let serving = async {
                while let Ok((stream, _)) = listener.accept().await {
                    if let Err(error) = server.answer(stream).await {
                        eprintln!("stand-in: {error:#}");
                    }
                }
            };
            tokio::select! {
                () = serving => {}
                () = stop.stopping() => {}
            }
        });
        Ok(stand_in)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steps that it was told to execute, as `interface.step`.
    #[must_use]
    pub fn executed(&self) -> Vec<String> {
        self.state().executed.clone()
    }

    /// Digest of the image that it downloaded last (SHA-256, in hexadecimal). Empty if there is none.
    #[must_use]
    pub fn image(&self) -> String {
        self.state().image.clone()
    }

    /// The agent token of its boot.
    #[must_use]
    pub fn token(&self) -> String {
        self.state().token.clone()
    }

    /// "Boots": looks the node up until it is found, as a new agent, which remembers no commands.
    ///
    /// # Errors
    /// It is not found in time, or its token was given out before.
    pub async fn boot(&self, rest: &Rest<'_>, node: &str) -> Result<Value> {
        let until = Instant::now() + WAIT_TIMEOUT;
        let found = loop {
            match rest.ask("GET", &format!("lookup?node_uuid={node}"), None).await {
                Ok(found) => break found,
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        };
        let token = found["config"]["agent_token"].as_str().context("no token")?.to_owned();
        ensure!(token.len() == 64, "the token was given out before: {found}");
        let mut state = self.state();
        let mut earlier_tokens = std::mem::take(&mut state.earlier_tokens);
        earlier_tokens.push(std::mem::take(&mut state.token));
        let (executed, image) = (std::mem::take(&mut state.executed), std::mem::take(&mut state.image));
        *state = State { token, earlier_tokens, executed, image, ..State::default() };
        Ok(found)
    }

    /// From now on the steps of this boot do not end.
    pub fn run_on(&self) {
        self.state().runs_on = true;
    }

    /// Sends heartbeats while a future is polled, for the node that was named last by [`Self::beats_for`]. A refused heartbeat
    /// is repeated, as by an agent.
    pub async fn beating<T>(&self, rest: &Rest<'_>, work: impl Future<Output = T>) -> T {
        let beats = async {
            loop {
                let node = self.state().node.clone();
                if !node.is_empty()
                    && let Err(error) = self.beat(rest, &node).await
                {
                    eprintln!("stand-in: a heartbeat is refused: {error:#}");
                }
                sleep(BEAT_INTERVAL).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = beats => unreachable!("heartbeats do not end"),
        }
    }

    /// From now on sends heartbeats for this node, until the next boot.
    pub fn beats_for(&self, node: &str) {
        node.clone_into(&mut self.state().node);
    }

    /// The body of its heartbeat.
    #[must_use]
    pub fn heartbeat(&self) -> Value {
        json!({"callback_url": format!("http://{}", self.address), "agent_token": self.token(), "agent_version": "13.0.0"})
    }

    /// Sends a heartbeat.
    ///
    /// # Errors
    /// It is refused.
    pub async fn beat(&self, rest: &Rest<'_>, node: &str) -> Result<()> {
        rest.ask("POST", &format!("heartbeat/{node}"), Some(self.heartbeat())).await.map(drop)
    }

    /// Sends its report.
    ///
    /// # Errors
    /// It is refused.
    pub async fn report(&self, rest: &Rest<'_>, node: &str) -> Result<Value> {
        rest.ask("POST", &format!("continue_inspection?node_uuid={node}"), Some(report())).await
    }

    /// Answers one request, and closes the connection.
    async fn answer(&self, stream: TcpStream) -> Result<()> {
        let mut stream = BufStream::new(stream);
        let (mut line, mut request, mut length) = (String::new(), String::new(), 0);
        loop {
            line.clear();
            ensure!(stream.read_line(&mut line).await? > 0, "the request has no end");
            match line.trim_end().split_once(':') {
                _ if request.is_empty() => request = line.trim_end().to_owned(),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse()?,
                None if line.trim_end().is_empty() => break,
                Some(_) | None => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let (status, answer) = self.called(&request, &body).await?;
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            answer.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(answer.as_bytes()).await?;
        Ok(stream.flush().await?)
    }

    async fn called(&self, request: &str, body: &[u8]) -> Result<(u16, Value)> {
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        ensure!(path.trim_end_matches('/') == "/v1/commands", "unexpected: {request}");
        let token = query.split('&').find_map(|part| part.strip_prefix("agent_token=")).unwrap_or_default();
        // More lenient than an agent, so that commands for an earlier boot show.
        let is_known = token == self.token() || self.state().earlier_tokens.iter().any(|earlier| earlier == token);
        if token.is_empty() || !is_known {
            return Ok((401, json!({"message": "wrong agent token"})));
        }
        match method {
            "GET" => Ok((200, serde_json::to_value(Commands { commands: self.state().commands.clone() })?)),
            "POST" => {
                let outcome = self.execute(&serde_json::from_slice(body)?).await?;
                self.state().commands.push(outcome.clone());
                Ok((200, serde_json::to_value(outcome)?))
            }
            _ => bail!("unexpected: {request}"),
        }
    }

    async fn execute(&self, command: &Command) -> Result<Outcome> {
        let (_, name) = command.name.split_once('.').context("no extension")?;
        let (mut result, mut status) = (Value::Null, Status::Succeeded);
        match name {
            "get_clean_steps" => result = listed("clean", &[("erase_devices_metadata", 10), ("erase_devices", 0)]),
            "get_deploy_steps" => result = listed("deploy", &[(WRITE_IMAGE, 0)]),
            "get_service_steps" => result = listed("service", &[("burnin_cpu", 0)]),
            "execute_clean_step" | "execute_deploy_step" | "execute_service_step" => {
                let step = command.params.get("step").context("no step")?;
                let text = |member: &str| step[member].as_str().unwrap_or_default().to_owned();
                if text("step") == WRITE_IMAGE {
                    self.download(serde_json::from_value(step["args"]["image_info"].clone())?).await?;
                }
                let mut state = self.state();
                state.executed.push(format!("{}.{}", text("interface"), text("step")));
                if state.runs_on {
                    status = Status::Running;
                }
            }
            "sync" => {}
            other => bail!("unexpected command {other}"),
        }
        Ok(Outcome {
            id: self.state().commands.len().to_string(),
            command_name: name.to_owned(),
            command_status: status,
            command_error: None,
            command_result: Some(result),
        })
    }

    async fn download(&self, image: ImageInfo) -> Result<()> {
        let url = image.urls.first().context("the image has no URL")?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let octets = client.get(url).send().await?.error_for_status()?.bytes().await?;
        let digest = hex::encode(Sha256::digest(&octets));
        ensure!(image.os_hash_value.as_deref() == Some(&*digest), "{url} is not the image");
        self.state().image = digest;
        Ok(())
    }
}

/// The result of a command that lists steps of the deploy interface.
fn listed(kind: &str, steps: &[(&str, u32)]) -> Value {
    let step = |(name, priority): &(&str, u32)| json!({"interface": "deploy", "step": name, "priority": priority, "reboot_requested": false});
    let steps: Vec<Value> = steps.iter().map(step).collect();
    let mut result = Map::from_iter([("hardware_manager_version".to_owned(), json!({"StandIn": "1"}))]);
    result.insert(format!("{kind}_steps"), json!({ "StandIn": steps }));
    Value::Object(result)
}

/// A report of a small machine.
#[must_use]
pub fn report() -> Value {
    json!({"inventory": {
        "interfaces": [{"name": "eth0", "mac_address": MAC, "has_carrier": true}],
        "disks": [{"name": "/dev/vda", "size": 8_589_934_592_u64, "rotational": false, "serial": "FAKE1"}],
        "cpu": {"model_name": "none", "count": 4, "architecture": "x86_64"},
        "memory": {"total": 8_589_934_592_u64, "physical_mb": 8192},
        "boot": {"current_boot_mode": "uefi", "pxe_interface": MAC},
        "system_vendor": {"product_name": "fake", "serial_number": "1", "manufacturer": "Fake"},
    }, "plugin_data": {}})
}
