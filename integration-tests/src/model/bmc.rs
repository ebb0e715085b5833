//! A simulated BMC: sessions, a limited number of them, duplicate datagrams, and a log for the checker.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{power::Power, time::Timestamp};

use crate::check::{Deed, What};

/// Idle timeout of a session. That of a real BMC is a minute, which would make every run longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// A command that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    On,
    Off,
    /// Never repeated.
    Reset,
}

impl Command {
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::On => "power on",
            Self::Off => "power off",
            Self::Reset => "reset",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    /// The number is the client's: a repeated login is the same session.
    Login(u64),
    Close(u32),
    Read,
    Command(Command),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Session(u32),
    NoFreeSession,
    /// The session does not exist any more.
    Closed,
    /// It does not close sessions by id.
    CannotClose,
    Power(Power),
    Done,
}

/// A request as it arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) session: u32,
    /// The same in a retransmission by the network, another one in one by the client.
    pub(crate) number: u32,
    pub(crate) request: Request,
}

#[derive(Debug)]
struct Session {
    client: u64,
    numbers: BTreeSet<u32>,
    last_used: Duration,
}

#[derive(Debug)]
pub(crate) struct Bmc {
    /// Whether it closes sessions by id.
    pub(crate) closes: bool,
    pub(crate) power: Power,
    max_sessions: usize,
    sessions: BTreeMap<u32, Session>,
    pub(crate) log: Vec<Deed>,
    /// Number of commands that arrived through a closed session.
    pub(crate) refused: usize,
}

impl Bmc {
    pub(crate) const fn new(closes: bool, max_sessions: usize) -> Self {
        Self { closes, power: Power::Off, max_sessions, sessions: BTreeMap::new(), log: Vec::new(), refused: 0 }
    }

    /// Handles a datagram. `fresh` is the id that a new session would get. `None`: it is dropped unanswered.
    pub(crate) fn receive(&mut self, now: Duration, datagram: Datagram, fresh: u32) -> Option<Reply> {
        let Datagram { session, number, request } = datagram;
        self.sessions.retain(|_, session| now < session.last_used + IDLE_TIMEOUT);
        if let Request::Login(client) = request {
            return Some(self.login(now, client, fresh));
        }
        let Some(open) = self.sessions.get_mut(&session) else {
            if let Request::Command(command) = request {
                self.refused += 1;
                self.note(now, session, What::Command { words: command.description().to_owned(), executed: false });
            }
            return None;
        };
        // A duplicate has the same number (IPMI 2.0 §6.12.13).
        if !open.numbers.insert(number) {
            return None;
        }
        open.last_used = now;
        Some(self.execute(now, session, request))
    }

    fn login(&mut self, now: Duration, client: u64, fresh: u32) -> Reply {
        if let Some((id, _)) = self.sessions.iter().find(|(_, session)| session.client == client) {
            return Reply::Session(*id);
        }
        if self.sessions.len() >= self.max_sessions {
            return Reply::NoFreeSession;
        }
        self.sessions.insert(fresh, Session { client, numbers: BTreeSet::new(), last_used: now });
        self.note(now, fresh, What::Login);
        Reply::Session(fresh)
    }

    fn execute(&mut self, now: Duration, session: u32, request: Request) -> Reply {
        match request {
            Request::Login(_) | Request::Read => {
                self.note(now, session, What::Read);
                Reply::Power(self.power)
            }
            Request::Close(other) if other != session && !self.closes => Reply::CannotClose,
            Request::Close(other) => {
                if self.sessions.remove(&other).is_some() {
                    self.note(now, other, What::Close);
                }
                Reply::Closed
            }
            Request::Command(command) => {
                match command {
                    Command::On => self.power = Power::On,
                    Command::Off => self.power = Power::Off,
                    Command::Reset => {}
                }
                self.note(now, session, What::Command { words: command.description().to_owned(), executed: true });
                Reply::Done
            }
        }
    }

    fn note(&mut self, now: Duration, session: u32, what: What) {
        self.log.push(Deed { at: timestamp(now), session, what });
    }
}

/// The schedule's time as wall time.
pub(crate) fn timestamp(now: Duration) -> Timestamp {
    Timestamp::default().plus(now)
}
