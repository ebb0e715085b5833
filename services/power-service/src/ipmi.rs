//! IPMI 2.0 over UDP: one socket for the rack, many sessions, each driven by who uses it.

mod order;

use std::{
    collections::HashMap,
    net::{SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{
    net::BmcAddr,
    power::{Boot, Power},
    secret::Secret,
};
use mesh::Permit;
use service_kit::{Host, socket::Datagrams};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use wire_ipmi::{
    Completion, Config, Effect, Guard, Malformed, Output, Reason, Retry, Session, Ticket, app, chassis, chassis::boot,
};

use crate::{
    Error,
    bmc::{Bmc, BmcError, BootOrder, Command, Reply},
    config, metrics,
};

/// A datagram that waited longer in our socket says nothing about now (DESIGN §5).
const STALE: Duration = Duration::from_secs(2);
/// Datagrams waiting for one session; a BMC that sends more is not answering us.
const WAITING: usize = 64;
/// Larger than any RMCP+ message that we ask for.
const BUFFER: usize = 2048;

/// The rack's socket and the sessions on it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Ipmi {
    socket: Arc<Datagrams>,
    sessions: Arc<Mutex<HashMap<u32, Line>>>,
}

#[derive(Debug)]
struct Line {
    peer: SocketAddrV4,
    sender: mpsc::Sender<Vec<u8>>,
    logging_in: bool,
}

/// Where a BMC is and how one logs in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) address: BmcAddr,
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl Ipmi {
    /// Opens the socket and receives on it until the host stops.
    pub(crate) async fn bind(address: SocketAddrV4, host: Host) -> Result<Self, Error> {
        let socket = Datagrams::bind(address, None).map_err(|source| Error::Socket { address, source })?;
        let ipmi = Self { socket: Arc::new(socket), sessions: Arc::default() };
        host.spawn_essential("ipmi", ipmi.clone().receive(host.clone()));
        Ok(ipmi)
    }

    async fn receive(self, host: Host) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let arrival = tokio::select! {
                () = host.stopping() => return,
                arrival = self.socket.receive(&mut buffer) => arrival,
            };
            match arrival {
                Ok(arrival) if arrival.waited.is_none_or(|waited| waited <= STALE) => {
                    self.deliver(arrival.from, buffer.get(..arrival.size).unwrap_or_default());
                }
                Ok(_) => ::metrics::counter!("power_stale_datagrams_total").increment(1),
                Err(error) => tracing::debug!(%error, "cannot receive from BMCs"),
            }
        }
    }

    fn deliver(&self, from: SocketAddrV4, bytes: &[u8]) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match wire_ipmi::console_session_id(bytes) {
            Some(console) => {
                if let Some(line) = sessions.get(&console).filter(|line| line.peer == from) {
                    // A full queue drops it: the session asks again.
                    let _ = line.sender.try_send(bytes.to_vec());
                }
            }
            // Some BMCs refuse a login without saying whose.
            None => {
                for line in sessions.values().filter(|line| line.logging_in && line.peer == from) {
                    let _ = line.sender.try_send(bytes.to_vec());
                }
            }
        }
    }

    /// Logs in. Changes nothing at the BMC but its sessions.
    pub(crate) async fn open(&self, login: &Login, limits: &config::Power) -> Result<IpmiSession, BmcError> {
        let address = login.address.to_string();
        let refused = |why: String| BmcError::Refused { address: address.clone(), why };
        let peer =
            resolve(&login.address).await.ok_or_else(|| refused("its name can not be resolved to IPv4".to_owned()))?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let console = self.register(peer, sender).map_err(|error| refused(error.to_string()))?;
        let registered = Registered { sessions: Arc::clone(&self.sessions), console };
        let mut config = Config::new(console, login.user.as_bytes(), login.password.expose())
            .map_err(|error| refused(error.to_string()))?;
        config.patience = limits.answer;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| refused(format!("no randomness: {error}")))?;
        let session = Session::new(config, seed, Instant::now());
        let retry = Retry { timeout: limits.answer, tries: limits.tries };
        let mut open = IpmiSession {
            session,
            socket: Arc::clone(&self.socket),
            receiver,
            peer,
            address,
            retry,
            bmc_session: 0,
            tickets: 0,
            registered,
        };
        open.run(None, None).await?;
        Ok(open)
    }

    fn register(&self, peer: SocketAddrV4, sender: mpsc::Sender<Vec<u8>>) -> Result<u32, getrandom::Error> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let console = getrandom::u32()?;
            if console != 0 && !sessions.contains_key(&console) {
                sessions.insert(console, Line { peer, sender, logging_in: true });
                return Ok(console);
            }
        }
    }
}

