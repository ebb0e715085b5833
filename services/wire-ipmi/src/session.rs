//! Session of a remote console with a BMC: login, commands, keep-alive, logout.
//!
//! Damaged, repeated, late or unexpected datagrams are dropped and never end the session. See [`login`] for invalid responses
//! in the handshake.

use std::collections::VecDeque;
use std::ops::Add;
use std::time::Duration;

use crate::Malformed;
use crate::app;
use crate::meaning::{self, Meaning};
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

/// Maximum number of queued requests.
pub const MAX_QUEUE: usize = 64;
/// Maximum number of tries of the session's own commands.
const MAX_SESSION_COMMAND_SENDS: u8 = 6;
/// Delay before *Set Session Privilege Level* is sent again after the BMC refused it.
const RAISE_PAUSE: Duration = Duration::from_millis(500);
/// Maximum number of times that a refused *Set Session Privilege Level* is sent. Some BMCs refuse it for a moment after the
/// login.
const MAX_RAISES: u8 = 5;
/// Number of consecutive unauthenticated datagrams after which a try without a response ends the session.
const MAX_UNAUTHENTICATED_DATAGRAMS: u8 = 3;

/// Session with a BMC. Call [`poll`](Self::poll) until it returns `None` after every other call.
///
/// `T` is any clock reading; tests use plain durations, the driver uses tokio's instants. If it is
/// dropped, the BMC keeps the session open until its idle timeout.
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
    /// Output that reports the open session.
    opened: Output,
    /// Number of *Set Session Privilege Level* that were answered with a refusal.
    refusals: u8,
    /// When it is sent again.
    raise_at: Option<T>,
    /// Time of the next keep-alive command.
    probe: T,
    response_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// *Set Session Privilege Level* was sent; a session begins as *user* (IPMI 2.0 §13.24).
    Raising,
    Ready,
    Closing,
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Session<T> {
    /// Starts a login. `seed` must be unpredictable and used only once: nonces and initialization vectors are derived from it.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: T) -> Self {
        let (login, bytes) = Login::new(&config, now);
        let ready = VecDeque::from([Output::Send { bytes, guard: Guard::Free }]);
        let phase = Phase::Login(login);
        Self { config, entropy: Entropy::new(seed), phase, queue: VecDeque::new(), ready }
    }

    /// Takes the next output. Returns `None` if there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }

    /// Returns when to call [`expire`](Self::expire), or `None` if the session has ended.
    #[must_use]
    pub fn deadline(&self) -> Option<T> {
        match &self.phase {
            Phase::Login(login) => Some(login.deadline()),
            Phase::Active(active) => Some(active.exchange.deadline().or(active.raise_at).unwrap_or(active.probe)),
            Phase::Over => None,
        }
    }

    /// Returns the BMC's session id, which is known after the response to *Open Session*.
    #[must_use]
    pub const fn bmc_session(&self) -> Option<u32> {
        match &self.phase {
            Phase::Login(login) => login.bmc(),
            Phase::Active(active) => Some(active.exchange.bmc()),
            Phase::Over => None,
        }
    }

    /// Returns the console's session id, which identifies the datagrams of this session.
    #[must_use]
    pub const fn console_session(&self) -> u32 {
        self.config.console
    }

    /// Queues a command. A retransmission has the same request sequence number and a
    /// new session sequence number (IPMI 2.0 §13.8, §6.12.8).
    ///
    /// # Errors
    /// [`Refused`] if the command was not queued.
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
        self.send_queued(now);
        Ok(())
    }

    /// Cancels a request: [`poll`](Self::poll) returns no further datagram of it. A late response is reported while the session
    /// is open; [`Output::Lost`] is not.
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
        self.send_queued(now);
        match withdrawn {
            Withdrawn::HandedOut(sent) if sent <= held => Withdrawn::Unsent,
            Withdrawn::HandedOut(sent) => Withdrawn::HandedOut(sent.saturating_sub(held)),
            Withdrawn::Unsent | Withdrawn::Unknown => withdrawn,
        }
    }

    /// Logs out. Queued requests are lost and not sent any more.
    pub fn close(&mut self, now: T) {
        match &mut self.phase {
            Phase::Over => {}
            // Neither side is authenticated yet, so no command can have been executed.
            Phase::Login(_) => {
                self.report_all_lost();
                self.phase = Phase::Over;
                self.ready.push_back(Output::Closed);
            }
            Phase::Active(active) => {
                if active.stage == Stage::Closing {
                    return;
                }
                active.stage = Stage::Closing;
                active.raise_at = None;
                let close = app::close_session(active.exchange.bmc());
                self.report_all_lost();
                self.own(now, Errand::Close, close);
            }
        }
    }

    /// Handles a datagram.
    ///
    /// # Errors
    /// [`Malformed`] if the datagram was dropped. Nothing has changed, except that unauthenticated datagrams are counted.
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

    /// Handles passed deadlines. May be called at any time.
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
        let response_timeout = match &self.phase {
            Phase::Login(login) => login.response_timeout(),
            Phase::Active(_) | Phase::Over => self.config.response_timeout,
        };
        let opened = Output::Opened { bmc_session: bmc, suite, guid };
        let exchange = Exchange::new(keys, bmc);
        let probe = now + self.config.keep_alive;
        let stage = Stage::Raising;
        let (refusals, raise_at) = (0, None);
        self.phase = Phase::Active(Active { exchange, stage, opened, refusals, raise_at, probe, response_timeout });
        self.own(now, Errand::Raise, app::set_session_privilege(self.config.privilege));
    }

    /// Sends one of the session's own commands.
    fn own(&mut self, now: T, errand: Errand, command: Command) {
        let Phase::Active(active) = &mut self.phase else { return };
        let retry = Retry { timeout: active.response_timeout, tries: MAX_SESSION_COMMAND_SENDS };
        let (bytes, guard) = active.exchange.begin(&mut self.entropy, now, errand, (command, Effect::Reads, retry));
        self.ready.push_back(Output::Send { bytes, guard });
    }

    /// Sends queued requests while the pipeline has room.
    fn send_queued(&mut self, now: T) {
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
            Errand::Raise if active.stage == Stage::Raising => {
                active.refusals = active.refusals.saturating_add(1);
                let meaning = meaning::raise_meaning(completion);
                if meaning == Meaning::Never || active.refusals >= MAX_RAISES {
                    self.fail(Reason::Unraised(completion));
                } else {
                    active.raise_at = Some(now + RAISE_PAUSE);
                }
            }
            Errand::Raise => {}
            Errand::Close if app::closes(completion) => {
                self.phase = Phase::Over;
                self.ready.push_back(Output::Closed);
            }
            Errand::Close => self.fail(Reason::Unclosed(completion)),
        }
        self.send_queued(now);
        Ok(())
    }

    fn lapse(&mut self, now: T) {
        while let Phase::Active(active) = &mut self.phase {
            let Some(expired) = active.exchange.expire(&mut self.entropy, now) else {
                break;
            };
            let forged = active.exchange.forged();
            match expired {
                _ if forged >= MAX_UNAUTHENTICATED_DATAGRAMS => self.fail(Reason::Forged),
                Expired::Again { bytes, guard } => self.ready.push_back(Output::Send { bytes, guard }),
                Expired::GivenUp(Errand::Caller(ticket)) => {
                    // A keep-alive shows whether the command or the BMC is lost.
                    active.probe = now;
                    self.ready.push_back(Output::Lost { ticket });
                }
                Expired::GivenUp(Errand::Raise | Errand::KeepAlive | Errand::Close) => {
                    self.fail(Reason::Silent);
                }
            }
        }
        if let Phase::Active(active) = &mut self.phase
            && active.raise_at.take_if(|at| *at <= now).is_some()
        {
            self.own(now, Errand::Raise, app::set_session_privilege(self.config.privilege));
        }
        self.send_queued(now);
        if let Phase::Active(active) = &self.phase
            && active.exchange.waiting() == 0
            && active.stage == Stage::Ready
            && active.probe <= now
        {
            self.own(now, Errand::KeepAlive, app::get_device_id());
        }
    }

    /// Ends all requests and reports each as lost.
    fn report_all_lost(&mut self) {
        let mut lost: Vec<Ticket> = match &mut self.phase {
            Phase::Active(active) => active.exchange.withdraw_all(),
            Phase::Login(_) | Phase::Over => Vec::new(),
        };
        lost.extend(self.queue.drain(..).map(|(ticket, ..)| ticket));
        self.ready.retain(|output| !matches!(output, Output::Send { guard: Guard::Mutating(_), .. }));
        self.ready.extend(lost.into_iter().map(|ticket| Output::Lost { ticket }));
    }

    fn fail(&mut self, reason: Reason) {
        self.report_all_lost();
        self.phase = Phase::Over;
        self.ready.push_back(Output::Failed(reason));
    }
}

#[cfg(test)]
mod tests;
