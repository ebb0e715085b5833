//! Requests and responses of an open session: sequence numbers, tries, and matching.

use std::ops::Add;
use std::time::Duration;

use super::config::{Effect, Retry};
use super::output::{Guard, Ticket, Withdrawn};
use crate::Malformed;
use crate::cipher::Keys;
use crate::message::{Command, Response};
use crate::rmcp::Packet;
use crate::secret::Entropy;
use crate::window::Window;

/// Number of request sequence numbers, which have six bits (IPMI 2.0 §13.8).
const REQUEST_NUMBERS: u8 = 64;

/// Purpose of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    Caller(Ticket),
    Raise,
    KeepAlive,
    Close,
}

/// Sent command.
#[derive(Debug)]
struct Flight<T> {
    errand: Errand,
    number: u8,
    command: Command,
    guard: Guard,
    timeout: Duration,
    left: u8,
    sent: u32,
    /// `None` if it is not sent any more. A response is still accepted.
    deadline: Option<T>,
}

/// Result of an expired try.
pub(super) enum Expired {
    Again { bytes: Vec<u8>, guard: Guard },
    GivenUp(Errand),
}

#[derive(Debug)]
pub(super) struct Exchange<T> {
    keys: Keys,
    bmc: u32,
    window: Window,
    sequence: u32,
    next: u8,
    /// At most one per number.
    flights: Vec<Flight<T>>,
    /// Number of unauthenticated datagrams since the last authenticated one.
    forged: u8,
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Exchange<T> {
    pub(super) fn new(keys: Keys, bmc: u32) -> Self {
        Self { keys, bmc, window: Window::default(), sequence: 0, next: 0, flights: Vec::new(), forged: 0 }
    }

    pub(super) const fn bmc(&self) -> u32 {
        self.bmc
    }

    pub(super) const fn forged(&self) -> u8 {
        self.forged
    }

    /// Returns the number of outstanding commands.
    pub(super) fn waiting(&self) -> usize {
        self.flights.iter().filter(|flight| flight.deadline.is_some()).count()
    }

    pub(super) fn knows(&self, ticket: Ticket) -> bool {
        self.flights.iter().any(|flight| flight.errand == Errand::Caller(ticket) && flight.deadline.is_some())
    }

    pub(super) fn deadline(&self) -> Option<T> {
        self.flights.iter().filter_map(|flight| flight.deadline).reduce(|a, b| if b < a { b } else { a })
    }

    /// Sends a command for the first time.
    pub(super) fn begin(
        &mut self,
        entropy: &mut Entropy,
        now: T,
        errand: Errand,
        (command, effect, retry): (Command, Effect, Retry),
    ) -> (Vec<u8>, Guard) {
        let guard = match (errand, effect) {
            (Errand::Caller(ticket), Effect::Mutates) => Guard::Mutating(ticket),
            _ => Guard::Free,
        };
        let number = self.free_number();
        let bytes = self.seal(entropy, &command.encode(number));
        self.flights.push(Flight {
            errand,
            number,
            command,
            guard,
            timeout: retry.timeout,
            left: retry.tries.saturating_sub(1),
            sent: 1,
            deadline: Some(now + retry.timeout),
        });
        (bytes, guard)
    }

    /// Returns the next number that no outstanding command has. A command with this number that was given up is dropped.
    fn free_number(&mut self) -> u8 {
        for _ in 0..REQUEST_NUMBERS {
            self.next = self.next.wrapping_add(1) % REQUEST_NUMBERS;
            let number = self.next;
            if !self.flights.iter().any(|flight| flight.number == number && flight.deadline.is_some()) {
                break;
            }
        }
        self.flights.retain(|flight| flight.number != self.next);
        self.next
    }

    /// Every datagram has a new session sequence number, also retransmissions; 0 is for datagrams outside a
    /// session (IPMI 2.0 §6.12.8, §13.6).
    fn seal(&mut self, entropy: &mut Entropy, message: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.keys.seal(self.bmc, self.sequence, entropy.draw(), message)
    }

    /// Handles a response to an outstanding or cancelled command.
    pub(super) fn receive(&mut self, packet: &Packet<'_>) -> Result<(Errand, Response), Malformed> {
        let message = match self.keys.open(packet) {
            Ok(message) => message,
            Err(malformed) => {
                self.forged = self.forged.saturating_add(1);
                return Err(malformed);
            }
        };
        self.forged = 0;
        if !self.window.admit(packet.sequence) {
            return Err(Malformed::Replayed);
        }
        let response = Response::decode(&message)?;
        let answered = self.flights.iter().position(|flight| {
            flight.number == response.sequence
                && flight.command.netfn | 1 == response.netfn
                && flight.command.command == response.command
        });
        let flight = self.flights.swap_remove(answered.ok_or(Malformed::Unexpected)?);
        Ok((flight.errand, response))
    }

    /// Handles an expired try. Call it until it returns `None`.
    pub(super) fn expire(&mut self, entropy: &mut Entropy, now: T) -> Option<Expired> {
        let flight = self.flights.iter_mut().find(|flight| flight.deadline.is_some_and(|deadline| deadline <= now))?;
        if flight.left == 0 {
            flight.deadline = None;
            return Some(Expired::GivenUp(flight.errand));
        }
        flight.left = flight.left.saturating_sub(1);
        flight.sent = flight.sent.saturating_add(1);
        flight.deadline = Some(now + flight.timeout);
        let (message, guard) = (flight.command.encode(flight.number), flight.guard);
        let bytes = self.seal(entropy, &message);
        Some(Expired::Again { bytes, guard })
    }

    /// Stops sending the command of a ticket.
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Withdrawn {
        let errand = Errand::Caller(ticket);
        let Some(flight) = self.flights.iter_mut().rev().find(|f| f.errand == errand && f.deadline.is_some()) else {
            return Withdrawn::Unknown;
        };
        flight.deadline = None;
        Withdrawn::HandedOut(flight.sent)
    }

    /// Stops sending all commands, and returns the tickets of outstanding requests.
    pub(super) fn withdraw_all(&mut self) -> Vec<Ticket> {
        let waiting = self.flights.iter_mut().filter(|flight| flight.deadline.is_some());
        waiting
            .filter_map(|flight| {
                flight.deadline = None;
                match flight.errand {
                    Errand::Caller(ticket) => Some(ticket),
                    Errand::Raise | Errand::KeepAlive | Errand::Close => None,
                }
            })
            .collect()
    }
}
