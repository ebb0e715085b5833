//! The BMC's half, for simulated machines: many sessions, users with passwords, suites 3 and 17.
//!
//! It answers what concerns sessions itself, and hands every other command to its driver, which answers with
//! [`Responder::respond`] when (and if) its machine is ready. A command that arrives twice is handed out twice, as with
//! real BMCs. Every command is reported with its session, so that a checker can say who did what.

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

/// How long a session may be idle (IPMI 2.0 §6.12.15).
pub const IDLE: Duration = Duration::from_secs(60);
/// How long a handshake may take. A slot must not be lost for a minute to a console that went away.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// More slots than any BMC has.
pub const MAX_SLOTS: usize = 63;
/// How many commands may wait for their answers; a command beyond that is answered *busy*.
pub const MAX_CALLS: usize = 64;

/// Someone who may log in.
#[derive(Debug, Clone)]
pub struct User {
    /// At most [`MAX_NAME`](crate::MAX_NAME) octets.
    pub name: Vec<u8>,
    /// His password.
    pub password: Secret,
    /// Maximum privilege of the user.
    pub privilege: Privilege,
}

/// Which BMC this is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its GUID, least significant octet first.
    pub guid: [u8; 16],
    /// Who may log in.
    pub users: Vec<User>,
    /// Its key K_G, if one is set.
    pub bmc_key: Option<Secret>,
    /// Which suites it speaks.
    pub suites: Vec<Suite>,
    /// How many sessions it can have, half-open ones included; at most [`MAX_SLOTS`].
    pub slots: usize,
    /// Which sessions may be closed through one.
    pub closing: Closing,
}

/// Which sessions *Close Session* ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closing {
    /// An administrator's ends any (IPMI 2.0 §22.19).
    #[default]
    Any,
    /// Each ends its own alone: BMCs that refuse the id of another one are met in the field.
    Own,
}

/// A command that was received and may be answered once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number, to answer it by.
    pub id: u64,
    /// The id that this BMC gave to the session; 0 for a message outside any session.
    pub session: u32,
    /// What the session may do at present.
    pub privilege: Privilege,
    /// The command.
    pub command: Command,
}

/// What the driver must do next. `K` is any name of a sender, such as a socket address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<K> {
    /// Put these bytes on the wire.
    Send {
        /// To whom.
        to: K,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Carry this out and [`respond`](Responder::respond).
    Command(Call),
    /// This was carried out already: a command about sessions, for the log.
    Served {
        /// What was asked. There is nothing to respond to.
        call: Call,
        /// How it ended.
        completion: Completion,
    },
}

/// A command whose answer is awaited.
#[derive(Debug)]
struct Awaited<K> {
    id: u64,
    session: u32,
    from: K,
    request: Request,
}

/// One BMC. Call [`poll`](Self::poll) until it returns `None` after every other call.
#[derive(Debug)]
pub struct Responder<K, T> {
    identity: Identity,
    entropy: Entropy,
    slots: Vec<Slot<T>>,
    awaited: VecDeque<Awaited<K>>,
    calls: u64,
    ready: VecDeque<Output<K>>,
}

impl<K: Clone, T: Copy + Add<Duration, Output = T> + PartialOrd> Responder<K, T> {
    /// A BMC without sessions. Its ids and nonces are drawn from `seed`.
    #[must_use]
    pub const fn new(identity: Identity, seed: [u8; 32]) -> Self {
        let entropy = Entropy::new(seed);
        Self { identity, entropy, slots: Vec::new(), awaited: VecDeque::new(), calls: 0, ready: VecDeque::new() }
    }

    /// The next thing to do; `None` when there is nothing until the next call.
    pub fn poll(&mut self) -> Option<Output<K>> {
        self.ready.pop_front()
    }

    /// When to call [`expire`](Self::expire); `None` while there is no session.
    #[must_use]
    pub fn deadline(&self) -> Option<T> {
        self.slots.iter().map(|slot| slot.deadline).reduce(|a, b| if b < a { b } else { a })
    }

    /// Ends what was idle for too long. May be called at any time.
    pub fn expire(&mut self, now: T) {
        self.slots.retain(|slot| now < slot.deadline);
    }

    /// The ids of the sessions that are logged in.
    pub fn sessions(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().filter(|slot| matches!(slot.stage, Stage::Active(_))).map(|slot| slot.id)
    }

    /// Forgets all sessions and commands, as when the BMC restarts.
    pub fn reboot(&mut self) {
        self.slots.clear();
        self.awaited.clear();
        self.ready.clear();
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// [`Malformed`]: it was dropped, and nothing changed.
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

    /// Answers a command. Ignored when its session is gone, or when it was answered before.
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

    /// What may be asked before there is a session (IPMI 2.0 §13.14, Appendix G).
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
        slot.deadline = now + IDLE;
        self.calls = self.calls.wrapping_add(1);
        let call =
            Call { id: self.calls, session: slot.id, privilege: active.privilege, command: request.command.clone() };
        match session_commands::serve(&self.identity, &mut self.slots, &call) {
            Some(served) => self.served(from, &request, call, served),
            None => self.hand_out(from, request, call),
        }
        Ok(())
    }

    fn served(&mut self, from: K, request: &Request, call: Call, served: session_commands::Served) {
        let (completion, data, closing) = served;
        // The answer goes out under the keys of the session, so before it is closed.
        self.answer(call.session, from, &request.answer(completion, &data));
        if let Some(session) = closing {
            self.slots.retain(|slot| slot.id != session);
            // What waits for an answer there was handed out before the close; only its answer is dropped.
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
