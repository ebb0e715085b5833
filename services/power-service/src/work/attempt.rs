//! One attempt to execute an instruction.

use std::time::Duration;

use domain::{
    failure::{Cause, Failure},
    generation::InstructionVersion,
    power::{Power, PowerTarget},
    ring::bmc_takeover::{NextAction, Takeover},
    timeline::Mark,
};
use keyspace::value::Outcome;
use mesh::{Claim, JournalWriter, WorkGuard};
use service_kit::clock;
use tokio::time::sleep;

use super::{
    Work, chain, failure,
    patience::{Again, Patience, repeat_read},
};
use crate::{
    bmc::{Bmc as _, BmcError, Command, Reply},
    control::{PowerSequence, Step},
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
        let (reach, record) = self.bmc_target(node).map_err(|error| failure(Cause::BmcPassword, chain(&error)))?;
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
        takeover.sessions(journal.to_close());
        let opened = reach.open(&self.drivers, &self.limits).await;
        self.rejected.logged_in(node, record.as_ref(), opened.as_ref().err());
        let mut bmc = opened.map_err(attempt_error)?;
        journal.opened(bmc.session(), bmc.path());
        takeover.logged_in(bmc.session());
        let outcome = self.in_session(&mut bmc, &mut takeover, &mut journal, instruction, patience).await;
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
        Instruction { version, target }: Instruction,
        patience: &mut Patience,
    ) -> Result<Power, AttemptError> {
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
                    break repeat_read!(patience, bmc.power()).map_err(attempt_error)?;
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
                Step::Reached => return Ok(power),
                Step::Stuck(cause, text) => return Err(failure(cause, text).into()),
                Step::Wait => {
                    sleep(POWER_CHECK_INTERVAL).await;
                    sequence.waited(POWER_CHECK_INTERVAL);
                    power = self.read_power(bmc, journal.claim(), version, power, patience).await?;
                }
                Step::Send(Command::Interrupt) if has_interrupted(journal, version) => {
                    let text = "the interrupt was sent, but the BMC did not confirm it; check the console and repeat the \
                                request if the system was not interrupted";
                    return Err(failure(Cause::BmcSilent, text.to_owned()).into());
                }
                Step::Send(command) => {
                    repeat_read!(patience, bmc.prepare()).map_err(attempt_error)?;
                    let permit = journal.arm(version, bmc.session(), &command.description()).await?;
                    let reply = bmc.command(command, &permit).await;
                    journal.ended(outcome(&reply));
                    match reply {
                        Ok(Reply::Done) => {
                            patience.succeeded();
                            sequence.sent(command);
                        }
                        Ok(Reply::Refused(why)) => return Err(refused(&why)),
                        Ok(Reply::NotNow(failure)) | Err(failure) => {
                            // The power is read before the sequence decides whether the command is sent again.
                            match patience.pause(failure.clone()).await.map_err(attempt_error)? {
                                Again::Here => {}
                                Again::InNewSession => return Err(AttemptError::Paused),
                            }
                        }
                    }
                    power = self.read_power(bmc, journal.claim(), version, power, patience).await?;
                }
            }
        }
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
        if power != before {
            let mark = if power == Power::On { Mark::PowerOn } else { Mark::PowerOff };
            self.timeline.note(claim.node(), version.generation, mark, "");
        }
        Ok(power)
    }
}

/// Returns whether the interrupt of this instruction may have been carried out before.
fn has_interrupted(journal: &JournalWriter, version: InstructionVersion) -> bool {
    let entry = journal.record().entry.as_ref();
    entry.is_some_and(|entry| {
        entry.version.generation == version.generation
            && entry.command == Command::Interrupt.description()
            && !matches!(entry.outcome, Some(Outcome::Refused(_)))
    })
}

/// What the journal says about a command that was sent.
fn outcome(reply: &Result<Reply, BmcError>) -> Outcome {
    match reply {
        Ok(Reply::Done) => Outcome::Done,
        Ok(Reply::Refused(why)) => Outcome::Refused(why.clone()),
        Ok(Reply::NotNow(why)) => Outcome::Refused(why.to_string()),
        // It was never sent.
        Err(why @ BmcError::NotPermitted) => Outcome::Refused(why.to_string()),
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
            (Err(busy()), false),
            (Err(BmcError::Unknown(address())), false),
            (Err(BmcError::Silent(address())), false),
        ] {
            let is_refused = matches!(outcome(&reply), Outcome::Refused(_));
            assert_eq!(is_refused, may_be_sent_again, "{reply:?}");
        }
    }
}
