//! IPMI 2.0 over UDP. All sessions of the rack share one socket.

mod boot_options;
mod sent_once;
mod settings;

use std::{
    collections::HashMap,
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use domain::{
    net::BmcAddr,
    power::{Boot, Power},
    raw_command::RawCommand,
    secret::Secret,
};
use keyspace::value;
use mesh::Permit;
use parking_lot::Mutex;
use service_kit::{Host, socket::Datagrams};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use wire_ipmi::{
    Completion, Effect, Guard, Malformed, Meaning, Output, Reason, Retry, Session, Ticket, app, chassis, chassis::boot,
};

use crate::{
    Error,
    bmc::{Bmc, BmcError, BootOrder, Command, Reply},
    config, metrics,
    retry::Verdict,
};

/// A datagram that waited longer in the socket buffer is discarded as outdated (OWNERSHIP.md).
const MAX_SOCKET_DELAY: Duration = Duration::from_secs(2);
/// Maximum number of datagrams queued for one session.
const SESSION_QUEUE_LEN: usize = 64;
/// Number of failures of optional commands in a session, after which they are not repeated any more.
const MAX_OPTIONAL_FAILURES: u32 = 3;
/// Size of the receive buffer, in bytes; larger than any RMCP+ message that we request.
const MAX_DATAGRAM_BYTES: usize = 2048;

/// The socket of the rack and its sessions. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct Ipmi {
    socket: Arc<Datagrams>,
    sessions: Arc<Mutex<HashMap<u32, SessionQueue>>>,
}

#[derive(Debug)]
struct SessionQueue {
    peer: SocketAddrV4,
    sender: mpsc::Sender<Vec<u8>>,
    logging_in: bool,
}

/// Address and credentials of a BMC.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) address: BmcAddr,
    pub(crate) user: String,
    pub(crate) password: Secret,
    /// The key K_G, if the BMC has one.
    pub(crate) key: Option<Secret>,
    pub(crate) ipmi: value::Ipmi,
}

impl Ipmi {
    /// Binds the socket and receives on it until the host stops.
    pub(crate) async fn bind(address: SocketAddrV4, host: Host) -> Result<Self, Error> {
        let socket = Datagrams::bind(address, None).map_err(|source| Error::Socket { address, source })?;
        let ipmi = Self { socket: Arc::new(socket), sessions: Arc::default() };
        host.spawn_essential("ipmi", ipmi.clone().receive(host.clone()));
        Ok(ipmi)
    }

    async fn receive(self, host: Host) {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            let arrival = tokio::select! {
                () = host.stopping() => return,
                arrival = self.socket.receive(&mut buffer) => arrival,
            };
            match arrival {
                Ok(arrival) if arrival.waited.is_none_or(|waited| waited <= MAX_SOCKET_DELAY) => {
                    self.deliver(arrival.from, buffer.get(..arrival.size).unwrap_or_default());
                }
                Ok(_) => ::metrics::counter!("power_stale_datagrams_total").increment(1),
                Err(error) => tracing::debug!(%error, "cannot receive from the IPMI socket"),
            }
        }
    }

    fn deliver(&self, from: SocketAddrV4, bytes: &[u8]) {
        let sessions = self.sessions.lock();
        match wire_ipmi::console_session_id(bytes) {
            Some(console) => {
                if let Some(queue) = sessions.get(&console).filter(|queue| queue.peer == from) {
                    // If the queue is full the datagram is dropped and the session retries.
                    let _ = queue.sender.try_send(bytes.to_vec());
                }
            }
            // Some BMCs refuse a login without the session id.
            None => {
                for queue in sessions.values().filter(|queue| queue.logging_in && queue.peer == from) {
                    let _ = queue.sender.try_send(bytes.to_vec());
                }
            }
        }
    }

    /// Logs in. Changes nothing but the BMC's session table.
    pub(crate) async fn open(&self, login: &Login, limits: &config::Power) -> Result<IpmiSession, BmcError> {
        let address = login.address.to_string();
        let refused = |why: String| BmcError::Refused { address: address.clone(), why };
        let peer = match resolve(&login.address).await {
            Ok(Some(peer)) => peer,
            Ok(None) => return Err(refused("its host name has no IPv4 address".to_owned())),
            // The name server may answer later.
            Err(error) => {
                let why = format!("its host name cannot be resolved: {error}");
                return Err(BmcError::Busy { address, why });
            }
        };
        let (sender, receiver) = mpsc::channel(SESSION_QUEUE_LEN);
        let console = self.register(peer, sender).map_err(|error| refused(error.to_string()))?;
        let registered = Registered { sessions: Arc::clone(&self.sessions), console };
        let config = settings::config(console, login, limits.answer).map_err(|error| refused(error.to_string()))?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| refused(format!("no random numbers available: {error}")))?;
        let session = Session::new(config, seed, Instant::now());
        let retry = Retry { timeout: limits.answer, tries: limits.tries };
        let mut open = IpmiSession {
            session,
            socket: Arc::clone(&self.socket),
            receiver,
            peer,
            address,
            user: login.user.clone(),
            settings: login.ipmi.clone(),
            retry,
            bmc_session: 0,
            tickets: 0,
            optional_failures: 0,
            is_reset: false,
            registered,
        };
        open.run(None, None).await?;
        Ok(open)
    }

    fn register(&self, peer: SocketAddrV4, sender: mpsc::Sender<Vec<u8>>) -> Result<u32, getrandom::Error> {
        let mut sessions = self.sessions.lock();
        loop {
            let console = getrandom::u32()?;
            if console != 0 && !sessions.contains_key(&console) {
                sessions.insert(console, SessionQueue { peer, sender, logging_in: true });
                return Ok(console);
            }
        }
    }
}

