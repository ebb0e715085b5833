//! A BMC: sessions, slots, late and doubled datagrams, and a log for the checker.

use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

use domain::{power::Power, time::Timestamp};

use crate::check::{Deed, What};

/// How long a session may be idle; a real one's minute, shortened so that a run need not wait for it.
const IDLE: Duration = Duration::from_secs(20);

/// A command that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    On,
    Off,
    /// Never repeated.
    Reset,
}

impl Command {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::On => "power on",
            Self::Off => "power off",
            Self::Reset => "reset",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    /// The number is the console's: a repeated handshake is the same session.
    Login(u64),
    Close(u32),
    Read,
    Command(Command),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Session(u32),
    NoSlot,
    /// A close: the session is no more.
    Closed,
    /// A close by id is not offered.
    CannotClose,
    Power(Power),
    Done,
}

#[derive(Debug)]
struct Session {
    console: u64,
    seen: BTreeSet<u32>,
    heard: Duration,
}

#[derive(Debug)]
pub(crate) struct Bmc {
    /// Whether it closes sessions by id.
    pub(crate) closes: bool,
    pub(crate) power: Power,
    slots: usize,
    sessions: BTreeMap<u32, Session>,
    pub(crate) log: Vec<Deed>,
    /// Commands that came through a session that was closed.
    pub(crate) refused: usize,
}

impl Bmc {
    pub(crate) const fn new(closes: bool, slots: usize) -> Self {
        Self { closes, power: Power::Off, slots, sessions: BTreeMap::new(), log: Vec::new(), refused: 0 }
    }

    /// A datagram arrives; `fresh` is the id that a new session would get. None: it is dropped unanswered.
    pub(crate) fn receive(&mut self, now: Duration, session: u32, number: u32, ask: Ask, fresh: u32) -> Option<Told> {
        self.sessions.retain(|_, session| now < session.heard + IDLE);
        if let Ask::Login(console) = ask {
            return Some(self.login(now, console, fresh));
        }
        let Some(open) = self.sessions.get_mut(&session) else {
            if let Ask::Command(command) = ask {
                self.refused += 1;
                self.note(now, session, What::Command { words: command.words().to_owned(), executed: false });
            }
            return None;
        };
        // A doubled datagram has its number twice (IPMI 2.0 §6.12.13).
        if !open.seen.insert(number) {
            return None;
        }
        open.heard = now;
        Some(self.carry_out(now, session, ask))
    }

    fn login(&mut self, now: Duration, console: u64, fresh: u32) -> Told {
        if let Some((id, _)) = self.sessions.iter().find(|(_, session)| session.console == console) {
            return Told::Session(*id);
        }
        if self.sessions.len() >= self.slots {
            return Told::NoSlot;
        }
        self.sessions.insert(fresh, Session { console, seen: BTreeSet::new(), heard: now });
        self.note(now, fresh, What::Login);
        Told::Session(fresh)
    }

    fn carry_out(&mut self, now: Duration, session: u32, ask: Ask) -> Told {
        match ask {
            Ask::Login(_) | Ask::Read => {
                self.note(now, session, What::Read);
                Told::Power(self.power)
            }
            Ask::Close(other) if other != session && !self.closes => Told::CannotClose,
            Ask::Close(other) => {
                if self.sessions.remove(&other).is_some() {
                    self.note(now, other, What::Close);
                }
                Told::Closed
            }
            Ask::Command(command) => {
                match command {
                    Command::On => self.power = Power::On,
                    Command::Off => self.power = Power::Off,
                    Command::Reset => {}
                }
                self.note(now, session, What::Command { words: command.words().to_owned(), executed: true });
                Told::Done
            }
        }
    }

    fn note(&mut self, now: Duration, session: u32, what: What) {
        self.log.push(Deed { at: stamp(now), session, what });
    }
}

/// The world's time as wall time.
pub(crate) fn stamp(now: Duration) -> Timestamp {
    Timestamp::default().plus(now)
}
