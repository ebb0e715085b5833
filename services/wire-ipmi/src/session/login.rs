//! Login of the remote console: Open Session and RAKP 1 to 4.
//!
//! Responses are not authenticated until RAKP 2 proves the password, so an invalid one may be a damaged copy of a valid one.
//! It is kept as a *doubt* for a moment, in which a valid response supersedes it. Otherwise the login is attempted once more.
//! It fails after two invalid attempts.

use std::ops::Add;
use std::time::Duration;

use super::config::{Config, Suites};
use super::output::Reason;
use crate::Malformed;
use crate::cipher::{self, Digest, Keys, Suite};
use crate::rakp::{Grant, NAME_ONLY, OpenRequest, OpenResponse, Rakp1, Rakp2, Rakp3, Rakp4, Reply, Status, Transcript};
use crate::rmcp::{self, Packet, Protection, payload};
use crate::secret::Entropy;

/// Time in which a valid response supersedes an invalid one.
const DOUBT_DURATION: Duration = Duration::from_millis(250);
/// Delay before the next attempt if the BMC has no free session.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// Number of such replies after which the login fails.
const MAX_BUSY_REPLIES: u8 = 5;
/// Maximum number of times that a message is sent. At 25 % loss in each direction, one exchange in 700 fails.
const MAX_SENDS: u8 = 8;
/// Number of times that a message after the first one is sent before the attempt is restarted: a BMC that has handled
/// RAKP 3 may not repeat a lost RAKP 4.
const MAX_UNAUTHENTICATED_SENDS: u8 = 4;
/// Number of times that the first suite is proposed to a BMC that does not answer, before the other one is proposed for the
/// rest of [`MAX_SENDS`]: some BMCs drop a proposal of algorithms that they do not have.
const MAX_FIRST_SUITE_SENDS: u8 = 4;
/// Number of attempts without a RAKP 2 or 4 after which the other suite is tried: some BMCs accept a suite, and then do not
/// answer.
const MAX_FIRST_SUITE_ATTEMPTS: u8 = 3;
/// Number of proofs of the password after which a BMC that accepts none is not offered another one: it may lock the account.
/// A single one may have been damaged.
const MAX_REFUSED_PROOFS: u8 = 3;
/// Maximum number of attempts.
const MAX_ATTEMPTS: u8 = 6;
/// Maximum factor by which the response timeout grows.
const MAX_TIMEOUT_FACTOR: u32 = 4;

/// Next action of the session during its login.
pub(super) enum Progress {
    Wait,
    Send(Vec<u8>),
    Done(Established),
    /// The datagram, if any, tells the BMC that the console aborts.
    Fail(Reason, Option<Vec<u8>>),
}

/// Result of a login.
pub(super) struct Established {
    pub(super) keys: Keys,
    pub(super) suite: Suite,
    pub(super) bmc: u32,
    pub(super) guid: [u8; 16],
}

#[derive(Debug)]
enum Step {
    /// The BMC had no free slot. The next attempt starts at the deadline.
    Pausing,
    Opening,
    /// RAKP 1 was sent. The BMC's part of the transcript is still empty.
    Proving(Transcript),
    /// RAKP 3 was sent.
    Keying(Transcript, Digest),
}

