//! A simulated BMC: wire-ipmi's responder over UDP, which logs each change with its session.
//!
//! It works with any kind of machine; its [`Chassis`] decides what a command does to the machine.

pub mod fault;
pub mod qemu;
mod script;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use domain::time::Timestamp;
use service_kit::{Host, clock};
use tokio::net::UdpSocket;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use wire_ipmi::app::Reset;
use wire_ipmi::chassis;
use wire_ipmi::responder::machine::{Answer, Change};
use wire_ipmi::responder::{Call, Closing, Identity, Output, Responder, User};
use wire_ipmi::{Completion, MAX_DATAGRAM, Privilege, Secret, Suite, netfn};

pub use self::script::{Habit, Script};
use crate::check::{self, Deed, What};
pub use virtual_rack::bmc::{PASSWORD, PORT, USER};

/// Maximum number of sessions, as few as a cheap BMC has.
const SLOTS: usize = 4;

/// Delay of a slow BMC: longer than a journal entry arms a command (services/mesh/OWNERSHIP.md), and than one answer is
/// waited for.
const SLOW: Duration = Duration::from_millis(2500);

/// State that a BMC controls: power, boot device, and whether it responds.
pub(crate) trait Chassis {
    /// Carries a command out. The BMC takes its next command only after this returns.
    async fn carry_out(&mut self, call: &Call) -> Answer;

    /// Present faults of the BMC.
    fn fault(&self) -> fault::Bmc {
        fault::Bmc::Well
    }

    /// Is told about actions of the BMC that are not visible from outside.
    fn hears(&self, words: String) {
        drop(words);
    }
}

/// State that a BMC shares with its test.
#[derive(Debug)]
pub struct Bmc {
    password: watch::Sender<String>,
    mutations: Mutex<Vec<Mutation>>,
    deeds: Mutex<Vec<Deed>>,
    trap: Mutex<Option<Trap>>,
    loss: Mutex<Option<Loss>>,
    script: Mutex<Script>,
    log: PathBuf,
}

/// A trap for a command that changes the machine.
#[derive(Debug)]
struct Trap {
    /// Commands that pass before it triggers.
    pass: usize,
    caught: oneshot::Sender<()>,
    released: oneshot::Receiver<()>,
}

/// Loss on the network: of commands that change the machine, and of everything that follows in their sessions.
#[derive(Debug)]
struct Loss {
    begun: Option<oneshot::Sender<u32>>,
    session: Option<u32>,
}

impl Loss {
    /// Whether this command is lost.
    fn takes(&mut self, call: &Call) -> bool {
        let changes = call.command.netfn == netfn::CHASSIS && call.command != chassis::get_status();
        if !changes || self.session.is_some_and(|session| session != call.session) {
            return false;
        }
        self.session = Some(call.session);
        if let Some(begun) = self.begun.take() {
            let _closed = begun.send(call.session);
        }
        true
    }
}

/// The test's end of a trap. The BMC does not answer from the catch until the release; dropping this releases it, too.
#[derive(Debug)]
pub struct Caught {
    /// Resolves when a command was carried out and its answer is withheld.
    pub was_caught: oneshot::Receiver<()>,
    release: oneshot::Sender<()>,
}

impl Caught {
    /// Lets the BMC answer.
    pub fn release(self) {
        // Its BMC has ended with its rack.
        let _ended = self.release.send(());
    }
}

/// A command that changed the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// When it was carried out.
    pub at: Timestamp,
    /// The BMC's id of its session.
    pub session: u32,
    /// Address that it came from.
    pub change: Change,
}

