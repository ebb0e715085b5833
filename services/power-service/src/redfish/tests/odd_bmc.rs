//! An in-process Redfish service that deviates as a test demands.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt::Write as _,
};

use parking_lot::Mutex;

use super::*;

pub(super) const ROOT: &str = "/redfish/v1/";
pub(super) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
pub(super) const SETTINGS: &str = "/redfish/v1/Systems/1/SD";
pub(super) const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";

/// A request as the service sees it.
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Value,
}

impl Call {
    pub(super) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// A property of the boot override in the body.
    pub(super) fn boot(&self, name: &str) -> Option<&str> {
        self.body.pointer(&format!("/Boot/BootSourceOverride{name}")).and_then(Value::as_str)
    }
}

/// A response. `cut` closes the connection before the announced length is reached.
#[derive(Default)]
pub(super) struct Raw {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) cut: bool,
}

pub(super) fn status(status: u16) -> Raw {
    Raw { status, ..Raw::default() }
}

pub(super) fn shows(status: u16, body: &Value) -> Raw {
    Raw { status, body: body.to_string().into_bytes(), ..Raw::default() }
}

/// An error with one message of the base registry.
pub(super) fn complains(status: u16, id: &str, arguments: &[&str]) -> Raw {
    let info = json!([{"MessageId": format!("Base.1.8.{id}"), "MessageArgs": arguments}]);
    shows(status, &json!({"error": {"code": "Base.1.8.GeneralError", "@Message.ExtendedInfo": info}}))
}

/// State of the service.
pub(super) struct State {
    pub(super) power: Value,
    /// Properties of the system besides those below.
    pub(super) system: Value,
    pub(super) boot: Value,
    /// The settings resource, if there is one.
    pub(super) settings: Option<Value>,
    pub(super) sessions: BTreeSet<String>,
    /// Number of sessions that were opened.
    pub(super) opened: u32,
    pub(super) version: u32,
    pub(super) calls: Vec<String>,
    /// Number of uses for the test.
    pub(super) count: u32,
    /// How long a change takes on the clock of the test.
    pub(super) delay: Duration,
    /// The clock of the test.
    pub(super) clock: Duration,
}

/// Answers a request in its own way, or leaves it to the regular service.
pub(super) type Odd = fn(&mut State, &Call) -> Option<Raw>;

pub(super) struct OddBmc {
    pub(super) state: Mutex<State>,
    odd: Odd,
}

impl OddBmc {
    pub(super) fn new(odd: Odd) -> Self {
        let boot = json!({
            "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None", "BootSourceOverrideMode": "UEFI",
        });
        let state = State {
            power: json!("Off"),
            system: json!({"Model": "X1"}),
            boot,
            settings: None,
            sessions: BTreeSet::new(),
            opened: 0,
            version: 1,
            calls: Vec::new(),
            count: 0,
            delay: Duration::ZERO,
            clock: Duration::ZERO,
        };
        Self { state: Mutex::new(state), odd }
    }

    /// Changes the state at the start.
    pub(super) fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.state.lock());
        self
    }

    /// Returns the requests that start with this, and forgets all requests.
    pub(super) fn take_calls(&self, start: &str) -> Vec<String> {
        std::mem::take(&mut self.state.lock().calls).into_iter().filter(|call| call.starts_with(start)).collect()
    }

    pub(super) fn boot(&self, name: &str) -> String {
        self.state.lock().boot[format!("BootSourceOverride{name}")].as_str().unwrap_or_default().to_owned()
    }

    fn answer(&self, call: &Call) -> Raw {
        let mut state = self.state.lock();
        let mut text = format!("{} {}", call.method, call.path);
        for name in ["authorization", "x-auth-token", "if-match"] {
            if let Some(value) = call.headers.get(name) {
                write!(text, " {value}").unwrap();
            }
        }
        if !call.body.is_null() {
            write!(text, " {}", call.body).unwrap();
        }
        state.calls.push(text);
        if call.method == "PATCH" || call.is("POST", RESET) {
            let delay = state.delay;
            state.clock += delay;
        }
        (self.odd)(&mut state, call).unwrap_or_else(|| state.regular(call))
    }

    /// Serves one connection after the other.
    async fn serve(&self, listener: &TcpListener) -> Infallible {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Some(call) = receive(&mut stream).await {
                let Raw { status, head, body, cut } = self.answer(&call);
                let chunked = head.contains("chunked");
                let size = body.len() + usize::from(cut) * 100;
                let length = if chunked { String::new() } else { format!("Content-Length: {size}\r\n") };
                let head = format!("HTTP/1.1 {status} X\r\n{head}{length}\r\n");
                // The client may have closed the connection.
                drop(stream.write_all(&[head.as_bytes(), &body].concat()).await);
                if cut {
                    break;
                }
            }
        }
    }

    /// Runs `work` at this service.
    pub(super) async fn run<T>(&self, work: impl AsyncFnOnce(&Redfish, &Login) -> T) -> T {
        self.run_as(value::Login::Auto, work).await
    }

    /// Runs `work` with this method to log in.
    pub(super) async fn run_as<T>(&self, login: value::Login, work: impl AsyncFnOnce(&Redfish, &Login) -> T) -> T {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let redfish = value::Redfish { transport: value::Transport::Http, login, ..value::Redfish::default() };
        let login = Login {
            address: listener.local_addr().unwrap().to_string().parse().unwrap(),
            user: "admin".to_owned(),
            password: Secret::new(b"pw".to_vec()),
            redfish,
        };
        let driver = Redfish::new(D, Path::new(""), loopback());
        tokio::select! {
            result = work(&driver, &login) => result,
            never = self.serve(&listener) => match never {},
        }
    }
}

