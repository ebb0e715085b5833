//! Test bed: a session, a responder, the network between them, and the clock.

use std::time::Duration;

use super::super::*;
use crate::chassis::{self, Control, Power};
use crate::responder::machine::Machine;
use crate::responder::{self, Closing, Identity, Responder, User};
use crate::{Privilege, Secret, Suite};

pub(super) const CONSOLE: u32 = 0x0403_0201;
pub(super) const RETRY: Retry = Retry { timeout: Duration::from_millis(500), tries: 10 };

/// Behavior of the network for a datagram: the received copies, each with its delay.
pub(super) type Fault<'f> = Box<dyn FnMut(Side, &[u8]) -> Vec<(Duration, Vec<u8>)> + 'f>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    ToBmc,
    ToConsole,
}

pub(super) struct Bed<'f> {
    pub(super) now: Duration,
    pub(super) session: Session<Duration>,
    pub(super) responder: Responder<(), Duration>,
    pub(super) machine: Machine,
    pub(super) wire: Vec<(Duration, Side, Vec<u8>)>,
    pub(super) fault: Fault<'f>,
    /// Outputs other than `Send`.
    pub(super) told: Vec<Output>,
    pub(super) sent: Vec<(Duration, Guard)>,
    /// Chassis commands that the machine executed.
    pub(super) done: Vec<Command>,
}

pub(super) fn config() -> Config {
    Config::new(CONSOLE, b"admin", b"labpass").unwrap()
}

pub(super) fn identity() -> Identity {
    let user = User {
        name: b"admin".to_vec(),
        password: Secret::new(b"labpass").unwrap(),
        privilege: Privilege::Administrator,
    };
    Identity {
        guid: [7; 16],
        users: vec![user],
        bmc_key: None,
        suites: vec![Suite::Three, Suite::Seventeen],
        slots: 4,
        closing: Closing::Any,
    }
}

pub(super) fn at_once(_: Side, bytes: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    vec![(Duration::from_millis(1), bytes.to_vec())]
}

impl<'f> Bed<'f> {
    pub(super) fn new(config: Config, identity: Identity) -> Self {
        Self {
            now: Duration::ZERO,
            session: Session::new(config, [1; 32], Duration::ZERO),
            responder: Responder::new(identity, [2; 32]),
            machine: Machine::default(),
            wire: Vec::new(),
            fault: Box::new(at_once),
            told: Vec::new(),
            sent: Vec::new(),
            done: Vec::new(),
        }
    }

    pub(super) fn good() -> Self {
        Self::new(config(), identity())
    }

    pub(super) fn faulty(mut self, fault: impl FnMut(Side, &[u8]) -> Vec<(Duration, Vec<u8>)> + 'f) -> Self {
        self.fault = Box::new(fault);
        self
    }

    pub(super) fn carry(&mut self, side: Side, bytes: &[u8]) {
        let copies = (self.fault)(side, bytes);
        self.wire.extend(copies.into_iter().map(|(delay, bytes)| (self.now + delay, side, bytes)));
    }

    pub(super) fn settle(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send { bytes, guard } => {
                    self.sent.push((self.now, guard));
                    self.carry(Side::ToBmc, &bytes);
                }
                told @ (Output::Opened { .. }
                | Output::Answer { .. }
                | Output::Lost { .. }
                | Output::Closed
                | Output::Failed(_)) => self.told.push(told),
            }
        }
        while let Some(output) = self.responder.poll() {
            match output {
                responder::Output::Send { bytes, .. } => self.carry(Side::ToConsole, &bytes),
                responder::Output::Command(call) => {
                    let answer = self.machine.answer(&call);
                    self.done.extend((call.command.netfn == 0).then(|| call.command.clone()));
                    self.responder.respond(call.id, answer.completion, &answer.data);
                }
                responder::Output::Served { .. } => {}
            }
        }
    }

    /// Advances to the next datagram or deadline. Returns `false` if there is none before `end`.
    pub(super) fn step(&mut self, end: Duration) -> bool {
        self.settle();
        let next = self.wire.iter().map(|(at, ..)| *at).chain(self.session.deadline()).min();
        let Some(next) = next.filter(|next| *next <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        let now = self.now;
        let mut due: Vec<_> = self.wire.extract_if(.., |(at, ..)| *at <= now).collect();
        due.sort_by_key(|(at, ..)| *at);
        for (_, side, bytes) in due {
            let _dropped = match side {
                Side::ToBmc => self.responder.receive(now, (), &bytes),
                Side::ToConsole => self.session.receive(now, &bytes),
            };
        }
        self.session.expire(now);
        self.settle();
        true
    }

    /// Runs until `found` accepts an output of the session, for at most two minutes.
    pub(super) fn until(&mut self, found: impl Fn(&Output) -> bool) -> Duration {
        while !self.told.iter().any(&found) {
            assert!(self.step(Duration::from_secs(120)), "at {:?}: {:?}", self.now, self.told);
        }
        self.now
    }

    pub(super) fn ask(&mut self, ticket: u64, command: Command, effect: Effect) {
        self.session.request(self.now, Ticket(ticket), command, effect, RETRY).unwrap();
    }

    pub(super) fn failure(&mut self) -> Reason {
        self.until(|told| matches!(told, Output::Failed(_) | Output::Opened { .. }));
        match self.told.last() {
            Some(Output::Failed(reason)) => *reason,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a complete session: power on, read the state, log out.
    pub(super) fn live(&mut self) {
        self.ask(1, Control::On.command(), Effect::Mutates);
        self.ask(2, chassis::get_status(), Effect::Reads);
        self.until(|told| matches!(told, Output::Answer { ticket: Ticket(2), .. }));
        let Some(Output::Answer { data, .. }) = self.told.last() else { panic!("{:?}", self.told) };
        assert_eq!(chassis::Status::decode(data).unwrap().power, Power::On);
        self.session.close(self.now);
        self.until(|told| matches!(told, Output::Closed | Output::Failed(Reason::Silent)));
    }
}