async fn resolve(address: &BmcAddr) -> std::io::Result<Option<SocketAddrV4>> {
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await?;
    Ok(found.into_iter().find_map(|found| match found {
        SocketAddr::V4(found) => Some(found),
        SocketAddr::V6(_) => None,
    }))
}

/// Unregisters a session when it is dropped.
#[derive(Debug)]
struct Registered {
    sessions: Arc<Mutex<HashMap<u32, SessionQueue>>>,
    console: u32,
}

impl Registered {
    fn logged_in(&self) {
        let mut sessions = self.sessions.lock();
        if let Some(queue) = sessions.get_mut(&self.console) {
            queue.logging_in = false;
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.console);
    }
}

/// An open session.
pub(crate) struct IpmiSession {
    session: Session<Instant>,
    socket: Arc<Datagrams>,
    receiver: mpsc::Receiver<Vec<u8>>,
    peer: SocketAddrV4,
    address: String,
    user: String,
    settings: value::Ipmi,
    retry: Retry,
    bmc_session: u32,
    tickets: u64,
    /// How often optional commands failed.
    optional_failures: u32,
    /// Whether the BMC was told to restart, which ends the session.
    is_reset: bool,
    registered: Registered,
}

type Answer = (Completion, Vec<u8>);

/// Returns whether a datagram of a command may be sent now through this session.
type MaySend<'a> = &'a (dyn Fn(u32) -> bool + Sync);

impl IpmiSession {
    async fn ask(&mut self, command: wire_ipmi::Command) -> Result<Answer, BmcError> {
        self.request(command, Effect::Reads, self.retry, None).await
    }

    async fn request(
        &mut self,
        command: wire_ipmi::Command,
        effect: Effect,
        retry: Retry,
        may_send: Option<MaySend<'_>>,
    ) -> Result<Answer, BmcError> {
        let begun = Instant::now();
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.session
            .request(begun, ticket, command, effect, retry)
            .map_err(|error| BmcError::Refused { address: self.address.clone(), why: error.to_string() })?;
        let answer = self.run(Some(ticket), may_send).await?.ok_or_else(|| BmcError::Silent(self.address.clone()));
        metrics::command(begun);
        answer
    }