impl State {
    pub(super) fn etag(&self) -> String {
        format!("\"v{}\"", self.version)
    }

    pub(super) fn is_known(&self, call: &Call) -> bool {
        self.sessions.contains(call.header("x-auth-token")) || call.header("authorization") == BASIC
    }

    pub(super) fn open_session(&mut self) -> String {
        self.opened += 1;
        let token = format!("t{}", self.opened);
        self.sessions.insert(token.clone());
        token
    }

    pub(super) fn whole_system(&self) -> Value {
        let mut system = self.system.clone();
        system["PowerState"] = self.power.clone();
        system["Boot"] = self.boot.clone();
        if self.settings.is_some() {
            system["@Redfish.Settings"] = json!({"SettingsObject": {"@odata.id": SETTINGS}});
        }
        system
    }

    /// Changes the boot override as a PATCH demands.
    pub(super) fn change_boot(&mut self, call: &Call) -> Raw {
        for (name, value) in call.body["Boot"].as_object().into_iter().flatten() {
            self.boot[name] = value.clone();
        }
        self.version += 1;
        status(204)
    }

    /// What a service does that deviates in nothing.
    pub(super) fn regular(&mut self, call: &Call) -> Raw {
        match (call.method.as_str(), call.path.as_str()) {
            ("GET", ROOT) => shows(
                200,
                &json!({"Systems": {"@odata.id": "/redfish/v1/Systems"}, "Links": {"Sessions": {"@odata.id": SESSIONS}}}),
            ),
            ("POST", SESSIONS) if call.body["Password"] == "pw" => {
                let token = self.open_session();
                let head = format!("X-Auth-Token: {token}\r\nLocation: {SESSIONS}/{token}\r\n");
                Raw { head, ..shows(201, &json!({})) }
            }
            _ if !self.is_known(call) => status(401),
            ("GET", "/redfish/v1/Systems") => shows(200, &json!({"Members": [{"@odata.id": SYSTEM}]})),
            ("GET", SYSTEM) => Raw { head: format!("ETag: {}\r\n", self.etag()), ..shows(200, &self.whole_system()) },
            ("GET", SETTINGS) if self.settings.is_some() => shows(200, self.settings.as_ref().unwrap()),
            ("PATCH", SYSTEM) => match call.header("if-match") {
                "" | "*" => self.change_boot(call),
                tag if tag == self.etag() => self.change_boot(call),
                _ => status(412),
            },
            ("POST", RESET) => {
                let is_on = matches!(call.body["ResetType"].as_str(), Some("On" | "ForceOn"));
                self.power = json!(if is_on { "On" } else { "Off" });
                status(204)
            }
            ("DELETE", path) => {
                let token = path.rsplit('/').next().unwrap_or_default().to_owned();
                status(if self.sessions.remove(&token) { 204 } else { 404 })
            }
            _ => status(404),
        }
    }
}

/// Reads a request. Returns `None` if the client closed the connection.
async fn receive(stream: &mut TcpStream) -> Option<Call> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let size = stream.read(&mut buffer).await.ok().filter(|size| *size > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let size: usize = headers.get("content-length").map_or(0, |size| size.parse().unwrap());
        if body.len() < size {
            continue;
        }
        let body = serde_json::from_str(body).unwrap_or_default();
        return Some(Call { method: first.next()?, path: first.next()?, headers, body });
    }
}
