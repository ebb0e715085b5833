//! One attempt to execute an instruction.

use std::time::Duration;

use domain::{
    failure::{Cause, Failure},
    generation::InstructionVersion,
    id::NodeId,
    power::{Power, PowerTarget},
    raw_command::RawCommand,
    ring::bmc_takeover::{NextAction, Takeover},
    time::Timestamp,
    timeline::Mark,
};
use keyspace::{
    key,
    value::{JournalEntry, Outcome},
};
use mesh::{Claim, JournalWriter, WorkGuard};
use service_kit::clock;
use tokio::time::sleep;

use super::{
    Work, chain, failure,
    patience::{Again, Patience, repeat_read},
};
use crate::{
    bmc::{Bmc as _, BmcError, Command, Reply},
    control::{PowerSequence, Step, too_late},
    session::BmcSession,
};

/// How often power is read while it does not yet follow a command.
const POWER_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Why an instruction ends without success.
pub(super) enum Stopped {
    /// It failed permanently.
    Failed(Failure),
    /// This process must not continue; the next owner will.
    Relinquished(mesh::Error),
}

/// Why an attempt to execute an instruction ended.
pub(super) enum AttemptError {
    /// No further attempt is made.
    Stopped(Stopped),
    /// A transient failure: a retry may succeed.
    Transient(BmcError),
    /// As `Transient`, and the pause before the retry is over.
    Paused,
}

impl From<mesh::Error> for AttemptError {
    fn from(error: mesh::Error) -> Self {
        Self::Stopped(Stopped::Relinquished(error))
    }
}