/// A panic in a thread that held the lock is reported by that thread.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bmc {
    /// A BMC without sessions, which writes its log to `log`.
    pub(crate) fn new(password: &str, log: PathBuf) -> Self {
        Self {
            password: watch::Sender::new(password.to_owned()),
            mutations: Mutex::default(),
            deeds: Mutex::default(),
            trap: Mutex::default(),
            loss: Mutex::default(),
            script: Mutex::default(),
            log,
        }
    }

    /// The password of its only user.
    pub fn password(&self) -> String {
        self.password.borrow().clone()
    }

    /// Changes the password; all sessions end.
    pub fn set_password(&self, password: &str) {
        self.password.send_replace(password.to_owned());
    }

    /// All commands that changed the machine, in order; they are also in its log.
    pub fn mutations(&self) -> Vec<Mutation> {
        held(&self.mutations).clone()
    }

    /// Returns its log, as input for the checker.
    pub fn deeds(&self) -> Vec<Deed> {
        held(&self.deeds).clone()
    }

    /// Sets a trap: the BMC carries out the `number`-th command from now on that changes the machine, and withholds the
    /// answer until the trap is released.
    pub fn trap(&self, number: usize) -> Caught {
        let (caught, was_caught) = oneshot::channel();
        let (release, released) = oneshot::channel();
        *held(&self.trap) = Some(Trap { pass: number.saturating_sub(1), caught, released });
        Caught { was_caught, release }
    }

    /// Loses the next command that would change the machine, and everything that follows in its session, until
    /// [`Self::find_commands`]. Resolves with the BMC's id of the session when the first command is lost.
    pub fn lose_commands(&self) -> oneshot::Receiver<u32> {
        let (begun, has_begun) = oneshot::channel();
        *held(&self.loss) = Some(Loss { begun: Some(begun), session: None });
        has_begun
    }

    /// Applies this script of faults from now on.
    pub fn follow(&self, script: Script) {
        *held(&self.script) = script;
    }

    /// Whether the script has ended.
    pub fn is_through(&self) -> bool {
        held(&self.script).is_over()
    }

    /// Ends the loss of [`Self::lose_commands`].
    pub fn find_commands(&self) {
        *held(&self.loss) = None;
    }

    /// Serves the machine until the host stops.
    pub(crate) async fn serve(&self, mut chassis: impl Chassis, address: Ipv4Addr, host: Host) -> Result<()> {
        let socket = UdpSocket::bind((address, PORT)).await.with_context(|| format!("a BMC at {address}"))?;
        let mut password = self.password.subscribe();
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            let identity = identity(&password.borrow_and_update(), chassis.fault())?;
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)?;
            let full = Identity { slots: 0, ..identity.clone() };
            let mut full: Responder<SocketAddr, Instant> = Responder::new(full, seed);
            let mut responder: Responder<SocketAddr, Instant> = Responder::new(identity, seed);
            loop {
                let (size, from) = tokio::select! {
                    () = host.stopping() => return Ok(()),
                    _ = password.changed() => break,
                    got = socket.recv_from(&mut buffer) => got?,
                };
                if chassis.fault() == fault::Bmc::Deaf || held(&self.script).is_deaf() {
                    continue;
                }
                let datagram = buffer.get(..size).unwrap_or_default();
                let whose = if held(&self.script).is_full(datagram) { &mut full } else { &mut responder };
                let _malformed = whose.receive(Instant::now(), from, datagram);
                self.answer(&mut chassis, &socket, whose).await?;
            }
        }
    }

    async fn answer(
        &self,
        chassis: &mut impl Chassis,
        socket: &UdpSocket,
        responder: &mut Responder<SocketAddr, Instant>,
    ) -> Result<()> {
        while let Some(output) = responder.poll() {
            match output {
                Output::Send { to, bytes } => {
                    let leaving = held(&self.script).send(bytes);
                    for bytes in leaving {
                        socket.send_to(&bytes, to).await?;
                    }
                }
                Output::Command(call) if held(&self.loss).as_mut().is_some_and(|loss| loss.takes(&call)) => {
                    chassis.hears(format!("a command of session {:08x} is lost", call.session));
                }
                Output::Command(call) => self.obey(chassis, responder, &call).await,
                Output::Served { .. } => {}
            }
        }
        Ok(())
    }

    /// Carries a command out and answers it, as far as the present faults permit.
    async fn obey(&self, chassis: &mut impl Chassis, responder: &mut Responder<SocketAddr, Instant>, call: &Call) {
        if held(&self.script).lies(&call.command) {
            return responder.respond(call.id, Completion::OK, &[]);
        }
        let at = clock::now();
        let answer = chassis.carry_out(call).await;
        self.note(at, call, answer.change);
        let changed = answer.change.is_some();
        // A cold reset takes effect before it is answered, and a warm one leaves the sessions alone.
        let is_cold_reset = answer.change == Some(Change::Reset(Reset::Cold));
        if is_cold_reset || (changed && held(&self.script).reboots()) {
            return responder.reboot();
        }
        let delay = held(&self.script).delay();
        sleep(if changed && chassis.fault() == fault::Bmc::Slow { SLOW } else { delay }).await;
        if let Some(trap) = answer.change.and_then(|_| self.sprung()) {
            chassis.hears("the BMC holds an answer back".to_owned());
            let _closed = trap.caught.send(());
            // A test that drops the trap has released it as well.
            let _dropped = trap.released.await;
        }
        responder.respond(call.id, answer.completion, &answer.data);
    }

    /// The trap, if it triggers on this command.
    fn sprung(&self) -> Option<Trap> {
        let mut trap = held(&self.trap);
        match &mut *trap {
            Some(Trap { pass: pass @ 1.., .. }) => {
                *pass -= 1;
                None
            }
            set => set.take(),
        }
    }

    /// Logs the result of a command that was received at that time.
    fn note(&self, at: Timestamp, call: &Call, change: Option<Change>) {
        let Some(change) = change else {
            if call.command == chassis::get_status() {
                held(&self.deeds).push(Deed { at, session: call.session, what: What::Read });
            }
            return;
        };
        let mutation = Mutation { at, session: call.session, change };
        held(&self.deeds).push(check::done(mutation.at, mutation.session, mutation.change));
        let line = format!("{at} {:08x} {change:?}\n", call.session);
        held(&self.mutations).push(mutation);
        let log = fs::File::options().create(true).append(true).open(&self.log);
        // The log in memory is authoritative.
        drop(log.and_then(|mut log| log.write_all(line.as_bytes())));
    }
}

fn identity(password: &str, fault: fault::Bmc) -> Result<Identity> {
    let password = Secret::new(password.as_bytes()).context("the password is too long for a BMC")?;
    Ok(Identity {
        guid: *b"simulated bmc 01",
        users: vec![User { name: USER.into(), password, privilege: Privilege::Administrator }],
        bmc_key: None,
        suites: vec![Suite::Three, Suite::Seventeen],
        slots: SLOTS,
        closing: if fault == fault::Bmc::ClosesOwnAlone { Closing::Own } else { Closing::Any },
    })
}