#[derive(Debug)]
pub(super) struct Login<T> {
    suite: Suite,
    /// The suite to propose if the BMC refuses the present one.
    fallback: Option<Suite>,
    /// Whether the BMC's silence has led to the other suite.
    switched: bool,
    /// Tag and suite of the *Open Session* before the switch. Its response may be late.
    earlier: Option<(u8, Suite)>,
    /// Number of times that *Open Session* is sent in this attempt.
    max_open_sends: u8,
    step: Step,
    tag: u8,
    /// Tag of the *Open Session* of this attempt.
    opening: u8,
    /// Session id in a second response to it: one of the responses is damaged, or both ids are valid.
    rival: Option<u32>,
    datagram: Vec<u8>,
    tries: u8,
    deadline: T,
    response_timeout: Duration,
    attempts: u8,
    busy: u8,
    /// Number of proofs of the password that the BMC did not accept.
    refused_proofs: u8,
    /// Reason of an invalid response in this attempt.
    doubt: Option<Reason>,
    /// Reason of an invalid response in an earlier attempt.
    believed: Option<Reason>,
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Login<T> {
    /// Starts a login, and returns its first datagram.
    pub(super) fn new(config: &Config, now: T) -> (Self, Vec<u8>) {
        let (suite, fallback) = match config.suites {
            Suites::Best => (Suite::Seventeen, Some(Suite::Three)),
            Suites::Only(suite) => (suite, None),
        };
        let max_open_sends = if fallback.is_some() { MAX_FIRST_SUITE_SENDS } else { MAX_SENDS };
        let mut login = Self {
            suite,
            fallback,
            switched: false,
            earlier: None,
            max_open_sends,
            step: Step::Opening,
            // Some refusals contain only the tag, so the tags of two sessions with one BMC must differ.
            tag: config.console.to_le_bytes()[3],
            opening: 0,
            rival: None,
            datagram: Vec::new(),
            tries: 0,
            deadline: now,
            response_timeout: config.response_timeout,
            attempts: 0,
            busy: 0,
            refused_proofs: 0,
            doubt: None,
            believed: None,
        };
        let datagram = login.open(config, now);
        (login, datagram)
    }

    pub(super) const fn deadline(&self) -> T {
        self.deadline
    }

    /// Returns the response timeout, adapted to the BMC.
    pub(super) const fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// Returns the BMC's session id, if known.
    pub(super) const fn bmc(&self) -> Option<u32> {
        match &self.step {
            Step::Proving(transcript) | Step::Keying(transcript, _) => Some(transcript.bmc),
            Step::Pausing | Step::Opening => None,
        }
    }

    pub(super) fn receive(
        &mut self,
        config: &Config,
        entropy: &mut Entropy,
        now: T,
        packet: &Packet<'_>,
    ) -> Result<Progress, Malformed> {
        if !matches!(packet.protection, Protection::Plain) {
            return Err(Malformed::Unexpected);
        }
        match (&self.step, packet.kind) {
            (Step::Opening, payload::OPEN_RESPONSE) => self.opened(config, entropy, now, packet.payload),
            (Step::Proving(draft), payload::OPEN_RESPONSE) => {
                let chosen = draft.bmc;
                self.contradicted(config, chosen, packet.payload)
            }
            (Step::Proving(draft), payload::RAKP_2) => {
                let draft = draft.clone();
                self.proven(config, now, draft, packet.payload)
            }
            (Step::Keying(transcript, key), payload::RAKP_4) => {
                let (transcript, key) = (transcript.clone(), key.clone());
                self.keyed(config, now, &transcript, &key, packet.payload)
            }
            (Step::Pausing | Step::Opening | Step::Proving(_) | Step::Keying(..), _) => Err(Malformed::Unexpected),
        }
    }

    pub(super) fn expire(&mut self, config: &Config, entropy: &mut Entropy, now: T) -> Progress {
        if now < self.deadline {
            return Progress::Wait;
        }
        let stuck = self.doubt.is_some() || self.tries >= MAX_UNAUTHENTICATED_SENDS;
        if let (true, Step::Proving(_), Some(bmc)) = (stuck, &self.step, self.rival.take_if(|_| stuck)) {
            return Progress::Send(self.prove(config, entropy, now, bmc));
        }
        if let Some(reason) = self.doubt.take() {
            return self.handle_doubt(config, now, reason);
        }
        let limit = match self.step {
            Step::Pausing => return self.restart(config, now, Reason::NoSlot),
            Step::Opening if self.tries >= self.max_open_sends => {
                return match self.other_suite() {
                    Some(suite) => {
                        let earlier = (self.tag, std::mem::replace(&mut self.suite, suite));
                        let sent = Progress::Send(self.open(config, now));
                        self.earlier = Some(earlier);
                        sent
                    }
                    None => Progress::Fail(Reason::Silent, None),
                };
            }
            Step::Opening => self.max_open_sends,
            Step::Proving(_) | Step::Keying(..) => MAX_UNAUTHENTICATED_SENDS,
        };
        if self.tries >= limit {
            if self.attempts >= MAX_FIRST_SUITE_ATTEMPTS
                && let Some(suite) = self.other_suite()
            {
                self.suite = suite;
            }
            return self.restart(config, now, Reason::Silent);
        }
        self.tries = self.tries.saturating_add(1);
        self.deadline = now + self.response_timeout;
        Progress::Send(self.datagram.clone())
    }

    /// Returns the other suite, once, because the BMC does not answer to the present one. If the BMC refuses that one, the
    /// present one is proposed again.
    const fn other_suite(&mut self) -> Option<Suite> {
        if self.switched {
            return None;
        }
        let Some(suite) = self.fallback else { return None };
        self.switched = true;
        self.fallback = Some(self.suite);
        self.max_open_sends = MAX_SENDS - MAX_FIRST_SUITE_SENDS;
        Some(suite)
    }

    /// Starts a new attempt, or fails after too many.
    fn restart(&mut self, config: &Config, now: T, reason: Reason) -> Progress {
        if self.attempts >= MAX_ATTEMPTS {
            return Progress::Fail(self.believed.unwrap_or(reason), None);
        }
        Progress::Send(self.open(config, now))
    }

    /// Handles a doubt that no valid response has superseded.
    fn handle_doubt(&mut self, config: &Config, now: T, reason: Reason) -> Progress {
        if reason == Reason::Refused(Status::INVALID_CHECK) {
            self.refused_proofs = self.refused_proofs.saturating_add(1);
            if self.refused_proofs >= MAX_REFUSED_PROOFS {
                return Progress::Fail(Reason::WrongPassword, None);
            }
        }
        // A status such as "invalid session id" concerns only the attempt, for example because the BMC received RAKP 1 twice.
        // It is retried as often as a missing response.
        if !matches!(reason, Reason::Refused(_))
            && let Some(reason) = self.believed.replace(reason)
        {
            return Progress::Fail(reason, self.abort_message());
        }
        self.restart(config, now, reason)
    }

    /// Returns a RAKP 3 with a status, upon which the BMC drops the half-open session (IPMI 2.0 Table 13-13).
    fn abort_message(&self) -> Option<Vec<u8>> {
        let bmc = self.bmc()?;
        let message = Rakp3 { tag: self.tag.wrapping_add(1), bmc, code: Err(Status::INVALID_CHECK) };
        Some(rmcp::plain(payload::RAKP_3, &message.encode()))
    }

    fn open(&mut self, config: &Config, now: T) -> Vec<u8> {
        self.attempts = self.attempts.saturating_add(1);
        let tag = self.next_tag();
        self.opening = tag;
        self.rival = None;
        self.earlier = None;
        let request = OpenRequest {
            tag,
            privilege: config.privilege.number(),
            console: config.console,
            algorithms: self.suite.algorithms(),
        };
        self.advance(now, Step::Opening, rmcp::plain(payload::OPEN_REQUEST, &request.encode()))
    }

    /// Returns a new tag, which distinguishes the response from those to earlier messages.
    const fn next_tag(&mut self) -> u8 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    fn advance(&mut self, now: T, step: Step, datagram: Vec<u8>) -> Vec<u8> {
        self.step = step;
        self.tries = 1;
        self.doubt = None;
        self.deadline = now + self.response_timeout;
        self.datagram.clone_from(&datagram);
        datagram
    }

    /// Increases the response timeout after a response that needed a repeat, because it may have been late, not lost. A slow BMC
    /// restarts the handshake at each repeat, so the login would never succeed.
    fn learn(&mut self, config: &Config) {
        if self.tries > 1 {
            let max_timeout = config.response_timeout.saturating_mul(MAX_TIMEOUT_FACTOR);
            self.response_timeout = self.response_timeout.saturating_mul(2).min(max_timeout);
        }
    }

    fn opened(&mut self, config: &Config, entropy: &mut Entropy, now: T, bytes: &[u8]) -> Result<Progress, Malformed> {
        let response = OpenResponse::decode(bytes)?;
        if let (Some((tag, suite)), Ok(grant)) = (self.earlier, response.granted)
            && tag == response.tag
            && response.console == Some(config.console)
            && Suite::of(grant.algorithms) == Some(suite)
        {
            // The BMC is slow, not silent: what it was asked first is in force.
            self.fallback = Some(std::mem::replace(&mut self.suite, suite));
            self.tag = tag;
        }
        self.expected(config, response.tag, response.console)?;
        let grant = match response.granted {
            Ok(grant) => grant,
            Err(status) => return Ok(self.refused(config, now, status)),
        };
        if !self.acceptable(&grant) {
            return Err(Malformed::Unexpected);
        }
        // The BMC answers to the suite. An attempt that is lost later is no reason for another one.
        self.max_open_sends = MAX_SENDS;
        self.learn(config);
        Ok(Progress::Send(self.prove(config, entropy, now, grant.bmc)))
    }

    /// Returns whether the chosen suite was proposed. Any other suite would be a downgrade by an attacker.
    fn acceptable(&self, grant: &Grant) -> bool {
        grant.bmc != 0 && Suite::of(grant.algorithms) == Some(self.suite)
    }

    /// Handles a second response to *Open Session*.
    fn contradicted(&mut self, config: &Config, chosen: u32, bytes: &[u8]) -> Result<Progress, Malformed> {
        let response = OpenResponse::decode(bytes)?;
        match response.granted {
            Ok(grant)
                if response.tag == self.opening
                    && response.console == Some(config.console)
                    && self.acceptable(&grant)
                    && grant.bmc != chosen =>
            {
                self.rival = Some(grant.bmc);
                Ok(Progress::Wait)
            }
            _ => Err(Malformed::Unexpected),
        }
    }

    /// Returns RAKP 1 for a session of the BMC.
    fn prove(&mut self, config: &Config, entropy: &mut Entropy, now: T, bmc: u32) -> Vec<u8> {
        let draft = Transcript {
            suite: self.suite,
            console: config.console,
            bmc,
            console_nonce: entropy.draw(),
            bmc_nonce: [0; 16],
            guid: [0; 16],
            role: config.privilege.number() | NAME_ONLY,
            name: config.name.clone(),
        };
        let tag = self.next_tag();
        let message = Rakp1 { tag, bmc, nonce: draft.console_nonce, role: draft.role, name: draft.name.clone() };
        self.advance(now, Step::Proving(draft), rmcp::plain(payload::RAKP_1, &message.encode()))
    }

    fn proven(&mut self, config: &Config, now: T, draft: Transcript, bytes: &[u8]) -> Result<Progress, Malformed> {
        let reply = Reply::<Rakp2>::decode(bytes)?;
        self.expected(config, reply.tag, reply.console)?;
        let proof = match reply.body {
            Ok(proof) => proof,
            Err(status) => return Ok(self.refused(config, now, status)),
        };
        let transcript = Transcript { bmc_nonce: proof.nonce, guid: proof.guid, ..draft };
        // Octets after the code are ignored.
        let code = proof.code.get(..self.suite.digest()).unwrap_or_default();
        if !cipher::equal(transcript.bmc_proof(&config.password).octets(), code) {
            return Ok(self.suspect(now, Reason::WrongPassword));
        }
        self.learn(config);
        let key = transcript.key(config.bmc_key.as_ref().unwrap_or(&config.password));
        let code = transcript.console_proof(&config.password).octets().to_vec();
        let message = Rakp3 { tag: self.next_tag(), bmc: transcript.bmc, code: Ok(code) };
        let datagram = rmcp::plain(payload::RAKP_3, &message.encode());
        Ok(Progress::Send(self.advance(now, Step::Keying(transcript, key), datagram)))
    }

    fn keyed(
        &mut self,
        config: &Config,
        now: T,
        transcript: &Transcript,
        key: &Digest,
        bytes: &[u8],
    ) -> Result<Progress, Malformed> {
        let reply = Reply::<Rakp4>::decode(bytes)?;
        self.expected(config, reply.tag, reply.console)?;
        let proof = match reply.body {
            Ok(proof) => proof,
            Err(status) => return Ok(self.refused(config, now, status)),
        };
        let check = proof.check.get(..self.suite.check()).unwrap_or_default();
        if !cipher::equal(transcript.key_proof(key).check(self.suite), check) {
            return Ok(self.suspect(now, Reason::WrongKey));
        }
        self.learn(config);
        let keys = Keys::derive(self.suite, key);
        Ok(Progress::Done(Established { keys, suite: self.suite, bmc: transcript.bmc, guid: transcript.guid }))
    }

    fn expected(&self, config: &Config, tag: u8, console: Option<u32>) -> Result<(), Malformed> {
        if tag == self.tag && console.is_none_or(|console| console == config.console) {
            Ok(())
        } else {
            Err(Malformed::Unexpected)
        }
    }

    fn refused(&mut self, config: &Config, now: T, status: Status) -> Progress {
        // Some BMCs have no word for a suite that they do not know.
        let is_unknown = status == Status::ILLEGAL_PARAMETER && self.fallback.is_some();
        if (status.refuses_suite() || is_unknown) && matches!(self.step, Step::Opening) {
            return match self.fallback.take() {
                Some(suite) => {
                    self.suite = suite;
                    Progress::Send(self.open(config, now))
                }
                None => self.suspect(now, Reason::NoSuite),
            };
        }
        match status {
            Status::NO_RESOURCES | Status::NO_RESOURCES_AT_ROLE => self.pause(now),
            Status::UNAUTHORIZED_NAME | Status::INVALID_NAME_LENGTH => self.suspect(now, Reason::UnknownUser),
            Status::INVALID_ROLE | Status::UNAUTHORIZED_ROLE => self.suspect(now, Reason::NoPrivilege),
            status => self.suspect(now, Reason::Refused(status)),
        }
    }

    fn pause(&mut self, now: T) -> Progress {
        self.busy = self.busy.saturating_add(1);
        if self.busy >= MAX_BUSY_REPLIES {
            return Progress::Fail(Reason::NoSlot, None);
        }
        // Waiting for a slot does not count as an attempt.
        self.attempts = self.attempts.saturating_sub(1);
        self.step = Step::Pausing;
        self.deadline = now + BUSY_PAUSE;
        Progress::Wait
    }

    fn suspect(&mut self, now: T, reason: Reason) -> Progress {
        if self.doubt.is_none() {
            self.doubt = Some(reason);
            self.deadline = now + DOUBT_DURATION;
        }
        Progress::Wait
    }
}
