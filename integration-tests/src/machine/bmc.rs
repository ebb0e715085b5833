//! A simulated machine's BMC: our own responder over UDP, which writes down who changed what.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use domain::time::Timestamp;
use service_kit::{Host, clock};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use wire_ipmi::chassis::{self, Control, Power};
use wire_ipmi::responder::machine::Change;
use wire_ipmi::responder::{Call, Closing, Identity, Output, Responder, User};
use wire_ipmi::{MAX_DATAGRAM, Privilege, Secret, Suite, netfn};

use super::{Shared, fault};
use crate::check::{self, Deed, What};

/// IPMI's port (RMCP, ASF 2.0 §3.2.3).
pub const PORT: u16 = 623;
/// Sessions at once; as few as a cheap BMC has.
const SLOTS: usize = 4;

/// Power came or went, by the BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    On,
    Off,
}

/// A trap that waits for a command that changes the machine.
pub(super) struct Trap {
    pub(super) caught: oneshot::Sender<()>,
    pub(super) released: oneshot::Receiver<()>,
}

/// Commands that change the machine and are lost on the way: the first one and its session's later ones.
pub(super) struct Loss {
    pub(super) begun: Option<oneshot::Sender<u32>>,
    pub(super) session: Option<u32>,
}

impl Loss {
    /// Whether this one is lost.
    fn takes(&mut self, call: &Call) -> bool {
        let changes = call.command.netfn == netfn::CHASSIS && call.command != chassis::get_status();
        if !changes || self.session.is_some_and(|session| session != call.session) {
            return false;
        }
        self.session = Some(call.session);
        if let Some(begun) = self.begun.take() {
            let _nobody = begun.send(call.session);
        }
        true
    }
}

/// The other end of a trap; its BMC answers nobody between the catch and the release, which is dropping this, too.
#[derive(Debug)]
pub struct Caught {
    /// Resolves when a command was carried out and its answer is held back.
    pub was_caught: oneshot::Receiver<()>,
    pub(super) release: oneshot::Sender<()>,
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
    /// When.
    pub at: Timestamp,
    /// The BMC's id of the session that it came in.
    pub session: u32,
    /// From where.
    pub change: Change,
}

/// Answers until the host stops.
pub(super) async fn serve(
    shared: Arc<Shared>,
    address: Ipv4Addr,
    turns: mpsc::UnboundedSender<Turn>,
    host: Host,
) -> Result<()> {
    let socket = UdpSocket::bind((address, PORT)).await.with_context(|| format!("a BMC at {address}"))?;
    let mut password = shared.password.subscribe();
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        let identity = identity(&password.borrow_and_update(), shared.faults().bmc)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let mut responder: Responder<SocketAddr, Instant> = Responder::new(identity, seed);
        loop {
            let (size, from) = tokio::select! {
                () = host.stopping() => return Ok(()),
                _ = password.changed() => break,
                got = socket.recv_from(&mut buffer) => got?,
            };
            if shared.faults().bmc == fault::Bmc::Deaf {
                continue;
            }
            let _malformed = responder.receive(Instant::now(), from, buffer.get(..size).unwrap_or_default());
            answer(&shared, &socket, &mut responder, &turns).await?;
        }
    }
}

fn identity(password: &str, fault: fault::Bmc) -> Result<Identity> {
    let password = Secret::new(password.as_bytes()).context("the password is too long for a BMC")?;
    Ok(Identity {
        guid: *b"simulated bmc 01",
        users: vec![User { name: super::USER.into(), password, privilege: Privilege::Administrator }],
        bmc_key: None,
        suites: vec![Suite::Three, Suite::Seventeen],
        slots: SLOTS,
        closing: if fault == fault::Bmc::ClosesOwnAlone { Closing::Own } else { Closing::Any },
    })
}

async fn answer(
    shared: &Shared,
    socket: &UdpSocket,
    responder: &mut Responder<SocketAddr, Instant>,
    turns: &mpsc::UnboundedSender<Turn>,
) -> Result<()> {
    while let Some(output) = responder.poll() {
        match output {
            Output::Send { to, bytes } => drop(socket.send_to(&bytes, to).await?),
            Output::Command(call) if super::held(&shared.loss).as_mut().is_some_and(|loss| loss.takes(&call)) => {
                shared.say(format!("a command of session {:08x} is lost", call.session));
            }
            Output::Command(call) => {
                let (answer, turn) = shared.command(&call);
                let trap = answer.change.and_then(|_| super::held(&shared.trap).take());
                if let Some(trap) = trap {
                    shared.say("the BMC holds an answer back".to_owned());
                    let _nobody = trap.caught.send(());
                    // Whoever set the trap has let it go either way.
                    let _dropped = trap.released.await;
                }
                responder.respond(call.id, answer.completion, &answer.data);
                for turn in turn {
                    // The machine's thread has ended: so has the rack.
                    let _ended = turns.send(turn);
                }
            }
            Output::Served { .. } => {}
        }
    }
    Ok(())
}

impl Shared {
    /// Carries a command out, and says what it means for power.
    fn command(&self, call: &Call) -> (wire_ipmi::responder::machine::Answer, Vec<Turn>) {
        let mut board = super::held(&self.board);
        let before = board.power();
        let answer = board.answer(call);
        let Some(change) = answer.change else {
            if call.command == chassis::get_status() {
                super::held(&self.deeds).push(Deed { at: clock::now(), session: call.session, what: What::Read });
            }
            return (answer, vec![]);
        };
        if change == Change::Power(Control::Soft) {
            board.set_power(Power::Off);
        }
        let turns = match (change, before, board.power()) {
            (Change::Power(Control::Cycle | Control::Reset), Power::On, _) => vec![Turn::Off, Turn::On],
            (_, Power::Off, Power::On) => vec![Turn::On],
            (_, Power::On, Power::Off) => vec![Turn::Off],
            _ => vec![],
        };
        drop(board);
        self.log(Mutation { at: clock::now(), session: call.session, change });
        (answer, turns)
    }

    fn log(&self, mutation: Mutation) {
        super::held(&self.deeds).push(check::done(&mutation));
        let mut mutations = super::held(&self.mutations);
        mutations.push(mutation);
        let mut text = String::new();
        for Mutation { at, session, change } in &*mutations {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{at} {session:08x} {change:?}");
        }
        drop(fs::write(self.folder.join("bmc.log"), text));
    }
}
