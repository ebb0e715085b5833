//! From nothing to shared keys: Open Session and RAKP 1 to 4, seen from the remote console.
//!
//! The answers of this phase are not authenticated until RAKP 2 proves the password, so a single bad one proves
//! nothing: it may be a damaged copy that runs ahead of the good one. It is held as a *doubt* for a moment, in which
//! a good answer wins, and then asked about once more by a fresh attempt. Two bad attempts are believed.

use std::ops::Add;
use std::time::Duration;

use super::config::{Config, Suites};
use super::output::Reason;
use crate::Malformed;
use crate::cipher::{self, Digest, Keys, Suite};
use crate::rakp::{Grant, NAME_ONLY, OpenRequest, OpenResponse, Rakp1, Rakp2, Rakp3, Rakp4, Reply, Status, Transcript};
use crate::rmcp::{self, Packet, Protection, payload};
use crate::secret::Entropy;

/// How long a good answer has to overtake a bad one.
const DOUBT: Duration = Duration::from_millis(250);
/// How long to leave a BMC alone that has no session to give.
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// How often a BMC may say so before it is believed.
const BUSY_LIMIT: u8 = 5;
/// How often one message is sent. At 25 % loss in each direction one exchange in 700 still fails.
const MAX_SENDS: u8 = 8;
/// How often a message after the first is sent before the whole attempt is begun anew: a BMC that has done with
/// RAKP 3 may not answer it again when its RAKP 4 was lost.
const MAX_UNAUTHENTICATED_SENDS: u8 = 4;
/// How often the handshake is begun.
const ATTEMPTS: u8 = 6;
/// By how much the patience may grow.
const MAX_TIMEOUT_FACTOR: u32 = 4;

/// What the session must do after a step of its login.
pub(super) enum Progress {
    Wait,
    Send(Vec<u8>),
    Done(Established),
    /// The datagram, if any, tells the BMC that we turn away.
    Fail(Reason, Option<Vec<u8>>),
}

/// What a login yields.
pub(super) struct Established {
    pub(super) keys: Keys,
    pub(super) suite: Suite,
    pub(super) bmc: u32,
    pub(super) guid: [u8; 16],
}

#[derive(Debug)]
enum Step {
    /// The BMC had no slot; the deadline begins a new attempt.
    Pausing,
    Opening,
    /// RAKP 1 is sent. The BMC's part of the transcript is still blank.
    Proving(Transcript),
    /// RAKP 3 is sent.
    Keying(Transcript, Digest),
}

#[derive(Debug)]
pub(super) struct Login<T> {
    suite: Suite,
    fallback: Option<Suite>,
    step: Step,
    tag: u8,
    /// The tag of this attempt's *Open Session*.
    opening: u8,
    /// Another session id that an answer to it named: one of the two answers is damaged, or both ids are good.
    rival: Option<u32>,
    datagram: Vec<u8>,
    tries: u8,
    deadline: T,
    patience: Duration,
    attempts: u8,
    busy: u8,
    /// What a bad answer of this attempt says.
    doubt: Option<Reason>,
    /// What the bad answer of an earlier attempt said.
    believed: Option<Reason>,
}

impl<T: Copy + Add<Duration, Output = T> + PartialOrd> Login<T> {
    /// Begins; the first datagram comes along.
    pub(super) fn new(config: &Config, now: T) -> (Self, Vec<u8>) {
        let (suite, fallback) = match config.suites {
            Suites::Best => (Suite::Seventeen, Some(Suite::Three)),
            Suites::Only(suite) => (suite, None),
        };
        let mut login = Self {
            suite,
            fallback,
            step: Step::Opening,
            // Some refusals carry nothing but the tag: let two sessions with one BMC differ in it.
            tag: config.console.to_le_bytes()[3],
            opening: 0,
            rival: None,
            datagram: Vec::new(),
            tries: 0,
            deadline: now,
            patience: config.patience,
            attempts: 0,
            busy: 0,
            doubt: None,
            believed: None,
        };
        let datagram = login.open(config, now);
        (login, datagram)
    }

    pub(super) const fn deadline(&self) -> T {
        self.deadline
    }

    /// How long an answer may take, as learned so far.
    pub(super) const fn patience(&self) -> Duration {
        self.patience
    }