    /// Drives the session until the request `wanted` is answered, or until the session is open if `wanted` is `None`.
    async fn run(&mut self, wanted: Option<Ticket>, may_send: Option<MaySend<'_>>) -> Result<Option<Answer>, BmcError> {
        let mut sent = false;
        loop {
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Send { bytes, guard: Guard::Free } => drop(self.send(&bytes).await),
                    Output::Send { bytes, guard: Guard::Mutating(ticket) } => {
                        if may_send.is_some_and(|may_send| may_send(self.bmc_session)) {
                            match self.send(&bytes).await {
                                Ok(()) => sent = true,
                                // Of a later one, the first may still be answered.
                                Err(_) if sent => {}
                                Err(error) => {
                                    self.session.cancel(Instant::now(), ticket);
                                    return Err(BmcError::NotSent {
                                        address: self.address.clone(),
                                        why: error.to_string(),
                                    });
                                }
                            }
                        } else if !sent {
                            self.session.cancel(Instant::now(), ticket);
                            return Err(BmcError::NotPermitted);
                        }
                        // The permit expired after the first transmission: do not repeat it, but wait for the answer as
                        // long as for that of a read. If we gave up on a slow BMC after A, the retry would be just as
                        // slow.
                    }
                    Output::Opened { bmc_session, .. } => {
                        self.bmc_session = bmc_session;
                        self.registered.logged_in();
                        if wanted.is_none() {
                            return Ok(None);
                        }
                    }
                    Output::Answer { ticket, completion, data } if Some(ticket) == wanted => {
                        return Ok(Some((completion, data)));
                    }
                    Output::Answer { .. } => {}
                    Output::Lost { ticket } if Some(ticket) == wanted => {
                        let address = self.address.clone();
                        return Err(if sent { BmcError::Unknown(address) } else { BmcError::Silent(address) });
                    }
                    Output::Lost { .. } => {}
                    Output::Closed => return Ok(None),
                    Output::Failed(reason) => return Err(self.failed(&reason)),
                }
            }
            let deadline = self.session.deadline().unwrap_or_else(|| Instant::now() + self.retry.timeout);
            tokio::select! {
                () = sleep_until(deadline) => self.session.expire(Instant::now()),
                bytes = self.receiver.recv() => {
                    let bytes = bytes.unwrap_or_default();
                    if let Err(malformed) = self.session.receive(Instant::now(), &bytes) {
                        tracing::debug!(bmc = self.address, %malformed, "ignored a malformed datagram");
                    }
                }
            }
        }
    }

    /// Sends a datagram. If it never left this host, that equals a lost one: the session retries reads and logins.
    async fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        let sent = self.socket.send(bytes, self.peer, std::net::Ipv4Addr::UNSPECIFIED, 0).await;
        sent.inspect_err(|error| tracing::debug!(bmc = self.address, %error, "cannot send datagram"))
    }

    fn failed(&self, reason: &Reason) -> BmcError {
        let address = self.address.clone();
        match reason {
            Reason::Silent => BmcError::Silent(address),
            Reason::WrongPassword | Reason::UnknownUser => BmcError::Password(address),
            Reason::WrongKey => BmcError::WrongKey(address),
            Reason::NoSlot => BmcError::NoSlot(address),
            Reason::NoSuite => BmcError::Refused { address, why: settings::no_suite(self.settings.cipher_suite) },
            // What the session repeated in vain is not doubtful any more.
            Reason::NoPrivilege | Reason::Unraised(_) if reason.meaning() == Meaning::NoPrivilege => {
                self.no_privilege(reason.to_string())
            }
            Reason::Forged | Reason::Unclosed(_) => BmcError::SessionLost { address, why: reason.to_string() },
            Reason::NoPrivilege | Reason::Refused(_) | Reason::Unraised(_) => {
                BmcError::of(Verdict::of_ipmi(reason.meaning()), address, reason.to_string())
            }
        }
    }

    fn no_privilege(&self, why: String) -> BmcError {
        let level = self.settings.privilege.word();
        BmcError::Privilege { address: self.address.clone(), user: self.user.clone(), level, why }
    }

    /// The error of an answer that is no success. `what` names the request.
    fn error(&self, what: &str, meaning: Meaning, completion: Completion) -> BmcError {
        let why = format!("completion code {:#04x} to {what}", completion.0);
        if meaning == Meaning::NoPrivilege {
            return BmcError::Doubtful(Box::new(self.no_privilege(why)));
        }
        BmcError::of(Verdict::of_ipmi(meaning), self.address.clone(), why)
    }

    /// The reply to a command, by the code of its answer.
    fn reply(
        &self,
        command: Command,
        meaning: Meaning,
        completion: Completion,
        weight: boot::Weight,
    ) -> Result<Reply, BmcError> {
        let what = command.description();
        let error = || self.error(&what, meaning, completion);
        match (meaning, weight) {
            (Meaning::Done, _) => Ok(Reply::Done),
            // The console that began the change may be gone, and only our last step clears it.
            (_, boot::Weight::Optional) if completion == boot::SET_IN_PROGRESS => Ok(Reply::Done),
            // An optional step is repeated only if the BMC will carry it out later.
            (Meaning::NotNow, _) => Ok(Reply::NotNow(error())),
            (Meaning::Unclear, boot::Weight::Optional) if completion == Completion::TIMEOUT => Err(error()),
            (_, boot::Weight::Optional) => Ok(Reply::Done),
            (Meaning::NoPrivilege, _) => Ok(Reply::NotNow(error())),
            (Meaning::Never, _) => Ok(Reply::Refused(format!("completion code {:#04x} to {what}", completion.0))),
            (Meaning::Unclear | Meaning::Undefined | Meaning::WrongCredentials, _) => Err(error()),
        }
    }

    /// Executes a command while `may_send` allows it. The failure of an optional command is repeated a few times in the same
    /// session and then ignored, so that it does not fail the instruction.
    async fn execute(&mut self, command: Command, may_send: MaySend<'_>) -> Result<Reply, BmcError> {
        let (wire, weight) = match command {
            Command::On => (chassis::Control::On.command(), boot::Weight::Required),
            Command::Off => (chassis::Control::Off.command(), boot::Weight::Required),
            Command::SoftOff => (chassis::Control::Soft.command(), boot::Weight::Required),
            Command::Interrupt => (chassis::Control::Diagnostic.command(), boot::Weight::Required),
            Command::Boot(order, number) => {
                let Some(choice) = boot_options::to_choice(order) else {
                    return Ok(Reply::Refused(format!("IPMI has no boot device {}", order.device)));
                };
                let steps = boot_options::steps(choice, &self.settings);
                let Some(step) = steps.into_iter().nth(number) else { return Ok(Reply::Done) };
                (step.command, step.weight)
            }
            Command::ResetBmc(reset) => return self.reset_bmc(reset, may_send).await,
            Command::Raw { .. } => return Ok(Reply::Refused("a raw command is sent with its data".to_owned())),
        };
        // IPMI 2.0 §28.3: a command that is not idempotent is sent in exactly one datagram.
        let retry = if command == Command::Interrupt { Retry::once(self.retry.timeout) } else { self.retry };
        let reply = match self.request(wire.clone(), Effect::Mutates, retry, Some(may_send)).await {
            Ok((completion, _)) => self.reply(command, wire.meaning(completion), completion, weight),
            // The steps are absolute, so it may be repeated in this session, unless the session is over.
            Err(BmcError::Unknown(address))
                if weight == boot::Weight::Optional && self.session.bmc_session().is_some() =>
            {
                Err(BmcError::Busy { address, why: format!("no answer to {}", command.description()) })
            }
            Err(error) => return Err(error),
        };
        if weight == boot::Weight::Required || reply == Ok(Reply::Done) {
            return reply;
        }
        self.optional_failures += 1;
        if self.optional_failures < MAX_OPTIONAL_FAILURES {
            return reply;
        }
        tracing::info!(bmc = self.address, ?reply, "went on without an optional boot option that a BMC does not take");
        Ok(Reply::Done)
    }

    /// The error of an answer that is too short, or makes no sense.
    fn unreadable(&self, what: &str) -> BmcError {
        let why = format!("its answer about {what} is malformed");
        BmcError::of(Verdict::Doubtful, self.address.clone(), why)
    }

    /// Reads, and returns the data of a successful answer. `what` names the request.
    async fn read(&mut self, what: &str, command: wire_ipmi::Command) -> Result<Vec<u8>, BmcError> {
        let (completion, data) = self.ask(command.clone()).await?;
        let meaning = command.meaning(completion);
        if meaning == Meaning::Done { Ok(data) } else { Err(self.error(what, meaning, completion)) }
    }
}

