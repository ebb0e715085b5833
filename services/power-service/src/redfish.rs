//! Redfish over HTTPS, with one connection per session.
//!
//! [`request`] and [`response`] build and interpret messages, [`connection`] carries them, [`tls`] verifies
//! certificates. Not supported: settings resources beside the system (`@Redfish.Settings`), action info resources, and
//! TLS below 1.2 or without forward secrecy, which rustls does not implement; use IPMI for such BMCs.

mod boot_source;
mod connection;
mod error;
mod firmware;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod tls;

use std::{collections::BTreeMap, time::Duration};

use domain::{
    net::BmcAddr,
    power::{Boot, Power},
    secret::Secret,
};
use hyper::Request;
use keyspace::value::{self, BiosSetting};
use mesh::Permit;
use tokio::time::Instant;

use self::{
    connection::{Answer, Connection, Endpoint, TransportError},
    error::RedfishError,
    request::{Credentials, LoginMethod, RedfishRequest},
    response::{ResponseKind, System, classify},
};
use crate::{
    bmc::{Bmc, BmcError, BootOrder, Command, Firmware, Reply},
    metrics,
};

/// State shared by all sessions. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Redfish {
    trust: tls::PlatformTrust,
    settle: Duration,
}

/// Address and credentials of a Redfish service.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) address: BmcAddr,
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) redfish: value::Redfish,
}

/// An open session, or basic authentication for a service without sessions.
pub(crate) struct RedfishSession {
    connection: Connection,
    address: BmcAddr,
    /// A random number that identifies the session in the journal; Redfish has only `path`, or nothing.
    id: u32,
    path: String,
    credentials: Credentials,
    system: String,
    /// Path of the registry collection.
    registries: String,
    /// The system as last read.
    read: Option<System>,
    /// Whether a command was sent and not answered.
    has_pending_command: bool,
}

impl Redfish {
    /// Creates the driver. `settle` is D: a BMC does not execute a command later than D after it was sent.
    pub(crate) fn new(settle: Duration) -> Self {
        Self { trust: tls::PlatformTrust::default(), settle }
    }

    /// Logs in. Changes nothing but the BMC's session table.
    pub(crate) async fn open(&self, login: &Login) -> Result<RedfishSession, BmcError> {
        let refused = |why: String| BmcError::Refused { address: login.address.to_string(), why };
        let tls = match login.redfish.transport {
            value::Transport::Https => {
                Some(self.trust.config(&login.redfish.trust).await.map_err(|error| refused(error.to_string()))?)
            }
            value::Transport::Http => None,
        };
        let id = getrandom::u32().map_err(|error| refused(format!("no random numbers available: {error}")))?.max(1);
        let mut session = RedfishSession {
            connection: Connection::new(Endpoint { address: login.address.clone(), tls, user_timeout: self.settle }),
            address: login.address.clone(),
            id,
            path: String::new(),
            credentials: Credentials::Anonymous,
            system: String::new(),
            registries: String::new(),
            read: None,
            has_pending_command: false,
        };
        let root = session.log_in(login).await?;
        // A root without a link has the registries at the path of the schema (DSP0268,
        // `MessageRegistryFileCollection`).
        let base = if login.redfish.root.is_empty() { request::ROOT } else { &login.redfish.root };
        session.registries = response::link(&root, "/Registries").unwrap_or_else(|| format!("{base}/Registries"));
        match session.find_system(&root, &login.redfish.system).await {
            Ok(system) => session.system = system,
            Err(error) => {
                session.close().await;
                return Err(error);
            }
        }
        Ok(session)
    }
}

impl RedfishSession {
    /// Authenticates and returns the service root.
    async fn log_in(&mut self, login: &Login) -> Result<serde_json::Value, BmcError> {
        let root = if login.redfish.root.is_empty() { request::ROOT } else { &login.redfish.root };
        let wrong = || BmcError::Password(self.address.to_string());
        let basic = Credentials::basic(&login.user, &login.password).ok_or_else(wrong)?;
        let password = std::str::from_utf8(login.password.expose()).map_err(|_| wrong())?;
        // The root is readable without authentication (DSP0266 §13.2), but some services require it.
        let mut answer = self.ask(&RedfishRequest::get(&format!("{root}/"))).await?;
        if answer.status == 401 {
            self.credentials = basic.clone();
            answer = self.ask(&RedfishRequest::get(&format!("{root}/"))).await?;
        }
        let Answer { body: resource, .. } = self.expect_success(answer)?;
        self.credentials = basic;
        let LoginMethod::Session(path) = request::login_method(login.redfish.login, root, &resource) else {
            return Ok(resource);
        };
        let message = RedfishRequest::login(&path, &login.user, password);
        let request = message.request(&self.address, &Credentials::Anonymous).map_err(|why| self.refused(why))?;
        let answer = self.connection.ask(request, || true).await.map_err(|error| self.transport_error(&error))?;
        match (classify(&answer), login.redfish.login) {
            // It links to sessions that it does not have.
            (ResponseKind::NotFound, value::Login::Auto) => return Ok(resource),
            (ResponseKind::Refused(_), value::Login::Auto) if matches!(answer.status, 405 | 501) => {
                return Ok(resource);
            }
            (ResponseKind::Success, _) => {}
            (other, _) => return Err(other.error(&self.address.to_string())),
        }
        let token = answer.token.map(Credentials::Session);
        self.credentials = token.ok_or_else(|| self.refused("it opened a session without a token".to_owned()))?;
        let own = answer.body.get("@odata.id").and_then(serde_json::Value::as_str);
        self.path = answer.location.as_deref().or(own).and_then(response::path).unwrap_or_default();
        Ok(resource)
    }

