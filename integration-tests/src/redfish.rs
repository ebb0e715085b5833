//! A Redfish BMC with sessions, which `sushy-emulator` does not have: without TLS, with one system, and able to fall
//! silent in the middle of a command.

pub mod emulator;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Its only user.
pub const USER: &str = "admin";
/// The user's password.
pub const PASSWORD: &str = "s3ssi0n-pw";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const SYSTEM: &str = "/redfish/v1/Systems/1";
/// Maximum size of a request in octets.
const LARGEST: usize = 64 << 10;

/// The BMC.
#[derive(Debug)]
pub struct Service {
    listener: TcpListener,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    opened: u32,
    open: Vec<u32>,
    is_on: bool,
    deaf: bool,
    log: Vec<String>,
}

struct Request {
    method: String,
    path: String,
    token: String,
    body: Value,
}

/// A status, an additional header line and a body; `None`: no answer at all.
type Answer = Option<(u16, String, Value)>;

impl Service {
    /// Opens its port on loopback. The machine is off.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn bind() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { listener, state: Mutex::default() })
    }

    /// Its address.
    ///
    /// # Errors
    /// The socket has no address.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Until further notice, requests that change power are received and neither carried out nor answered.
    pub fn is_deaf(&self, deaf: bool) {
        self.with(|state| state.deaf = deaf);
    }

    /// Whether the machine is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.with(|state| state.is_on)
    }

    /// Number of open sessions.
    #[must_use]
    pub fn open(&self) -> usize {
        self.with(|state| state.open.len())
    }

    /// Requests that change something, in order, with their sessions: `7 off`, `7 opens`, `8 closes 7`.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.with(|state| state.log.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves until this is dropped.
    ///
    /// # Errors
    /// Accepting a connection fails.
    pub async fn serve(&self) -> Result<()> {
        let mut lines = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => lines.push(self.line(accepted?.0)),
                Some(ended) = lines.next() => drop::<Result<()>>(ended),
            }
        }
    }

    async fn line(&self, mut stream: TcpStream) -> Result<()> {
        while let Some(request) = Request::read(&mut stream).await? {
            let answer = self.with(|state| state.answer(&request));
            let Some((status, head, body)) = answer else { return std::future::pending().await };
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let text = format!("HTTP/1.1 {status} X\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(text.as_bytes()).await?;
        }
        Ok(())
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let plain = |status: u16| Some((status, String::new(), Value::Null));
        let shows = |body: Value| Some((200, String::new(), body));
        let session: Option<u32> = request.token.strip_prefix("token-").and_then(|id| id.parse().ok());
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/redfish/v1/") => shows(json!({
                "Systems": {"@odata.id": "/redfish/v1/Systems"}, "Links": {"Sessions": {"@odata.id": SESSIONS}},
            })),
            ("POST", SESSIONS) if request.body == json!({"UserName": USER, "Password": PASSWORD}) => {
                self.opened += 1;
                self.open.push(self.opened);
                self.log.push(format!("{} opens", self.opened));
                let head = format!("X-Auth-Token: token-{0}\r\nLocation: {SESSIONS}/{0}\r\n", self.opened);
                Some((201, head, json!({"@odata.id": format!("{SESSIONS}/{}", self.opened)})))
            }
            _ if !session.is_some_and(|id| self.open.contains(&id)) => plain(401),
            ("GET", "/redfish/v1/Systems") => shows(json!({"Members": [{"@odata.id": SYSTEM}]})),
            ("GET", SYSTEM) => shows(json!({"PowerState": if self.is_on { "On" } else { "Off" }})),
            ("POST", path) if path.strip_prefix(SYSTEM) == Some("/Actions/ComputerSystem.Reset") => {
                let on = request.body["ResetType"] == "On";
                let word = if on { "on" } else { "off" };
                self.log.push(format!("{} {word}", session.unwrap_or_default()));
                if self.deaf {
                    return None;
                }
                self.is_on = on;
                plain(204)
            }
            ("DELETE", path) => {
                let id = path.strip_prefix(SESSIONS).and_then(|path| path.strip_prefix('/')?.parse().ok());
                let before = self.open.len();
                self.open.retain(|open| Some(*open) != id);
                self.log.push(format!("{} closes {}", session.unwrap_or_default(), id.unwrap_or_default()));
                plain(if self.open.len() < before { 204 } else { 404 })
            }
            _ => plain(404),
        }
    }
}

impl Request {
    /// The next request of a connection; `None` if it was closed.
    async fn read(stream: &mut TcpStream) -> Result<Option<Self>> {
        let mut octets = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&octets).into_owned();
            if let Some(request) = Self::of(&text)? {
                return Ok(Some(request));
            }
            ensure!(octets.len() < LARGEST, "a request without end");
            if stream.read_buf(&mut octets).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Parses a request; `None` if it is incomplete.
    fn of(text: &str) -> Result<Option<Self>> {
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).unwrap_or_default()
        };
        if body.len() < header("content-length").parse().unwrap_or(0) {
            return Ok(None);
        }
        let mut words = head.split_whitespace().map(str::to_owned);
        let (method, path) = words.next().zip(words.next()).context("no request")?;
        let token = header("x-auth-token").to_owned();
        Ok(Some(Self { method, path, token, body: serde_json::from_str(body).unwrap_or_default() }))
    }
}
