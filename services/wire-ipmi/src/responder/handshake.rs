//! BMC side of Open Session and RAKP 1 to 4 (IPMI 2.0 §13.17 to §13.24).

use std::ops::Add;
use std::time::Duration;

use super::{HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, Identity, MAX_SLOTS, User};
use crate::Malformed;
use crate::cipher::{self, Digest, Keys, Suite};
use crate::rakp::{Grant, OpenRequest, OpenResponse, Privilege, Rakp1, Rakp2, Rakp3, Rakp4, Reply, Status, Transcript};
use crate::rmcp::{self, Packet, Protection, payload};
use crate::secret::Entropy;
use crate::window::Window;

/// Session, or handshake of one.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) id: u32,
    pub(super) console: u32,
    pub(super) deadline: T,
    pub(super) stage: Stage,
    suite: Suite,
    /// Last message of the handshake and its reply, which is repeated if the message is.
    last: (Vec<u8>, Vec<u8>),
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Waits for RAKP 1.
    Opened,
    /// Waits for RAKP 3.
    Proving {
        transcript: Transcript,
        user: User,
    },
    Active(Box<Active>),
}

#[derive(Debug)]
pub(super) struct Active {
    pub(super) keys: Keys,
    pub(super) window: Window,
    pub(super) sequence: u32,
    /// Current privilege.
    pub(super) privilege: Privilege,
    /// Maximum privilege.
    pub(super) limit: Privilege,
}

/// Handles a message of the handshake, and returns the reply, if any.
pub(super) fn receive<T: Copy + Add<Duration, Output = T>>(
    identity: &Identity,
    entropy: &mut Entropy,
    slots: &mut Vec<Slot<T>>,
    now: T,
    packet: &Packet<'_>,
) -> Result<Option<Vec<u8>>, Malformed> {
    if !matches!(packet.protection, Protection::Plain) {
        return Err(Malformed::Foreign);
    }
    if let Some(slot) = slots.iter().find(|slot| slot.last.0 == packet.payload) {
        return Ok(Some(slot.last.1.clone()));
    }
    match packet.kind {
        payload::OPEN_REQUEST => open(identity, entropy, slots, now, packet.payload).map(Some),
        payload::RAKP_1 => greet(identity, entropy, slots, packet.payload).map(Some),
        payload::RAKP_3 => admit(identity, slots, now, packet.payload),
        _ => Err(Malformed::Foreign),
    }
}

fn open<T: Copy + Add<Duration, Output = T>>(
    identity: &Identity,
    entropy: &mut Entropy,
    slots: &mut Vec<Slot<T>>,
    now: T,
    bytes: &[u8],
) -> Result<Vec<u8>, Malformed> {
    let request = OpenRequest::decode(bytes)?;
    let answer = |granted| {
        let response = OpenResponse { tag: request.tag, console: Some(request.console), granted };
        rmcp::plain(payload::OPEN_RESPONSE, &response.encode())
    };
    let Some(suite) = Suite::of(request.algorithms).filter(|suite| identity.suites.contains(suite)) else {
        return Ok(answer(Err(Status::NO_SUITE)));
    };
    if slots.len() >= identity.slots.min(MAX_SLOTS) {
        return Ok(answer(Err(Status::NO_RESOURCES)));
    }
    // Privilege 0 requests the highest one.
    let privilege = Privilege::of(request.privilege & 0x0f).unwrap_or(Privilege::Administrator).number();
    let id = free_id(entropy, slots);
    let datagram = answer(Ok(Grant { bmc: id, privilege, algorithms: request.algorithms }));
    let last = (bytes.to_vec(), datagram.clone());
    slots.push(Slot {
        id,
        console: request.console,
        deadline: now + HANDSHAKE_TIMEOUT,
        stage: Stage::Opened,
        suite,
        last,
    });
    Ok(datagram)
}

/// Returns a session id that is not 0 and not in use.
fn free_id<T>(entropy: &mut Entropy, slots: &[Slot<T>]) -> u32 {
    loop {
        let [a, b, c, d, ..] = entropy.draw();
        let id = u32::from_le_bytes([a, b, c, d]);
        if id != 0 && !slots.iter().any(|slot| slot.id == id) {
            return id;
        }
    }
}