    /// Returns the path of the system to control.
    async fn find_system(&mut self, root: &serde_json::Value, named: &str) -> Result<String, BmcError> {
        if let Some(path) = response::path(named) {
            return Ok(path);
        }
        let systems = response::link(root, "/Systems");
        let systems = systems.ok_or_else(|| self.refused("its service root has no link to systems".to_owned()))?;
        let systems = self.get(&systems).await?;
        response::choose_system(&response::members(&systems.body), named).map_err(|why| self.unusable(&why))
    }

    fn refused(&self, why: impl ToString) -> BmcError {
        BmcError::Refused { address: self.address.to_string(), why: why.to_string() }
    }

    /// The error of an answer that cannot be used now, or ever.
    fn unusable(&self, why: &RedfishError) -> BmcError {
        BmcError::of(why.verdict(), self.address.to_string(), why.to_string())
    }

    fn transport_error(&self, error: &TransportError) -> BmcError {
        tracing::debug!(bmc = %self.address, %error, "Redfish request failed");
        match error {
            TransportError::Unsent(_) | TransportError::Unanswered(_) => BmcError::Silent(self.address.to_string()),
            TransportError::TlsFailed(why) => {
                self.refused(format!("TLS failed, check driver_info/redfish_verify_ca: {why}"))
            }
            TransportError::NotPermitted => BmcError::NotPermitted,
        }
    }

    fn request(&self, message: &RedfishRequest) -> Result<Request<String>, BmcError> {
        message.request(&self.address, &self.credentials).map_err(|why| self.refused(why))
    }

    /// Sends a request that changes nothing but sessions. Retries once if a kept-alive connection turns out to be
    /// closed.
    async fn ask(&mut self, message: &RedfishRequest) -> Result<Answer, BmcError> {
        let begun = Instant::now();
        let mut was_kept = self.connection.is_open();
        let answer = loop {
            match self.connection.ask(self.request(message)?, || true).await {
                Err(TransportError::Unsent(_) | TransportError::Unanswered(_)) if was_kept => was_kept = false,
                answer => break answer,
            }
        };
        metrics::command(begun);
        answer.map_err(|error| self.transport_error(&error))
    }

    fn expect_success(&self, answer: Answer) -> Result<Answer, BmcError> {
        let kind = classify(&answer);
        match (kind, &self.credentials) {
            (ResponseKind::Success, _) if answer.body.is_object() => Ok(answer),
            // The token was valid when the session was opened.
            (ResponseKind::Unauthorized, Credentials::Session(_)) => {
                let why = "its token is no longer valid".to_owned();
                Err(BmcError::SessionLost { address: self.address.to_string(), why })
            }
            (kind, _) => Err(kind.error(&self.address.to_string())),
        }
    }

    async fn get(&mut self, path: &str) -> Result<Answer, BmcError> {
        let answer = self.ask(&RedfishRequest::get(path)).await?;
        if classify(&answer) == ResponseKind::NotFound {
            return Err(self.refused(format!("it has no resource {path}; check driver_info/redfish_system_id")));
        }
        self.expect_success(answer)
    }

    async fn system(&mut self) -> Result<&System, BmcError> {
        let path = self.system.clone();
        let answer = self.get(&path).await?;
        Ok(self.read.insert(System::of(&path, answer)))
    }

    /// Reads an optional resource. Returns `None` if it is missing or refused.
    async fn get_optional(&mut self, path: &str) -> Result<Option<serde_json::Value>, BmcError> {
        let answer = self.ask(&RedfishRequest::get(path)).await?;
        Ok((classify(&answer) == ResponseKind::Success && answer.body.is_object()).then_some(answer.body))
    }

    /// Reads the BIOS settings, with what the attribute registry says about them if there is one.
    async fn settings(&mut self, path: &str) -> Result<Option<BTreeMap<String, BiosSetting>>, BmcError> {
        let Some(bios) = self.get_optional(path).await? else { return Ok(None) };
        let mut settings = firmware::settings(&bios);
        if settings.is_empty() {
            return Ok(Some(settings));
        }
        let collection = self.get_optional(&self.registries.clone()).await?.unwrap_or_default();
        for path in firmware::registries(&bios, &collection) {
            let Some(endpoint) = self.get_optional(&path).await?.and_then(|file| firmware::location(&file)) else {
                continue;
            };
            let registry = self.get_optional(&endpoint).await?.unwrap_or_default();
            if firmware::apply_registry(&mut settings, &bios, &registry) {
                break;
            }
        }
        Ok(Some(settings))
    }