impl Bmc for IpmiSession {
    fn session(&self) -> u32 {
        self.bmc_session
    }

    async fn power(&mut self) -> Result<Power, BmcError> {
        let data = self.read("Get Chassis Status", chassis::get_status()).await?;
        let status = chassis::Status::decode(&data).map_err(|_| self.unreadable("power"))?;
        Ok(match status.power {
            chassis::Power::On => Power::On,
            chassis::Power::Off => Power::Off,
        })
    }

    async fn describe(&mut self) -> Result<String, BmcError> {
        let data = self.read("Get Device ID", app::get_device_id()).await?;
        let id = app::DeviceId::decode(&data).map_err(|_| self.unreadable("its device id"))?;
        Ok(format!("manufacturer {}, product {:#06x}", id.manufacturer, id.product))
    }

    /// Reads the boot options (*Get System Boot Options*, parameter 5, IPMI 2.0 §28.13). The valid bit is ignored: some
    /// BMCs do not keep it and apply the override regardless.
    async fn boot_order(&mut self) -> Result<BootOrder, BmcError> {
        let data = self.read("Get System Boot Options", boot::get()).await?;
        match boot::choice(&data) {
            Ok((chosen, _)) => Ok(boot_options::from_choice(chosen)),
            // A device that the table of the specification does not contain.
            Err(Malformed::Inconsistent) => Ok(BootOrder { device: None, persistence: None }),
            Err(_) => Err(self.unreadable("its boot options")),
        }
    }

    async fn command(&mut self, command: Command, permit: &Permit) -> Result<Reply, BmcError> {
        self.execute(command, &|session| permit.allows(session)).await
    }

    async fn raw(&mut self, raw: &RawCommand, permit: &Permit) -> Result<Reply, BmcError> {
        self.send_raw(raw, &|session| permit.allows(session)).await
    }

    fn boot_steps(&self, order: Boot) -> usize {
        // A device that IPMI does not have is refused at its first step.
        boot_options::to_choice(order).map_or(1, |choice| boot_options::steps(choice, &self.settings).len())
    }

    async fn close_other(&mut self, session: u32, _: &str) -> Result<bool, BmcError> {
        let (completion, _) = self.ask(app::close_session(session)).await?;
        Ok(app::closes(completion))
    }

    async fn close(mut self) -> bool {
        if self.is_reset {
            return false;
        }
        self.session.close(Instant::now());
        self.run(None, None).await.is_ok()
    }
}

#[cfg(test)]
mod tests;
