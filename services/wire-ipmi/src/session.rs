//! One session of a remote console with one BMC: logs in, carries commands, stays alive, logs out.
//!
//! A damaged, repeated, late or strange datagram is dropped and never an error of the session; only what is certain,
//! or was said twice, ends it. See [`login`] for how a single bad answer in the handshake is told from a real one.

use std::collections::VecDeque;
use std::ops::Add;
use std::time::Duration;

use crate::Malformed;
use crate::app;
use crate::message::{Command, MAX_DATA, Response};
use crate::rmcp::{Datagram, Packet, payload};
use crate::secret::Entropy;

pub(crate) mod config;
mod exchange;
mod login;
pub(crate) mod output;

use config::{Config, Effect, MAX_PIPELINE, Retry};
use exchange::{Errand, Exchange, Expired};
use login::{Established, Login, Progress};
use output::{Guard, Output, Reason, Refused, Ticket, Withdrawn};

/// How many requests may wait for their turn.
pub const MAX_QUEUE: usize = 64;
/// How often the session's own commands are sent.
const OWN_TRIES: u8 = 6;
/// After so many datagrams in a row that cannot be authenticated, a try that went unanswered ends the session.
const FORGED_LIMIT: u8 = 3;

/// One session. Call [`poll`](Self::poll) until it returns `None` after every other call.
///
/// `T` is any clock reading; tests use plain durations, the driver uses tokio's instants. Dropping it leaves the
/// session open at the BMC until that ends idle ones.
#[derive(Debug)]
pub struct Session<T> {
    config: Config,
    entropy: Entropy,
    phase: Phase<T>,
    queue: VecDeque<(Ticket, Command, Effect, Retry)>,
    ready: VecDeque<Output>,
}

#[derive(Debug)]
enum Phase<T> {
    Login(Login<T>),
    Active(Active<T>),
    Over,
}

#[derive(Debug)]
struct Active<T> {
    exchange: Exchange<T>,
    stage: Stage,
    /// What `Opened` will say.
    opened: Output,
    /// When to ask the BMC something, for the sake of asking.
    probe: T,
    patience: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// *Set Session Privilege Level* is under way; a session begins as *user* (IPMI 2.0 §13.24).
    Raising,
    Ready,
    Closing,
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Session<T> {
    /// Begins to log in. `seed` must be unpredictable and used for nothing else: nonces and initialization vectors
    /// are drawn from it.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: T) -> Self {
        let (login, bytes) = Login::new(&config, now);
        let ready = VecDeque::from([Output::Send { bytes, guard: Guard::Free }]);
        let phase = Phase::Login(login);
        Self { config, entropy: Entropy::new(seed), phase, queue: VecDeque::new(), ready }
    }

    /// The next thing to do; `None` when there is nothing until the next call.
    pub fn poll(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }

    /// When to call [`expire`](Self::expire); `None` when the session is over.
    #[must_use]
    pub fn deadline(&self) -> Option<T> {
        match &self.phase {
            Phase::Login(login) => Some(login.deadline()),
            Phase::Active(active) => Some(active.exchange.deadline().unwrap_or(active.probe)),
            Phase::Over => None,
        }
    }

    /// The BMC's id of this session, from its answer to *Open Session* on.
    #[must_use]
    pub const fn bmc_session(&self) -> Option<u32> {
        match &self.phase {
            Phase::Login(login) => login.bmc(),
            Phase::Active(active) => Some(active.exchange.bmc()),
            Phase::Over => None,
        }
    }

    /// The console's id of this session, by which its datagrams are told from those of others.
    #[must_use]
    pub const fn console_session(&self) -> u32 {
        self.config.console
    }

    /// Asks for a command to be sent when its turn comes. A retransmission has the same request sequence number and a
    /// new session sequence number (IPMI 2.0 §13.8, §6.12.8).
    ///
    /// # Errors
    /// [`Refused`]: nothing was taken.
    pub fn request(
        &mut self,
        now: T,
        ticket: Ticket,
        command: Command,
        effect: Effect,
        retry: Retry,
    ) -> Result<(), Refused> {
        let waiting = match &self.phase {
            Phase::Over => return Err(Refused::Over),
            Phase::Active(active) if active.stage == Stage::Closing => return Err(Refused::Over),
            Phase::Active(active) => active.exchange.knows(ticket),
            Phase::Login(_) => false,
        };
        if command.data.len() > MAX_DATA || command.netfn & 1 == 1 || command.netfn > 0x3f {
            return Err(Refused::Unspeakable);
        }
        if waiting || self.queue.iter().any(|(queued, ..)| *queued == ticket) {
            return Err(Refused::Repeated);
        }
        if self.queue.len() >= MAX_QUEUE {
            return Err(Refused::Full);
        }
        self.queue.push_back((ticket, command, effect, retry));
        self.pump(now);
        Ok(())
    }

