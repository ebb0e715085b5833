//! BMC side for simulated machines: sessions, users with passwords, suites 3 and 17.
//!
//! The responder handles commands for sessions itself. It passes every other command to its driver, which responds with
//! [`Responder::respond`]. A command that is received twice is passed on twice, as by real BMCs. Every command is reported
//! with its session, for the checks of tests.

use std::collections::VecDeque;
use std::ops::Add;
use std::time::Duration;

use crate::Malformed;
use crate::cipher::Suite;
use crate::message::{self, Command, Completion, Request};
use crate::rakp::Privilege;
use crate::rmcp::{self, Datagram, MAX_DATAGRAM, Packet, payload};
use crate::secret::{Entropy, Secret};

mod handshake;
pub mod machine;
mod session_commands;

use handshake::{Slot, Stage};

/// Maximum idle time of a session (IPMI 2.0 §6.12.15).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum duration of a handshake. A console that disappears must not block a slot for a minute.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of slots, more than any real BMC has.
pub const MAX_SLOTS: usize = 63;
/// Maximum number of outstanding commands. The response to more is *busy*.
pub const MAX_CALLS: usize = 64;

/// User of the BMC.
#[derive(Debug, Clone)]
pub struct User {
    /// Name of at most [`MAX_NAME`](crate::MAX_NAME) octets.
    pub name: Vec<u8>,
    /// Password.
    pub password: Secret,
    /// Maximum privilege of the user.
    pub privilege: Privilege,
}

/// Identity of the BMC.
#[derive(Debug, Clone)]
pub struct Identity {
    /// GUID, least significant octet first.
    pub guid: [u8; 16],
    /// Users.
    pub users: Vec<User>,
    /// Key K_G, if set.
    pub bmc_key: Option<Secret>,
    /// Supported cipher suites.
    pub suites: Vec<Suite>,
    /// Number of session slots, which half-open sessions use too; at most [`MAX_SLOTS`].
    pub slots: usize,
    /// Which sessions *Close Session* can end.
    pub closing: Closing,
}

/// Which sessions *Close Session* can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closing {
    /// An administrator can end any session (IPMI 2.0 §22.19).
    #[default]
    Any,
    /// A session can end only itself, as in some real BMCs.
    Own,
}

/// Received command, to which the driver responds once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Id for the response.
    pub id: u64,
    /// The BMC's session id; 0 for a message outside any session.
    pub session: u32,
    /// Current privilege of the session.
    pub privilege: Privilege,
    /// Command.
    pub command: Command,
}

/// Next action of the driver. `K` identifies a sender, such as a socket address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<K> {
    /// Send a datagram.
    Send {
        /// Receiver.
        to: K,
        /// Datagram.
        bytes: Vec<u8>,
    },
    /// Execute this command and [`respond`](Responder::respond).
    Command(Call),
    /// A command for sessions was executed, for the log.
    Served {
        /// Command, which needs no response.
        call: Call,
        /// Completion code.
        completion: Completion,
    },
}

/// Command that waits for its response.
#[derive(Debug)]
struct Awaited<K> {
    id: u64,
    session: u32,
    from: K,
    request: Request,
}

/// BMC. Call [`poll`](Self::poll) until it returns `None` after every other call.
#[derive(Debug)]
pub struct Responder<K, T> {
    identity: Identity,
    entropy: Entropy,
    slots: Vec<Slot<T>>,
    awaited: VecDeque<Awaited<K>>,
    calls: u64,
    /// Commands, each with its next completion code.
    scripted: VecDeque<(Command, Completion)>,
    ready: VecDeque<Output<K>>,
}