impl From<Failure> for AttemptError {
    fn from(failure: Failure) -> Self {
        Self::Stopped(Stopped::Failed(failure))
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instruction {
    pub(super) version: InstructionVersion,
    pub(super) target: PowerTarget,
    /// When this instance took it.
    pub(super) requested_at: Timestamp,
}

/// What one attempt does.
struct Doing {
    instruction: Instruction,
    /// The raw command of the instruction, if it has one.
    raw: Option<RawCommand>,
}

impl Work {
    /// Makes one attempt: claims the node, closes previous sessions, waits, reads, then acts.
    pub(super) async fn attempt(
        &self,
        guard: &WorkGuard,
        instruction: Instruction,
        patience: &mut Patience,
    ) -> Result<(), AttemptError> {
        let (node, version) = (guard.node(), instruction.version);
        let mut takeover = Takeover::new(self.mesh().times().settle);
        let claim = self.mesh().claim(guard).await?;
        // Our view may have been behind when the instruction was requested. It no longer is, and the previous owner may
        // have executed it.
        if self.is_settled(node, version) {
            return Ok(());
        }
        takeover.claimed(claim.token(), self.mesh().now());
        let mut journal = JournalWriter::read(self.mesh(), claim).await?;
        journal.obey(version)?;
        if let Some(command) = Command::once_for(instruction.target)
            && journal.record().entry.as_ref().is_some_and(|entry| may_have_been_sent(entry, version))
        {
            return Err(unconfirmed_command(command, None));
        }
        // If its time ends while the BMC is asked, the BMC's own error is the cause.
        if let Some(text) = too_late(instruction.target, instruction.requested_at) {
            return Err(failure(Cause::Deadline, text).into());
        }
        let (reach, record) = self.bmc_target(node).map_err(|error| failure(Cause::BmcPassword, chain(&error)))?;
        let raw = self.raw_command(node, instruction, record.as_ref())?;
        takeover.sessions(journal.to_close());
        let opened = reach.open(&self.drivers, &self.limits).await;
        self.rejected.logged_in(node, record.as_ref(), opened.as_ref().err());
        let mut bmc = opened.map_err(attempt_error)?;
        journal.opened(bmc.session(), bmc.path());
        takeover.logged_in(bmc.session());
        let doing = Doing { instruction, raw };
        let outcome = self.in_session(&mut bmc, &mut takeover, &mut journal, doing, patience).await;
        if let (Err(error), Some(record)) = (&outcome, record)
            && is_rejected_login(error)
        {
            self.rejected.add(node, record);
        }
        let own = bmc.session();
        if bmc.close().await {
            journal.closed(own);
        }
        let power = match outcome {
            Ok(power) => power,
            Err(stopped) => {
                // Store what is known of sessions, so that the next attempt does not have to close them again.
                journal.write().await?;
                return Err(stopped);
            }
        };
        self.settle(&mut journal, version, power).await?;
        Ok(())
    }

    async fn in_session(
        &self,
        bmc: &mut BmcSession,
        takeover: &mut Takeover<u32, Duration>,
        journal: &mut JournalWriter,
        Doing { instruction: Instruction { version, target, .. }, raw }: Doing,
        patience: &mut Patience,
    ) -> Result<Option<Power>, AttemptError> {
        let is_reset = matches!(target, PowerTarget::BmcReset { .. });
        let mut unconfirmed = Vec::new();
        let mut power = loop {
            match takeover.next_action(self.mesh().now()) {
                NextAction::Close(session) => {
                    let closing = repeat_read!(patience, bmc.close_other(session, journal.path(session)));
                    let confirmed = closing.map_err(attempt_error)?;
                    takeover.closed(session, confirmed);
                    if confirmed {
                        journal.closed(session);
                    } else {
                        unconfirmed.push(session);
                    }
                }
                NextAction::Settle(until) => sleep(until.saturating_sub(self.mesh().now())).await,
                NextAction::Read | NextAction::Act => {
                    // The sessions need not be remembered any more: all commands sent through them have arrived.
                    unconfirmed.drain(..).for_each(|session| journal.closed(session));
                    // A reset is not based on the power, and may be what helps a BMC that answers nothing but logins.
                    break if is_reset {
                        self.recorded_power(journal.claim().node())
                    } else {
                        repeat_read!(patience, bmc.power()).map_err(attempt_error)?
                    };
                }
                NextAction::Claim | NextAction::Sessions | NextAction::Login => {
                    return Err(AttemptError::Transient(BmcError::NotPermitted));
                }
            }
        };
        self.rejected.remove(journal.claim().node());
        takeover.read();
        let steps = target.boot().map_or(0, |boot| bmc.boot_steps(boot));
        let mut sequence = PowerSequence::new(target, steps);
        loop {
            match sequence.next(power, clock::now(), &self.limits) {
                Step::Reached => return Ok(Some(power)),
                Step::Stuck(cause, text) => return Err(failure(cause, text).into()),
                Step::Wait => {
                    sleep(POWER_CHECK_INTERVAL).await;
                    sequence.waited(POWER_CHECK_INTERVAL);
                    power = self.read_power(bmc, journal.claim(), version, power, patience).await?;
                }
                Step::Send(command) => {
                    repeat_read!(patience, bmc.prepare()).map_err(attempt_error)?;
                    let permit = journal.arm(version, bmc.session(), &command.description()).await?;
                    let reply = match (command, &raw) {
                        (Command::Raw { .. }, Some(raw)) => bmc.raw(raw, &permit).await,
                        // A raw command without its data is refused there.
                        (command, _) => bmc.command(command, &permit).await,
                    };
                    journal.ended(outcome(&reply));
                    match reply {
                        // The session is over, and the BMC restarts: the power is not read.
                        Ok(Reply::Done) if is_reset => return Ok(None),
                        // It is done, whatever the BMC answers now.
                        Ok(Reply::Done) if command.is_sent_once() => {
                            let seen = bmc.power().await.unwrap_or(power);
                            self.note_power(journal.claim(), version, power, seen);
                            return Ok(Some(seen));
                        }
                        Ok(Reply::Done) => {
                            patience.succeeded();
                            sequence.sent(command);
                        }
                        Ok(Reply::Refused(why)) => return Err(refused(&why)),
                        Err(error) if command.is_sent_once() && !error.is_not_sent() => {
                            return Err(unconfirmed_command(command, Some(&error)));
                        }
                        Ok(Reply::NotNow(failure)) | Err(failure) => {
                            // The power is read before the sequence decides whether the command is sent again.
                            match patience.pause(failure.clone()).await.map_err(attempt_error)? {
                                Again::Here => {}
                                Again::InNewSession => return Err(AttemptError::Paused),
                            }
                        }
                    }
                    if !is_reset {
                        power = self.read_power(bmc, journal.claim(), version, power, patience).await?;
                    }
                }
            }
        }
    }

    /// Returns the power that was last read.
    fn recorded_power(&self, node: NodeId) -> Power {
        self.mesh().view().get(&key::power(self.rack, node)).map_or(Power::Off, |recorded| recorded.value.power)
    }

    async fn read_power(
        &self,
        bmc: &mut BmcSession,
        claim: Claim,
        version: InstructionVersion,
        before: Power,
        patience: &mut Patience,
    ) -> Result<Power, AttemptError> {
        let power = repeat_read!(patience, bmc.power()).map_err(attempt_error)?;
        self.note_power(claim, version, before, power);
        Ok(power)
    }

    fn note_power(&self, claim: Claim, version: InstructionVersion, before: Power, power: Power) {
        if power != before {
            let mark = if power == Power::On { Mark::PowerOn } else { Mark::PowerOff };
            self.timeline.note(claim.node(), version.generation, mark, "");
        }
    }
}

/// Returns whether the command of an instruction that sends one, once, may have been carried out before. A generation has one
/// target, so an entry of the generation is of that command.
fn may_have_been_sent(entry: &JournalEntry, version: InstructionVersion) -> bool {
    entry.version.generation == version.generation && !matches!(entry.outcome, Some(Outcome::Refused(_)))
}

/// The failure of a command that may have been carried out and must not be repeated. `error` is what the BMC answered, if
/// that is known.
fn unconfirmed_command(command: Command, error: Option<&BmcError>) -> AttemptError {
    let (what, advice) = match command {
        Command::Interrupt => {
            ("interrupt".to_owned(), "check the console and repeat the request if the system was not interrupted")
        }
        Command::ResetBmc(_) => (command.description(), "repeat the request if the BMC was not restarted"),
        Command::Raw { .. } | Command::On | Command::Off | Command::SoftOff | Command::Boot(..) => {
            (command.description(), "check what it changes and repeat the request if that has not changed")
        }
    };
    let why = error.map(|error| format!(" ({error})")).unwrap_or_default();
    let text = format!(
        "the {what} was sent, but the BMC did not confirm it{why}; it may have been carried out and is not repeated; {advice}"
    );
    failure(error.map_or(Cause::BmcSilent, BmcError::cause), text).into()
}

/// What the journal says about a command that was sent.
fn outcome(reply: &Result<Reply, BmcError>) -> Outcome {
    match reply {
        Ok(Reply::Done) => Outcome::Done,
        Ok(Reply::Refused(why)) => Outcome::Refused(why.clone()),
        Ok(Reply::NotNow(why)) => Outcome::Refused(why.to_string()),
        Err(why) if why.is_not_sent() => Outcome::Refused(why.to_string()),
        Err(_) => Outcome::Unknown,
    }
}

/// Returns whether the BMC rejected the credentials.
fn is_rejected_login(error: &AttemptError) -> bool {
    matches!(error, AttemptError::Stopped(Stopped::Failed(failure)) if failure.cause == Cause::BmcPassword)
}

fn refused(why: &str) -> AttemptError {
    failure(Cause::BmcRefused, format!("the BMC refused the command: {why}")).into()
}

fn attempt_error(error: BmcError) -> AttemptError {
    if error.verdict().may_pass() {
        AttemptError::Transient(error)
    } else {
        failure(error.cause(), error.to_string()).into()
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        generation::{Generation, Token},
        power::BmcReset,
    };

    use super::*;

    #[test]
    fn the_journal_says_that_a_command_was_not_carried_out_only_if_that_is_known() {
        let address = || "h".to_owned();
        let busy = || BmcError::Busy { address: address(), why: "w".to_owned() };
        // OWNERSHIP.md, "Changing a BMC", rule 3: an NMI whose outcome is unknown is not sent again.
        for (reply, may_be_sent_again) in [
            (Ok(Reply::Done), false),
            (Ok(Reply::Refused("no".to_owned())), true),
            (Ok(Reply::NotNow(busy())), true),
            (Ok(Reply::NotNow(BmcError::SessionLost { address: address(), why: "w".to_owned() })), true),
            (Err(BmcError::NotPermitted), true),
            (Err(BmcError::NotSent { address: address(), why: "w".to_owned() }), true),
            (Err(busy()), false),
            (Err(BmcError::Unknown(address())), false),
            (Err(BmcError::Silent(address())), false),
        ] {
            let is_refused = matches!(outcome(&reply), Outcome::Refused(_));
            assert_eq!(is_refused, may_be_sent_again, "{reply:?}");
        }
    }

    #[test]
    fn a_command_that_may_have_been_carried_out_before_a_crash_is_not_sent_again() {
        let version = |generation| InstructionVersion {
            token: Token::from_number(3),
            generation: Generation::from_number(generation),
        };
        let reset = Command::ResetBmc(BmcReset::Cold);
        let raw = Command::Raw { netfn: 6, command: 0x47 };
        let refused = || Some(Outcome::Refused("busy".to_owned()));
        // The command of the entry as it was described, its generation and outcome; whether that of generation 5 was sent.
        let described = |command: Command| command.description();
        for (written, generation, outcome, right, source) in [
            (described(reset), 5, None, true, "a crash between the journal and the outcome"),
            (described(raw), 5, None, true, "a crash between the journal and the outcome"),
            ("BMC reset (cold)".to_owned(), 5, None, true, "a predecessor of another version described it otherwise"),
            (described(Command::Interrupt), 5, Some(Outcome::Unknown), true, "no answer"),
            (described(raw), 5, Some(Outcome::Unknown), true, "no answer"),
            (described(reset), 5, Some(Outcome::Done), true, "done"),
            (described(reset), 5, refused(), false, "certainly without effect"),
            (described(reset), 4, None, false, "of an earlier instruction"),
            (described(raw), 6, None, false, "of a later instruction"),
        ] {
            let entry = JournalEntry {
                version: version(generation),
                token: Token::from_number(3),
                session: 7,
                command: written.clone(),
                at: clock::now(),
                outcome,
            };
            assert_eq!(may_have_been_sent(&entry, version(5)), right, "{written:?}: {source}");
        }
        for command in [Command::Interrupt, reset, raw] {
            let error = BmcError::Unknown("10.0.0.5:623".to_owned());
            for error in [None, Some(&error)] {
                let AttemptError::Stopped(Stopped::Failed(failure)) = unconfirmed_command(command, error) else {
                    panic!("it is repeated");
                };
                let text = failure.text;
                assert!(text.contains("may have been carried out and is not repeated"), "{text}");
                assert_eq!(text.contains("10.0.0.5:623"), error.is_some(), "{text}");
            }
        }
    }

    #[test]
    fn the_journal_names_a_raw_command_and_not_its_data() {
        assert_eq!(Command::Raw { netfn: 6, command: 0x47 }.description(), "raw command 0x06 0x47");
        assert_eq!(Command::ResetBmc(BmcReset::Warm).description(), "warm reset of the BMC");
        for command in [Command::Interrupt, Command::ResetBmc(BmcReset::Cold), Command::Raw { netfn: 6, command: 1 }] {
            assert!(command.is_sent_once(), "{command:?}");
        }
    }
}