    /// Withdraws a request: no datagram of it is handed out any more, also none that waits in [`poll`](Self::poll).
    /// An answer that still comes is reported, for as long as the session lives; [`Output::Lost`] is not.
    pub fn cancel(&mut self, now: T, ticket: Ticket) -> Withdrawn {
        let queued = self.queue.len();
        self.queue.retain(|(waiting, ..)| *waiting != ticket);
        if self.queue.len() < queued {
            return Withdrawn::Unsent;
        }
        let Phase::Active(active) = &mut self.phase else {
            return Withdrawn::Unknown;
        };
        let withdrawn = active.exchange.withdraw(ticket);
        let held = self.ready.len();
        self.ready.retain(|output| !matches!(output, Output::Send { guard: Guard::Mutating(t), .. } if *t == ticket));
        let held = u32::try_from(held.saturating_sub(self.ready.len())).unwrap_or(u32::MAX);
        self.pump(now);
        match withdrawn {
            Withdrawn::HandedOut(sent) if sent <= held => Withdrawn::Unsent,
            Withdrawn::HandedOut(sent) => Withdrawn::HandedOut(sent.saturating_sub(held)),
            Withdrawn::Unsent | Withdrawn::Unknown => withdrawn,
        }
    }

    /// Logs out. Requests that wait are lost; nothing of them is sent any more.
    pub fn close(&mut self, now: T) {
        match &mut self.phase {
            Phase::Over => {}
            // Neither side is authenticated yet, so no command can have been executed.
            Phase::Login(_) => {
                self.lose_all();
                self.phase = Phase::Over;
                self.ready.push_back(Output::Closed);
            }
            Phase::Active(active) => {
                if active.stage == Stage::Closing {
                    return;
                }
                active.stage = Stage::Closing;
                let close = app::close_session(active.exchange.bmc());
                self.lose_all();
                self.own(now, Errand::Close, close);
            }
        }
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// [`Malformed`]: it was dropped. Nothing changed, but that datagrams which could not be authenticated are counted.
    pub fn receive(&mut self, now: T, bytes: &[u8]) -> Result<(), Malformed> {
        let Datagram::Plus(packet) = Datagram::decode(bytes)? else {
            return Err(Malformed::Unexpected);
        };
        match &mut self.phase {
            Phase::Over => Err(Malformed::Unexpected),
            Phase::Login(login) => {
                let progress = login.receive(&self.config, &mut self.entropy, now, &packet)?;
                self.progress(now, progress);
                Ok(())
            }
            Phase::Active(_) => self.answered(now, &packet),
        }
    }

    /// Notes that time went on. May be called at any time.
    pub fn expire(&mut self, now: T) {
        match &mut self.phase {
            Phase::Over => {}
            Phase::Login(login) => {
                let progress = login.expire(&self.config, &mut self.entropy, now);
                self.progress(now, progress);
            }
            Phase::Active(_) => self.lapse(now),
        }
    }

    fn progress(&mut self, now: T, progress: Progress) {
        match progress {
            Progress::Wait => {}
            Progress::Send(bytes) => self.ready.push_back(Output::Send { bytes, guard: Guard::Free }),
            Progress::Done(established) => self.activate(now, established),
            Progress::Fail(reason, farewell) => {
                self.ready.extend(farewell.map(|bytes| Output::Send { bytes, guard: Guard::Free }));
                self.fail(reason);
            }
        }
    }

    fn activate(&mut self, now: T, established: Established) {
        let Established { keys, suite, bmc, guid } = established;
        let patience = match &self.phase {
            Phase::Login(login) => login.patience(),
            Phase::Active(_) | Phase::Over => self.config.patience,
        };
        let opened = Output::Opened { bmc_session: bmc, suite, guid };
        let exchange = Exchange::new(keys, bmc);
        let probe = now + self.config.keep_alive;
        self.phase = Phase::Active(Active { exchange, stage: Stage::Raising, opened, probe, patience });
        self.own(now, Errand::Raise, app::set_session_privilege(self.config.privilege));
    }

    /// Sends a command of the session's own.
    fn own(&mut self, now: T, errand: Errand, command: Command) {
        let Phase::Active(active) = &mut self.phase else { return };
        let retry = Retry { timeout: active.patience, tries: OWN_TRIES };
        let (bytes, guard) = active.exchange.begin(&mut self.entropy, now, errand, (command, Effect::Reads, retry));
        self.ready.push_back(Output::Send { bytes, guard });
    }

    /// Sends what waits, as far as the pipeline has room.
    fn pump(&mut self, now: T) {
        let Phase::Active(active) = &mut self.phase else { return };
        let room = self.config.pipeline.clamp(1, MAX_PIPELINE);
        while active.stage == Stage::Ready && active.exchange.waiting() < room {
            let Some((ticket, command, effect, retry)) = self.queue.pop_front() else {
                return;
            };
            let sending = (command, effect, retry);
            let (bytes, guard) = active.exchange.begin(&mut self.entropy, now, Errand::Caller(ticket), sending);
            self.ready.push_back(Output::Send { bytes, guard });
        }
    }

    fn answered(&mut self, now: T, packet: &Packet<'_>) -> Result<(), Malformed> {
        let Phase::Active(active) = &mut self.phase else {
            return Err(Malformed::Unexpected);
        };
        if packet.kind != payload::MESSAGE || packet.session != self.config.console {
            return Err(Malformed::Unexpected);
        }
        let (errand, Response { completion, data, .. }) = active.exchange.receive(packet)?;
        active.probe = now + self.config.keep_alive;
        match errand {
            Errand::Caller(ticket) => self.ready.push_back(Output::Answer { ticket, completion, data }),
            Errand::KeepAlive => {}
            Errand::Raise if completion.is_ok() && active.stage == Stage::Raising => {
                active.stage = Stage::Ready;
                self.ready.push_back(active.opened.clone());
            }
            Errand::Raise if active.stage == Stage::Raising => self.fail(Reason::Unraised(completion)),
            Errand::Raise => {}
            Errand::Close if app::closes(completion) => {
                self.phase = Phase::Over;
                self.ready.push_back(Output::Closed);
            }
            Errand::Close => self.fail(Reason::Unclosed(completion)),
        }
        self.pump(now);
        Ok(())
    }

    fn lapse(&mut self, now: T) {
        while let Phase::Active(active) = &mut self.phase {
            let Some(expired) = active.exchange.expire(&mut self.entropy, now) else {
                break;
            };
            let forged = active.exchange.forged();
            match expired {
                _ if forged >= FORGED_LIMIT => self.fail(Reason::Forged),
                Expired::Again { bytes, guard } => self.ready.push_back(Output::Send { bytes, guard }),
                Expired::GivenUp(Errand::Caller(ticket)) => {
                    // Is it the command or the BMC that is lost? Ask.
                    active.probe = now;
                    self.ready.push_back(Output::Lost { ticket });
                }
                Expired::GivenUp(Errand::Raise | Errand::KeepAlive | Errand::Close) => {
                    self.fail(Reason::Silent);
                }
            }
        }
        self.pump(now);
        if let Phase::Active(active) = &self.phase
            && active.exchange.waiting() == 0
            && active.stage == Stage::Ready
            && active.probe <= now
        {
            self.own(now, Errand::KeepAlive, app::get_device_id());
        }
    }

    /// Nothing more is sent for any request, and each is reported.
    fn lose_all(&mut self) {
        let mut lost: Vec<Ticket> = match &mut self.phase {
            Phase::Active(active) => active.exchange.withdraw_all(),
            Phase::Login(_) | Phase::Over => Vec::new(),
        };
        lost.extend(self.queue.drain(..).map(|(ticket, ..)| ticket));
        self.ready.retain(|output| !matches!(output, Output::Send { guard: Guard::Mutating(_), .. }));
        self.ready.extend(lost.into_iter().map(|ticket| Output::Lost { ticket }));
    }

    fn fail(&mut self, reason: Reason) {
        self.lose_all();
        self.phase = Phase::Over;
        self.ready.push_back(Output::Failed(reason));
    }
}

#[cfg(test)]
mod tests;