    /// Deletes a session. Returns whether it is confirmed to be closed.
    async fn delete(&mut self, path: &str) -> Result<bool, BmcError> {
        let answer = self.ask(&RedfishRequest::delete(path)).await?;
        Ok(matches!(classify(&answer), ResponseKind::Success | ResponseKind::NotFound))
    }

    /// Sends a command while `may_send` allows it. If the service rejects an optional field, the command is repeated
    /// without it.
    async fn send(
        &mut self,
        mut message: RedfishRequest,
        system: &System,
        may_send: impl Fn() -> bool,
    ) -> Result<Reply, BmcError> {
        let kind = loop {
            let kind = classify(&self.send_once(&message, &may_send).await?);
            match message.without_rejected_field(&kind, system) {
                Some(reduced) => message = reduced,
                None => break kind,
            }
        };
        match kind {
            ResponseKind::Success => Ok(Reply::Done),
            ResponseKind::Refused(why) => Ok(Reply::Refused(why)),
            ResponseKind::NotFound => Ok(Reply::Refused(format!("it has no resource {}", message.path))),
            ResponseKind::GatewayError => {
                self.has_pending_command = true;
                Err(BmcError::Unknown(self.address.to_string()))
            }
            kind @ (ResponseKind::Unauthorized
            | ResponseKind::PreconditionFailed
            | ResponseKind::Busy(_)
            | ResponseKind::NoSessionSlot) => Err(kind.error(&self.address.to_string())),
        }
    }

    async fn send_once(&mut self, message: &RedfishRequest, may_send: &impl Fn() -> bool) -> Result<Answer, BmcError> {
        let begun = Instant::now();
        let answer = self.connection.ask(self.request(message)?, may_send).await;
        metrics::command(begun);
        answer.map_err(|error| match error {
            TransportError::Unanswered(_) => {
                self.has_pending_command = true;
                BmcError::Unknown(self.address.to_string())
            }
            TransportError::Unsent(_) | TransportError::TlsFailed(_) | TransportError::NotPermitted => {
                self.transport_error(&error)
            }
        })
    }
}

impl Bmc for RedfishSession {
    fn session(&self) -> u32 {
        self.id
    }

    fn path(&self) -> &str {
        &self.path
    }

    async fn power(&mut self) -> Result<Power, BmcError> {
        let power = self.system().await?.power();
        power.map_err(|why| self.unusable(&why))
    }

    async fn describe(&mut self) -> Result<String, BmcError> {
        Ok(self.system().await?.description())
    }

    async fn boot_order(&mut self) -> Result<BootOrder, BmcError> {
        Ok(self.system().await?.boot_order())
    }

    /// A resource that cannot be read is left out.
    async fn firmware(&mut self) -> Result<Option<Firmware>, BmcError> {
        let system = self.system().await?.clone();
        let secure_boot = match response::link(&system.body, "/SecureBoot") {
            Some(path) => self.get_optional(&path).await?.and_then(|body| firmware::secure_boot(&body)),
            None => None,
        };
        let settings = match response::link(&system.body, "/Bios") {
            Some(path) => self.settings(&path).await?,
            None => None,
        };
        Ok(Some(Firmware { boot_mode: firmware::boot_mode(&system), secure_boot, settings }))
    }

    /// Connects, because some services close the connection after each answer and connecting would take time of the
    /// permit.
    async fn prepare(&mut self) -> Result<(), BmcError> {
        self.connection.connect().await.map_err(|error| self.transport_error(&error))
    }

    async fn command(&mut self, command: Command, permit: &Permit) -> Result<Reply, BmcError> {
        let system =
            self.read.clone().ok_or_else(|| self.refused("its system was not read before the command".to_owned()))?;
        let id = self.id;
        match RedfishRequest::command(command, &system) {
            Ok(message) => self.send(message, &system, || permit.allows(id)).await,
            Err(error) => Ok(Reply::Refused(error.to_string())),
        }
    }

    fn boot_steps(&self, _: Boot) -> usize {
        1
    }

    async fn close_other(&mut self, _: u32, path: &str) -> Result<bool, BmcError> {
        if path.is_empty() {
            return Ok(false);
        }
        // A service that lost its sessions may reuse a path: the previous session no longer exists.
        if path == self.path {
            return Ok(true);
        }
        self.delete(path).await
    }

    async fn close(mut self) -> bool {
        if self.path.is_empty() {
            // Nothing stays open at the service; only a command without an answer may still be pending.
            return matches!(self.credentials, Credentials::Basic(_)) && !self.has_pending_command;
        }
        let path = self.path.clone();
        self.delete(&path).await.unwrap_or(false)
    }
}