async fn resolve(address: &BmcAddr) -> Option<SocketAddrV4> {
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await.ok()?;
    found.into_iter().find_map(|found| match found {
        SocketAddr::V4(found) => Some(found),
        SocketAddr::V6(_) => None,
    })
}

/// Takes a session's line away when the session is dropped.
#[derive(Debug)]
struct Registered {
    sessions: Arc<Mutex<HashMap<u32, Line>>>,
    console: u32,
}

impl Registered {
    fn logged_in(&self) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = sessions.get_mut(&self.console) {
            line.logging_in = false;
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.console);
    }
}

/// An open session.
pub(crate) struct IpmiSession {
    session: Session<Instant>,
    socket: Arc<Datagrams>,
    receiver: mpsc::Receiver<Vec<u8>>,
    peer: SocketAddrV4,
    address: String,
    retry: Retry,
    bmc_session: u32,
    tickets: u64,
    registered: Registered,
}

type Answer = (Completion, Vec<u8>);

impl IpmiSession {
    async fn ask(&mut self, command: wire_ipmi::Command) -> Result<Answer, BmcError> {
        self.request(command, Effect::Reads, self.retry, None).await
    }

    async fn request(
        &mut self,
        command: wire_ipmi::Command,
        effect: Effect,
        retry: Retry,
        permit: Option<&Permit>,
    ) -> Result<Answer, BmcError> {
        let begun = Instant::now();
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.session
            .request(begun, ticket, command, effect, retry)
            .map_err(|error| BmcError::Refused { address: self.address.clone(), why: error.to_string() })?;
        let answer = self.run(Some(ticket), permit).await?.ok_or_else(|| BmcError::Silent(self.address.clone()));
        metrics::command(begun);
        answer
    }

    /// Drives the session until this ticket is answered, or until it is open where there is none.
    async fn run(&mut self, wanted: Option<Ticket>, permit: Option<&Permit>) -> Result<Option<Answer>, BmcError> {
        let mut sent = false;
        loop {
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Send { bytes, guard: Guard::Free } => self.send(&bytes).await,
                    Output::Send { bytes, guard: Guard::Mutating(ticket) } => {
                        if permit.is_some_and(|permit| permit.allows(self.bmc_session)) {
                            sent = true;
                            self.send(&bytes).await;
                        } else if !sent {
                            self.session.cancel(Instant::now(), ticket);
                            return Err(BmcError::NotPermitted);
                        }
                        // Else it is not repeated any more, and its answer is waited for as long as that of a read: a
                        // slow BMC that was given up after A would be told all of it again, and again be too slow.
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
                        tracing::debug!(bmc = self.address, %malformed, "ignored a datagram");
                    }
                }
            }
        }
    }

    async fn send(&self, bytes: &[u8]) {
        if let Err(error) = self.socket.send(bytes, self.peer, std::net::Ipv4Addr::UNSPECIFIED, 0).await {
            // As good as lost on the way: the session asks again.
            tracing::debug!(bmc = self.address, %error, "cannot send");
        }
    }

    fn failed(&self, reason: &Reason) -> BmcError {
        let address = self.address.clone();
        match reason {
            Reason::Silent => BmcError::Silent(address),
            Reason::WrongPassword | Reason::UnknownUser | Reason::NoPrivilege | Reason::WrongKey => {
                BmcError::Password(address)
            }
            Reason::NoSlot => BmcError::NoSlot(address),
            Reason::NoSuite | Reason::Refused(_) | Reason::Unraised(_) | Reason::Unclosed(_) | Reason::Forged => {
                BmcError::Refused { address, why: reason.to_string() }
            }
        }
    }

    fn unreadable(&self, what: &str) -> BmcError {
        BmcError::Refused { address: self.address.clone(), why: format!("its answer about {what} can not be read") }
    }
}

