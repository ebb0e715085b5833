//! Redfish over HTTPS, with one connection per session.
//!
//! [`request`], [`boot`], [`response`] and [`messages`] build and interpret messages, [`http_policy`] decides what follows a
//! response, [`quirks`] remembers what was learned about a BMC and [`rejections`] what it rejected, and [`decode`] reads
//! bodies: these are pure. [`login`], [`read`] and [`send`] carry out what they decide over a [`connection`]; [`tls`] and
//! [`certificates`] verify the service.
//!
//! Not supported: TLS below 1.2 or without forward secrecy, which rustls does not implement; use IPMI for such BMCs.

mod boot;
mod boot_source;
mod certificates;
mod connection;
mod decode;
mod error;
mod firmware;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http_policy;
mod login;
mod messages;
mod quirks;
mod read;
mod rejections;
mod request;
mod response;
mod send;
#[cfg(test)]
mod tests;
mod tls;

use std::{path::Path, sync::Arc, time::Duration};

use domain::{
    net::BmcAddr,
    power::{Boot, Power},
    secret::Secret,
};
use hyper::Request;
use keyspace::value;
use mesh::Permit;
use service_kit::outbound_http::Outbound;
use tokio::time::Instant;

use self::{
    certificates::CertificateFolder,
    connection::{Connection, Endpoint, TransportError},
    error::RedfishError,
    quirks::{BmcIdentity, QuirkTable, Quirks},
    rejections::Rejections,
    request::{Credentials, RedfishRequest},
    response::{PowerReading, ResponseKind, System},
};
use crate::bmc::{Bmc, BmcError, BootOrder, Command, Firmware, Reply};

/// State shared by all sessions. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Redfish {
    trust: tls::TrustStore,
    quirks: QuirkTable,
    outbound: Arc<Outbound>,
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
    login: Login,
    /// A random number that identifies the session in the journal; Redfish has only `path`, or nothing.
    id: u32,
    path: String,
    /// Path of the session collection, if sessions are used.
    sessions: String,
    credentials: Credentials,
    /// Whether the service accepted the credentials for a request.
    accepted: bool,
    /// Whether the credentials are not those of the journal: reads may go on, commands may not.
    replaced: bool,
    system: String,
    /// Path of the registry collection.
    registries: String,
    /// The system as last read.
    read: Option<System>,
    /// The system's settings resource as last read, `Some(None)` if it has none.
    settings: Option<Option<System>>,
    /// The reset types that the system lists, `Some(None)` if it does not list them.
    reset_types: Option<Option<Vec<String>>>,
    /// Whether this session set the boot order.
    has_set_boot: bool,
    /// Whether this session switched the machine off.
    has_switched_off: bool,
    /// Whether a command was sent and not answered, or failed in a way after which it may still be carried out.
    has_pending_command: bool,
    /// When the power state became unclear, if it is.
    unclear_since: Option<Instant>,
    /// How often the service failed when the boot order was set.
    boot_failures: u32,
    /// How the present command was rejected.
    rejections: Rejections,
    table: QuirkTable,
    identity: BmcIdentity,
    quirks: Quirks,
}

impl Redfish {
    /// Creates the driver. `settle` is D: a BMC does not execute a command later than D after it was sent.
    /// Certificates that records name by their file name are read from `ca_folder`, if it is not empty. BMCs are at addresses
    /// that `outbound` allows.
    pub(crate) fn new(settle: Duration, ca_folder: &Path, outbound: Outbound) -> Self {
        let trust = tls::TrustStore::new(CertificateFolder::new(ca_folder));
        Self { trust, quirks: QuirkTable::default(), outbound: Arc::new(outbound), settle }
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
        let identity = self.quirks.identity(login);
        let mut session = RedfishSession {
            connection: Connection::new(Endpoint {
                address: login.address.clone(),
                tls,
                outbound: Arc::clone(&self.outbound),
                user_timeout: self.settle,
            }),
            login: login.clone(),
            id,
            path: String::new(),
            sessions: String::new(),
            credentials: Credentials::Anonymous,
            accepted: false,
            replaced: false,
            system: String::new(),
            registries: String::new(),
            read: None,
            settings: None,
            reset_types: None,
            has_set_boot: false,
            has_switched_off: false,
            has_pending_command: false,
            unclear_since: None,
            boot_failures: 0,
            rejections: Rejections::default(),
            table: self.quirks.clone(),
            quirks: self.quirks.get(&identity, Instant::now()),
            identity,
        };
        let found = match session.log_in().await {
            Ok(root) => {
                // A root without a link has the registries at the path of the schema (DSP0268,
                // `MessageRegistryFileCollection`).
                let base = session.root();
                session.registries =
                    response::link(&root, "/Registries").unwrap_or_else(|| format!("{base}/Registries"));
                session.find_system(&root).await
            }
            Err(error) => Err(error),
        };
        match found {
            Ok(system) => session.system = system,
            Err(error) => {
                session.close().await;
                return Err(error);
            }
        }
        // Nothing was sent in place of the journal's session yet: the caller reads the path only now.
        session.replaced = false;
        Ok(session)
    }
}