    /// The BMC's session id, once it has given one.
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
            return self.convince(config, now, reason);
        }
        let limit = match self.step {
            Step::Pausing => return self.again(config, now, Reason::NoSlot),
            Step::Opening if self.tries >= MAX_SENDS => return Progress::Fail(Reason::Silent, None),
            Step::Opening => MAX_SENDS,
            Step::Proving(_) | Step::Keying(..) => MAX_UNAUTHENTICATED_SENDS,
        };
        if self.tries >= limit {
            return self.again(config, now, Reason::Silent);
        }
        self.tries = self.tries.saturating_add(1);
        self.deadline = now + self.patience;
        Progress::Send(self.datagram.clone())
    }

    /// A new attempt from the start, unless there were enough.
    fn again(&mut self, config: &Config, now: T, reason: Reason) -> Progress {
        if self.attempts >= ATTEMPTS {
            return Progress::Fail(self.believed.unwrap_or(reason), None);
        }
        Progress::Send(self.open(config, now))
    }

    /// A doubt that no good answer dispelled.
    fn convince(&mut self, config: &Config, now: T, reason: Reason) -> Progress {
        // A status such as "invalid session id" says that the BMC lost track of us, say because our RAKP 1 reached
        // it twice: that is about the attempt, not about the login, and is tried as often as silence is.
        if !matches!(reason, Reason::Refused(_))
            && let Some(reason) = self.believed.replace(reason)
        {
            return Progress::Fail(reason, self.turn_away());
        }
        self.again(config, now, reason)
    }

    /// RAKP 3 with a status, so that the BMC need not keep the half-open session (IPMI 2.0 Table 13-13).
    fn turn_away(&self) -> Option<Vec<u8>> {
        let bmc = self.bmc()?;
        let message = Rakp3 { tag: self.tag.wrapping_add(1), bmc, code: Err(Status::INVALID_CHECK) };
        Some(rmcp::plain(payload::RAKP_3, &message.encode()))
    }

    fn open(&mut self, config: &Config, now: T) -> Vec<u8> {
        self.attempts = self.attempts.saturating_add(1);
        let tag = self.next_tag();
        self.opening = tag;
        self.rival = None;
        let request = OpenRequest {
            tag,
            privilege: config.privilege.number(),
            console: config.console,
            algorithms: self.suite.algorithms(),
        };
        self.advance(now, Step::Opening, rmcp::plain(payload::OPEN_REQUEST, &request.encode()))
    }

    /// Each message has a tag of its own, so that an answer to an earlier one is not taken for this one's.
    const fn next_tag(&mut self) -> u8 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    fn advance(&mut self, now: T, step: Step, datagram: Vec<u8>) -> Vec<u8> {
        self.step = step;
        self.tries = 1;
        self.doubt = None;
        self.deadline = now + self.patience;
        self.datagram.clone_from(&datagram);
        datagram
    }

    /// An answer that came only after a repetition may have been late, not lost. Asking a late BMC again makes it
    /// begin anew and us reject its proof, for ever; so be slower from now on.
    fn learn(&mut self, config: &Config) {
        if self.tries > 1 {
            let max_timeout = config.patience.saturating_mul(MAX_TIMEOUT_FACTOR);
            self.patience = self.patience.saturating_mul(2).min(max_timeout);
        }
    }

    fn opened(&mut self, config: &Config, entropy: &mut Entropy, now: T, bytes: &[u8]) -> Result<Progress, Malformed> {
        let response = OpenResponse::decode(bytes)?;
        self.expected(config, response.tag, response.console)?;
        let grant = match response.granted {
            Ok(grant) => grant,
            Err(status) => return Ok(self.refused(config, now, status)),
        };
        if !self.acceptable(&grant) {
            return Err(Malformed::Unexpected);
        }
        self.learn(config);
        Ok(Progress::Send(self.prove(config, entropy, now, grant.bmc)))
    }

    /// A suite that was not proposed would be a downgrade by a machine in the middle.
    fn acceptable(&self, grant: &Grant) -> bool {
        grant.bmc != 0 && Suite::of(grant.algorithms) == Some(self.suite)
    }

    /// A second answer to *Open Session*, while the first is being followed.
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

    /// RAKP 1, for the session of this id.
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
        // Octets behind the code are tolerated.
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
        if status.refuses_suite() && matches!(self.step, Step::Opening) {
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
        if self.busy >= BUSY_LIMIT {
            return Progress::Fail(Reason::NoSlot, None);
        }
        // Waiting for a slot is no attempt.
        self.attempts = self.attempts.saturating_sub(1);
        self.step = Step::Pausing;
        self.deadline = now + BUSY_PAUSE;
        Progress::Wait
    }

    fn suspect(&mut self, now: T, reason: Reason) -> Progress {
        if self.doubt.is_none() {
            self.doubt = Some(reason);
            self.deadline = now + DOUBT;
        }
        Progress::Wait
    }
}