impl Bmc for IpmiSession {
    fn session(&self) -> u32 {
        self.bmc_session
    }

    async fn power(&mut self) -> Result<Power, BmcError> {
        let (completion, data) = self.ask(chassis::get_status()).await?;
        if !completion.is_ok() {
            return Err(self.unreadable(&format!("power (completion code {:#04x})", completion.0)));
        }
        let status = chassis::Status::decode(&data).map_err(|_| self.unreadable("power"))?;
        Ok(match status.power {
            chassis::Power::On => Power::On,
            chassis::Power::Off => Power::Off,
        })
    }

    async fn describe(&mut self) -> Result<String, BmcError> {
        let (_, data) = self.ask(app::get_device_id()).await?;
        let id = app::DeviceId::decode(&data).map_err(|_| self.unreadable("its device id"))?;
        Ok(format!("manufacturer {}, product {:#06x}", id.manufacturer, id.product))
    }

    /// *Get System Boot Options*, parameter 5 (IPMI 2.0 §28.13). The valid bit does not count: there are BMCs that do
    /// not
    /// keep it and heed the choice all the same.
    async fn boot_order(&mut self) -> Result<BootOrder, BmcError> {
        let (completion, data) = self.ask(boot::get()).await?;
        if !completion.is_ok() {
            return Err(self.unreadable(&format!("its boot options (completion code {:#04x})", completion.0)));
        }
        match boot::choice(&data) {
            Ok((chosen, _)) => Ok(order::order(chosen)),
            // A device that the specification's table does not have.
            Err(Malformed::Inconsistent) => Ok(BootOrder { device: None, persistence: None }),
            Err(_) => Err(self.unreadable("its boot options")),
        }
    }

    async fn command(&mut self, command: Command, permit: &Permit) -> Result<Reply, BmcError> {
        let (wire, passes): (_, Box<dyn Fn(Completion) -> bool + Send>) = match command {
            Command::On => (chassis::Control::On.command(), Box::new(Completion::is_ok)),
            Command::Off => (chassis::Control::Off.command(), Box::new(Completion::is_ok)),
            Command::SoftOff => (chassis::Control::Soft.command(), Box::new(Completion::is_ok)),
            Command::Interrupt => (chassis::Control::Diagnostic.command(), Box::new(Completion::is_ok)),
            Command::Boot(order, number) => {
                let Some(choice) = order::choice(order) else {
                    return Ok(Reply::Refused(format!("IPMI has no boot device {}", order.device)));
                };
                let Some(step) = choice.steps().into_iter().nth(number) else { return Ok(Reply::Done) };
                (step.command.clone(), Box::new(move |completion| step.passes(completion)))
            }
        };
        // IPMI 2.0 §28.3: what is not absolute leaves in one datagram, and never again.
        let retry = if command == Command::Interrupt { Retry::once(self.retry.timeout) } else { self.retry };
        let (completion, _) = self.request(wire, Effect::Mutates, retry, Some(permit)).await?;
        if passes(completion) {
            return Ok(Reply::Done);
        }
        Ok(Reply::Refused(format!("completion code {:#04x} to {}", completion.0, command.words())))
    }

    fn boot_steps(&self, order: Boot) -> usize {
        // What is no choice is refused at its first step.
        order::choice(order).map_or(1, |choice| choice.steps().len())
    }

    async fn close_other(&mut self, session: u32, _: &str) -> Result<bool, BmcError> {
        let (completion, _) = self.ask(app::close_session(session)).await?;
        Ok(app::closes(completion))
    }

    async fn close(mut self) -> bool {
        self.session.close(Instant::now());
        self.run(None, None).await.is_ok()
    }
}