impl RedfishSession {
    fn address(&self) -> String {
        self.login.address.to_string()
    }

    /// Returns the path of the service root, without a trailing slash.
    fn root(&self) -> String {
        let root = &self.login.redfish.root;
        if root.is_empty() { request::ROOT.to_owned() } else { root.clone() }
    }

    fn refused(&self, why: impl ToString) -> BmcError {
        BmcError::Refused { address: self.address(), why: self.redacted(why.to_string()) }
    }

    /// Converts a response other than the expected success to an error.
    fn error(&self, kind: ResponseKind) -> BmcError {
        self.without_password(kind.error(&self.address()))
    }

    fn without_password(&self, error: BmcError) -> BmcError {
        match error {
            BmcError::Refused { address, why } => BmcError::Refused { address, why: self.redacted(why) },
            BmcError::Busy { address, why } => BmcError::Busy { address, why: self.redacted(why) },
            BmcError::SessionLost { address, why } => BmcError::SessionLost { address, why: self.redacted(why) },
            BmcError::Privilege { address, user, level, why } => {
                BmcError::Privilege { address, user, level, why: self.redacted(why) }
            }
            BmcError::Doubtful(refusal) => BmcError::Doubtful(Box::new(self.without_password(*refusal))),
            error @ (BmcError::Silent(_)
            | BmcError::Password(_)
            | BmcError::WrongKey(_)
            | BmcError::NoSlot(_)
            | BmcError::NotPermitted
            | BmcError::NotSent { .. }
            | BmcError::Unknown(_)) => error,
        }
    }

    /// Removes the password from what a service says: some repeat the value that they reject.
    fn redacted(&self, text: String) -> String {
        let Ok(password) = std::str::from_utf8(self.login.password.expose()) else { return text };
        if password.is_empty() { text } else { text.replace(password, "******") }
    }

    fn session_ended(&self) -> BmcError {
        BmcError::SessionLost { address: self.address(), why: "its token is no longer valid".to_owned() }
    }

    /// The error of an answer that cannot be used now, or ever.
    fn unusable(&self, why: &RedfishError) -> BmcError {
        BmcError::of(why.verdict(), self.address(), self.redacted(why.to_string()))
    }

    fn transport_error(&self, error: &TransportError) -> BmcError {
        tracing::debug!(bmc = %self.login.address, %error, "Redfish request failed");
        match error {
            TransportError::Unsent(_) | TransportError::Unanswered(_) => BmcError::Silent(self.address()),
            TransportError::TlsFailed(why) => {
                self.refused(format!("TLS failed, check driver_info/redfish_verify_ca: {why}"))
            }
            TransportError::NotAllowed(_) => self.refused(error.to_string()),
            TransportError::NotPermitted => BmcError::NotPermitted,
        }
    }

    fn request(&self, message: &RedfishRequest) -> Result<Request<String>, BmcError> {
        message.request(&self.login.address, &self.credentials).map_err(|why| self.unusable(&why))
    }

    /// Remembers what was learned about the BMC.
    fn learn(&self) {
        tracing::info!(bmc = %self.login.address, quirks = ?self.quirks, "learned how a BMC deviates from Redfish");
        self.table.learn(&self.identity, &self.quirks, Instant::now());
    }
}

impl Bmc for RedfishSession {
    fn session(&self) -> u32 {
        self.id
    }

    fn path(&self) -> &str {
        &self.path
    }

    /// A power state that is unclear is an error that the caller repeats the read for.
    async fn power(&mut self) -> Result<Power, BmcError> {
        let switches_off = self.has_switched_off;
        let waited = self.unclear_since.map_or(Duration::ZERO, |since| since.elapsed());
        match self.system().await?.power(waited, switches_off) {
            PowerReading::Is(power) => {
                self.unclear_since = None;
                Ok(power)
            }
            PowerReading::Unclear(why) => {
                self.unclear_since.get_or_insert_with(Instant::now);
                Err(BmcError::Busy { address: self.address(), why: self.redacted(why.to_string()) })
            }
            PowerReading::Unusable(why) => Err(self.unusable(&why)),
        }
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
            Some(path) => self.bios_settings(&path).await?,
            None => None,
        };
        Ok(Some(Firmware { boot_mode: firmware::boot_mode(&system), secure_boot, settings }))
    }

    /// Reads what a command needs and connects, because some services close the connection after each answer and
    /// connecting would take time of the permit.
    async fn prepare(&mut self) -> Result<(), BmcError> {
        // The next attempt opens a session that is in the journal, so that a successor can close it.
        if self.replaced {
            return Err(self.session_ended());
        }
        self.read_capabilities().await?;
        if self.replaced {
            return Err(self.session_ended());
        }
        self.connection.connect().await.map_err(|error| self.transport_error(&error))
    }

    async fn command(&mut self, command: Command, permit: &Permit) -> Result<Reply, BmcError> {
        let id = self.id;
        self.execute(command, || permit.allows(id)).await
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