fn greet<T>(
    identity: &Identity,
    entropy: &mut Entropy,
    slots: &mut Vec<Slot<T>>,
    bytes: &[u8],
) -> Result<Vec<u8>, Malformed> {
    let message = Rakp1::decode(bytes)?;
    let refuse = |console, status| {
        let reply = Reply::<Rakp2> { tag: message.tag, console, body: Err(status) };
        rmcp::plain(payload::RAKP_2, &reply.encode())
    };
    let Some(slot) = slots.iter_mut().find(|slot| slot.id == message.bmc) else {
        return Ok(refuse(None, Status::INVALID_SESSION));
    };
    let console = Some(slot.console);
    if matches!(slot.stage, Stage::Active(_)) {
        return Ok(refuse(console, Status::INVALID_SESSION));
    }
    let Some(user) = identity.users.iter().find(|user| user.name == message.name) else {
        slots.retain(|slot| slot.id != message.bmc);
        return Ok(refuse(console, Status::UNAUTHORIZED_NAME));
    };
    if Privilege::of(message.role & 0x0f).is_some_and(|privilege| privilege > user.privilege) {
        slots.retain(|slot| slot.id != message.bmc);
        return Ok(refuse(console, Status::UNAUTHORIZED_ROLE));
    }
    let transcript = Transcript {
        suite: slot.suite,
        console: slot.console,
        bmc: slot.id,
        console_nonce: message.nonce,
        bmc_nonce: entropy.draw(),
        guid: identity.guid,
        role: message.role,
        name: message.name,
    };
    let code = transcript.bmc_proof(&user.password).octets().to_vec();
    let body = Rakp2 { nonce: transcript.bmc_nonce, guid: identity.guid, code };
    let datagram = rmcp::plain(payload::RAKP_2, &Reply { tag: message.tag, console, body: Ok(body) }.encode());
    slot.last = (bytes.to_vec(), datagram.clone());
    slot.stage = Stage::Proving { transcript, user: user.clone() };
    Ok(datagram)
}

fn admit<T: Copy + Add<Duration, Output = T>>(
    identity: &Identity,
    slots: &mut Vec<Slot<T>>,
    now: T,
    bytes: &[u8],
) -> Result<Option<Vec<u8>>, Malformed> {
    let message = Rakp3::decode(bytes)?;
    let answer = |console, body| {
        Some(rmcp::plain(payload::RAKP_4, &Reply::<Rakp4> { tag: message.tag, console, body }.encode()))
    };
    let Some(slot) = slots.iter_mut().find(|slot| slot.id == message.bmc) else {
        return Ok(answer(None, Err(Status::INVALID_SESSION)));
    };
    let console = Some(slot.console);
    let Stage::Proving { transcript, user } = &slot.stage else {
        return Ok(answer(console, Err(Status::INVALID_SESSION)));
    };
    let Ok(code) = message.code else {
        // The console aborts: "terminate the RAKP process" (Table 13-13). There is no reply.
        slots.retain(|slot| slot.id != message.bmc);
        return Ok(None);
    };
    let proof = transcript.console_proof(&user.password);
    if !cipher::equal(proof.octets(), code.get(..transcript.suite.digest()).unwrap_or_default()) {
        slots.retain(|slot| slot.id != message.bmc);
        return Ok(answer(console, Err(Status::INVALID_CHECK)));
    }
    let key: Digest = transcript.key(identity.bmc_key.as_ref().unwrap_or(&user.password));
    let check = transcript.key_proof(&key).check(transcript.suite).to_vec();
    let limit = Privilege::of(transcript.role & 0x0f).unwrap_or(user.privilege).min(user.privilege);
    let active = Active {
        keys: Keys::derive(transcript.suite, &key),
        window: Window::default(),
        sequence: 0,
        privilege: limit.min(Privilege::User),
        limit,
    };
    let datagram = answer(console, Ok(Rakp4 { check }));
    slot.last = (bytes.to_vec(), datagram.clone().unwrap_or_default());
    slot.deadline = now + IDLE_TIMEOUT;
    slot.stage = Stage::Active(Box::new(active));
    Ok(datagram)
}