impl<K: Clone, T: Copy + Add<Duration, Output = T> + PartialOrd> Responder<K, T> {
    /// Creates a BMC without sessions. Its ids and nonces are derived from `seed`.
    #[must_use]
    pub const fn new(identity: Identity, seed: [u8; 32]) -> Self {
        let entropy = Entropy::new(seed);
        Self {
            identity,
            entropy,
            slots: Vec::new(),
            awaited: VecDeque::new(),
            calls: 0,
            scripted: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// Answers the next commands of this kind, whatever their data, with these completion codes, one each. None of them is
    /// carried out.
    pub fn script(&mut self, command: &Command, completions: impl IntoIterator<Item = Completion>) {
        self.scripted.extend(completions.into_iter().map(|completion| (command.clone(), completion)));
    }

    /// Takes the next output. Returns `None` if there is none.
    pub fn poll(&mut self) -> Option<Output<K>> {
        self.ready.pop_front()
    }

    /// Returns when to call [`expire`](Self::expire), or `None` if there is no session.
    #[must_use]
    pub fn deadline(&self) -> Option<T> {
        self.slots.iter().map(|slot| slot.deadline).reduce(|a, b| if b < a { b } else { a })
    }

    /// Ends idle sessions and handshakes. May be called at any time.
    pub fn expire(&mut self, now: T) {
        self.slots.retain(|slot| now < slot.deadline);
    }

    /// Returns the ids of the open sessions.
    pub fn sessions(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().filter(|slot| matches!(slot.stage, Stage::Active(_))).map(|slot| slot.id)
    }

    /// Drops all sessions and commands, as a restart of the BMC does.
    pub fn reboot(&mut self) {
        self.slots.clear();
        self.awaited.clear();
        self.ready.clear();
    }

    /// Handles a datagram.
    ///
    /// # Errors
    /// [`Malformed`] if the datagram was dropped. Nothing has changed.
    pub fn receive(&mut self, now: T, from: K, bytes: &[u8]) -> Result<(), Malformed> {
        self.expire(now);
        match Datagram::decode(bytes)? {
            Datagram::Ping { tag } => {
                self.ready.push_back(Output::Send { to: from, bytes: rmcp::pong(tag) });
                Ok(())
            }
            Datagram::Sessionless(message) => {
                let answer = self.sessionless(message)?;
                self.ready.push_back(Output::Send { to: from, bytes: rmcp::sessionless(&answer) });
                Ok(())
            }
            Datagram::Plus(packet) if packet.kind == payload::MESSAGE => self.message(now, from, &packet),
            Datagram::Plus(packet) => {
                let reply = handshake::receive(&self.identity, &mut self.entropy, &mut self.slots, now, &packet)?;
                self.ready.extend(reply.map(|bytes| Output::Send { to: from, bytes }));
                Ok(())
            }
        }
    }

    /// Responds to a command. The response is ignored if the session has ended or the command has a response already.
    pub fn respond(&mut self, id: u64, completion: Completion, data: &[u8]) {
        let Some(position) = self.awaited.iter().position(|awaited| awaited.id == id) else {
            return;
        };
        let Some(awaited) = self.awaited.remove(position) else {
            return;
        };
        let data = data.get(..data.len().min(message::MAX_DATA)).unwrap_or_default();
        self.answer(awaited.session, awaited.from, &awaited.request.answer(completion, data));
    }

    /// Handles commands that need no session (IPMI 2.0 §13.14, Appendix G).
    fn sessionless(&self, message: &[u8]) -> Result<Vec<u8>, Malformed> {
        let request = Request::decode(message)?;
        let (completion, data) = session_commands::public(&self.identity, &request.command);
        Ok(request.answer(completion, &data))
    }

    fn message(&mut self, now: T, from: K, packet: &Packet<'_>) -> Result<(), Malformed> {
        if packet.session == 0 {
            let answer = self.sessionless(packet.payload)?;
            self.ready.push_back(Output::Send { to: from, bytes: rmcp::plain(payload::MESSAGE, &answer) });
            return Ok(());
        }
        let slot = self.slots.iter_mut().find(|slot| slot.id == packet.session).ok_or(Malformed::Unexpected)?;
        let Stage::Active(active) = &mut slot.stage else {
            return Err(Malformed::Unexpected);
        };
        let message = active.keys.open(packet)?;
        if !active.window.admit(packet.sequence) {
            return Err(Malformed::Replayed);
        }
        let request = Request::decode(&message)?;
        slot.deadline = now + IDLE_TIMEOUT;
        self.calls = self.calls.wrapping_add(1);
        let call =
            Call { id: self.calls, session: slot.id, privilege: active.privilege, command: request.command.clone() };
        let is_same = |named: &Command| (named.netfn, named.command) == (call.command.netfn, call.command.command);
        let scripted = self.scripted.iter().position(|(named, _)| is_same(named));
        if let Some((_, completion)) = scripted.and_then(|at| self.scripted.remove(at)) {
            self.served(from, &request, call, (completion, Vec::new(), None));
            return Ok(());
        }
        match session_commands::serve(&self.identity, &mut self.slots, &call) {
            Some(served) => self.served(from, &request, call, served),
            None => self.hand_out(from, request, call),
        }
        Ok(())
    }

    fn served(&mut self, from: K, request: &Request, call: Call, served: session_commands::Served) {
        let (completion, data, closing) = served;
        // The response is encrypted with the keys of the session, so it is sent before the session is closed.
        self.answer(call.session, from, &request.answer(completion, &data));
        if let Some(session) = closing {
            self.slots.retain(|slot| slot.id != session);
            // Outstanding commands of the session were passed on already; their responses are dropped.
            self.awaited.retain(|awaited| awaited.session != session);
        }
        self.ready.push_back(Output::Served { call, completion });
    }

    fn hand_out(&mut self, from: K, request: Request, call: Call) {
        if self.awaited.len() >= MAX_CALLS {
            self.answer(call.session, from, &request.answer(Completion::BUSY, &[]));
            return;
        }
        self.awaited.push_back(Awaited { id: call.id, session: call.session, from, request });
        self.ready.push_back(Output::Command(call));
    }

    fn answer(&mut self, session: u32, to: K, message: &[u8]) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == session) else {
            return;
        };
        let Stage::Active(active) = &mut slot.stage else { return };
        active.sequence = active.sequence.wrapping_add(1).max(1);
        let bytes = active.keys.seal(slot.console, active.sequence, self.entropy.draw(), message);
        debug_assert!(bytes.len() <= MAX_DATAGRAM, "a message of MAX_DATA octets fits");
        self.ready.push_back(Output::Send { to, bytes });
    }
}

#[cfg(test)]
mod tests;
